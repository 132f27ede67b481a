"""Is a weights file what it claims to be?"""

from __future__ import annotations

from pathlib import Path

from samgeo.errors import WeightsError
from samgeo.model.digests import difference, digest_of, find_by_content
from samgeo.model.identify import describe, identify
from samgeo.model.published import PUBLISHED
from samgeo.model.reading import read_weights
from samgeo.model.store import path_of


def verdict(path: Path, claimed: str = "") -> str:
    """What a weights file is, in one sentence.

    claimed: the member that it should be; without it, the one whose published file has its name.

    Raises WeightsError for a file that is damaged, no weights, or not what it claims, and UnsafeInputError.
    """
    if path.is_file() and (exact := find_by_content(path)):
        if claimed not in ("", exact.name):
            raise WeightsError(f"{path}: is the published file of {exact.name}; expected that of {claimed}")
        return f"the published file of {exact.name}, byte for byte ({exact.digest})"
    file = read_weights(path)
    packaged = [p.name for p in PUBLISHED.values() if not p.url and digest_of(path_of(p)) == digest_of(path)]
    if packaged and claimed in ("", *packaged):
        return f"the weights of {packaged[0]} in this package (sha256 {digest_of(path)})"
    by_name = [published for published in PUBLISHED.values() if published.url and published.file == path.name]
    claimed = claimed or (by_name[0].name if by_name else "")
    found = identify(file.tensors)
    if claimed and found != claimed:
        raise WeightsError(f"{path}: has {describe(file.tensors)}; expected those of {claimed}")
    if by_name and (altered := difference(path, by_name[0])):
        raise WeightsError(
            f"{path}: has {describe(file.tensors)}, but is not the published file: {altered}. If it was fine-tuned or "
            "converted, give it a name of its own"
        )
    architecture = file.metadata.get("architecture", "")
    what = f"a network of the kind {architecture!r}" if architecture and not found else describe(file.tensors)
    return f"{what}, not a published file (sha256 {digest_of(path)})"
