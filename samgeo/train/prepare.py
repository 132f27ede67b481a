"""Make the windows that samgeo-nano trains and is validated on: python -m samgeo.train.prepare --data D --out W.

Writes one file for each window of at most 1024 px: W/train/*.npz and W/validation/*.npz, and W/sources.json, which says
what is in them. Nothing is resampled but copies of 10 m imagery, which is shown three times enlarged as well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from samgeo.errors import SamgeoError, UsageError
from samgeo.train.labelled import LabelledImage
from samgeo.train.nano_sources import SOURCES, Role, Source

SIDES: tuple[Role, ...] = ("train", "validation")
MAX_PX = 1024
"""Larger images are cut into equal windows of at most this side."""
MAX_COVER = 0.95
"""What covers more of its window than this has no outline there to learn."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What one source gave to one side."""

    source: str
    """Name of the source, with the factor where it was enlarged."""
    side: Role
    """Train or validation."""
    images: int
    """Windows written."""
    objects: int
    """Objects in them."""
    gsd_m: float | None
    """Ground metres a pixel."""
    bytes: int
    """Size of the files."""


def prepare(data: Path, out: Path, sources: Sequence[Source] = SOURCES) -> list[Tally]:
    """Write the windows of all sources to `out/train` and `out/validation`, which are replaced when all is written."""
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder: expected the folder of the labelled sources. Fix: --data FOLDER")
    fresh = out / "unfinished"
    shutil.rmtree(fresh, ignore_errors=True)
    for side in SIDES:
        (fresh / side).mkdir(parents=True)
    tallies = [tally for source in sources if source.read is not None for tally in _write_source(data, fresh, source)]
    for side in SIDES:
        shutil.rmtree(out / side, ignore_errors=True)
        (fresh / side).replace(out / side)
    fresh.rmdir()
    about = [asdict(replace(source, read=None)) for source in sources]
    (out / "sources.json").write_text(
        json.dumps({"sources": about, "written": [asdict(tally) for tally in tallies]}, indent=1) + "\n"
    )
    return tallies


def _write_source(data: Path, out: Path, source: Source) -> Iterator[Tally]:
    counts: dict[tuple[str, Role], Tally] = {}
    for side, labelled, stem in _windows(data, source):
        path = out / side / f"{stem}.npz"
        labelled.save(path)
        name = labelled.source.partition("/")[0]
        old = counts.get((name, side)) or Tally(
            source=name, side=side, images=0, objects=0, gsd_m=labelled.gsd_m, bytes=0
        )
        counts[name, side] = replace(
            old,
            images=old.images + 1,
            objects=old.objects + len(labelled.objects),
            bytes=old.bytes + path.stat().st_size,
        )
    yield from counts.values()


def _windows(data: Path, source: Source) -> Iterator[tuple[Role, LabelledImage, str]]:
    """Side, content and file stem of every window of a source in which there is an object."""
    assert source.read is not None
    for labelled in source.read(data):
        scene = labelled.source.partition("/")[2]
        side = source.role_of(scene)
        if side == "never":
            continue
        for factor in source.enlarge:
            name = source.name if factor == 1 else f"{source.name}+x{factor}"
            shown = labelled if factor == 1 else labelled.enlarged(factor)
            shown = replace(shown, source=f"{name}/{scene}")
            for place, window in shown.tiles(MAX_PX):
                limit = MAX_COVER * window.image[..., 0].size
                kept = tuple(mask for mask in window.objects if mask.area_px <= limit)
                if kept:
                    yield side, replace(window, objects=kept), f"{name}__{scene}__{place}"


def table(tallies: Sequence[Tally]) -> str:
    """A Markdown table of what was written."""
    lines = ["| source | side | images | objects | GSD m | MB |", "|---|---|---|---|---|---|"]
    for t in sorted(tallies, key=lambda t: (t.side, t.source)):
        gsd = "" if t.gsd_m is None else f"{t.gsd_m:.3g}"
        lines.append(f"| {t.source} | {t.side} | {t.images} | {t.objects} | {gsd} | {t.bytes / 1e6:.1f} |")
    for side in SIDES:
        own = [t for t in tallies if t.side == side]
        images, objects, size = (sum(getattr(t, key) for t in own) for key in ("images", "objects", "bytes"))
        lines.append(f"| **all** | {side} | {images} | {objects} | | {size / 1e6:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m samgeo.train.prepare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the labelled sources")
    parser.add_argument("--out", type=Path, default=Path(".train/windows"), help="folder for the windows")
    options = parser.parse_args(arguments)
    try:
        tallies = prepare(options.data, options.out)
    except SamgeoError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    sys.stdout.write(table(tallies) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
