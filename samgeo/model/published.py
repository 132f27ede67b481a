"""The published weights of every member of the family: where they are, how large, which digest, which licence.

Nothing here knows how a network is built (`spec` does). The key of both tables is the member's name.
Sources: the model lists of the official repositories; sizes and digests as several independent projects pin them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from samgeo.errors import UnknownModelError

_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_SAM2 = "https://dl.fbaipublicfiles.com/segment_anything_2/072824/"
_SAM21 = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
_HQ = "https://huggingface.co/lkeab/hq-sam/resolve/main/"
_MOBILE = "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/"
_EFFICIENT = "https://github.com/yformer/EfficientSAM/raw/main/weights/"
_EDGE = "https://github.com/facebookresearch/EdgeTAM/raw/main/checkpoints/"
_FAST = "https://github.com/ultralytics/assets/releases/download/v8.2.0/"

_AGPL = (
    "its README says Apache-2.0, but the LICENSE beside the weights is AGPL-3.0 and the stricter one counts: who offers"
    " a service with them must offer its source"
)


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What a file's bytes must come to."""

    kind: Literal["sha256", "md5", "git"]
    """git: the SHA-1 that git gives to a file of this content."""
    hex: str
    """Hexadecimal digits in lower case."""

    def __str__(self) -> str:
        return f"{self.kind} {self.hex}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published weights file."""

    name: str
    """What `load_model` and `--model` take."""
    file: str
    """Its name as published; for what is part of this package, its path there."""
    base: str = ""
    """The URL without the file's name; empty: part of this package."""
    size_bytes: int = 0
    """Exact, or 0 where only `about_mb` is known."""
    about_mb: int = 0
    """Size as the host shows it, in units of 10^6 bytes."""
    digest: Digest | None = None
    """The strongest that is published; None: there is none, so that only the tensors can be checked."""
    parameters: int
    """Number of parameters of the network."""
    input_px: int
    """Side of the square that the network was trained on."""
    licence: str = "Apache-2.0"
    """Of the weights, as an SPDX identifier."""
    licence_note: str = ""
    """What a user must know about the licence beyond its name."""
    good_for: str
    """One line for `samgeo models`."""

    @property
    def url(self) -> str:
        """Where the file is; empty: part of this package."""
        return self.base and self.base + self.file

    @property
    def size_text(self) -> str:
        """Size for people to read."""
        if self.size_bytes:
            return f"{self.size_bytes / 1e6:.1f} MB"
        return f"about {self.about_mb} MB" if self.about_mb else ""


def _sha256(digits: str) -> Digest:
    return Digest(kind="sha256", hex=digits)


def _md5(digits: str) -> Digest:
    return Digest(kind="md5", hex=digits)


def _git(digits: str) -> Digest:
    return Digest(kind="git", hex=digits)


PUBLISHED = {
    member.name: member
    for member in (
        Published(
            name="samgeo-nano",
            file="nano/samgeo-nano.safetensors",
            parameters=10_277_797,
            input_px=512,
            good_for="overhead imagery from 5 cm to 10 m on any machine; in the box, nothing to download",
        ),
        Published(
            name="sam-vit-b",
            file="sam_vit_b_01ec64.pth",
            base=_SAM,
            size_bytes=375_042_383,
            digest=_sha256("ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
            parameters=93_735_472,
            input_px=1024,
            good_for="the smallest of the first generation; what most fine-tuned weights start from",
        ),
        Published(
            name="sam-vit-l",
            file="sam_vit_l_0b3195.pth",
            base=_SAM,
            size_bytes=1_249_524_607,
            digest=_sha256("3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
            parameters=312_342_832,
            input_px=1024,
            good_for="nearly as good as sam-vit-h at half the cost",
        ),
        Published(
            name="sam-vit-h",
            file="sam_vit_h_4b8939.pth",
            base=_SAM,
            size_bytes=2_564_550_879,
            digest=_sha256("a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
            parameters=641_090_608,
            input_px=1024,
            good_for="the best masks of the first generation, on a graphics card",
        ),
        Published(
            name="sam2-hiera-tiny",
            file="sam2_hiera_tiny.pt",
            base=_SAM2,
            size_bytes=155_906_050,
            digest=_sha256("65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
            parameters=38_945_986,
            input_px=1024,
            good_for="comparison with older work; sam2.1-hiera-tiny is better at the same cost",
        ),
        Published(
            name="sam2-hiera-small",
            file="sam2_hiera_small.pt",
            base=_SAM2,
            size_bytes=184_309_650,
            digest=_sha256("95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
            parameters=46_043_842,
            input_px=1024,
            good_for="comparison with older work; sam2.1-hiera-small is better at the same cost",
        ),
        Published(
            name="sam2-hiera-base-plus",
            file="sam2_hiera_base_plus.pt",
            base=_SAM2,
            size_bytes=323_493_298,
            digest=_sha256("d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
            parameters=80_833_666,
            input_px=1024,
            good_for="comparison with older work; sam2.1-hiera-base-plus is better at the same cost",
        ),
        Published(
            name="sam2-hiera-large",
            file="sam2_hiera_large.pt",
            base=_SAM2,
            size_bytes=897_952_466,
            digest=_sha256("7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
            parameters=224_430_130,
            input_px=1024,
            good_for="comparison with older work; sam2.1-hiera-large is better at the same cost",
        ),
        Published(
            name="sam2.1-hiera-tiny",
            file="sam2.1_hiera_tiny.pt",
            base=_SAM21,
            size_bytes=156_008_466,
            digest=_sha256("7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
            parameters=38_962_498,
            input_px=1024,
            good_for="good masks without a graphics card",
        ),
        Published(
            name="sam2.1-hiera-small",
            file="sam2.1_hiera_small.pt",
            base=_SAM21,
            size_bytes=184_416_285,
            digest=_sha256("6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
            parameters=46_060_354,
            input_px=1024,
            good_for="a little better and a little slower than sam2.1-hiera-tiny",
        ),
        Published(
            name="sam2.1-hiera-base-plus",
            file="sam2.1_hiera_base_plus.pt",
            base=_SAM21,
            size_bytes=323_606_802,
            digest=_sha256("a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
            parameters=80_850_178,
            input_px=1024,
            good_for="on a graphics card, better than sam-vit-h and much faster",
        ),
        Published(
            name="sam2.1-hiera-large",
            file="sam2.1_hiera_large.pt",
            base=_SAM21,
            size_bytes=898_083_611,
            digest=_sha256("2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
            parameters=224_446_642,
            input_px=1024,
            good_for="the best masks from clicks and boxes, on a graphics card",
        ),
        Published(
            name="hq-sam-vit-b",
            file="sam_hq_vit_b.pth",
            base=_HQ,
            about_mb=379,
            digest=_md5("c6b8953247bcfdc8bb8ef91e36a6cacc"),
            parameters=94_806_576,
            input_px=1024,
            good_for="thin and finely bounded things, from boxes",
        ),
        Published(
            name="hq-sam-vit-l",
            file="sam_hq_vit_l.pth",
            base=_HQ,
            about_mb=1250,
            digest=_md5("08947267966e4264fb39523eccc33f86"),
            parameters=313_676_080,
            input_px=1024,
            good_for="thin and finely bounded things, from boxes; finer than hq-sam-vit-b",
        ),
        Published(
            name="hq-sam-vit-h",
            file="sam_hq_vit_h.pth",
            base=_HQ,
            size_bytes=2_570_940_653,
            digest=_sha256("a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35"),
            parameters=642_686_000,
            input_px=1024,
            good_for="thin and finely bounded things, from boxes, on a graphics card",
        ),
        Published(
            name="hq-sam-vit-tiny",
            file="sam_hq_vit_tiny.pth",
            base=_HQ,
            about_mb=43,
            digest=_sha256("0f32c075ccdd870ae54db2f7630e7a0878ede5a2b06d05d6fe02c65a82fb7196"),
            parameters=10_578_604,
            input_px=1024,
            good_for="Light HQ-SAM: finer outlines than mobile-sam at about its speed",
        ),
        Published(
            name="hq-sam2.1-hiera-large",
            file="sam2.1_hq_hiera_large.pt",
            base=_HQ,
            about_mb=899,
            parameters=224_623_794,
            input_px=1024,
            good_for="sam2.1-hiera-large with finer outlines",
        ),
        Published(
            name="mobile-sam",
            file="mobile_sam.pt",
            base=_MOBILE,
            size_bytes=40_728_226,
            digest=_sha256("6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"),
            parameters=10_130_092,
            input_px=1024,
            good_for="clicking without a graphics card",
        ),
        Published(
            name="efficient-sam-ti",
            file="efficient_sam_vitt.pt",
            base=_EFFICIENT,
            about_mb=41,
            digest=_git("af883c49e33c68f01107be52df0ecad26a48355f"),
            parameters=10_223_204,
            input_px=1024,
            good_for="boxes without a graphics card; it knows no clicks beside the object",
        ),
        Published(
            name="efficient-sam-s",
            file="efficient_sam_vits.pt.zip",
            base=_EFFICIENT,
            about_mb=100,
            digest=_git("fa4e9f05f753e109dbde052f97d37903b833cf53"),
            parameters=26_413_028,
            input_px=1024,
            good_for="better boxes than efficient-sam-ti at over twice the cost; it knows no clicks beside the object",
        ),
        Published(
            name="edge-tam",
            file="edgetam.pt",
            base=_EDGE,
            size_bytes=56_116_523,
            digest=_sha256("ed2d4850b8792c239689b043c47046ec239b6e808a3d9b6ae676c803fd8780df"),
            parameters=13_895_794,
            input_px=1024,
            good_for="the fastest encoder of all, nearly as good with clicks as sam-vit-b",
        ),
        Published(
            name="fast-sam-s",
            file="FastSAM-s.pt",
            base=_FAST,
            size_bytes=23_851_578,
            digest=_sha256("c9f78716a81c7aff0d608ccc73e1b82ab3aaad86005049f6a92106a0be6d0844"),
            parameters=11_790_483,
            input_px=1024,
            licence="AGPL-3.0",
            licence_note=_AGPL,
            good_for="everything in an image in one pass, roughly",
        ),
        Published(
            name="fast-sam-x",
            file="FastSAM-x.pt",
            base=_FAST,
            size_bytes=144_972_346,
            digest=_sha256("752cadc2828edb1cd4bc4f9eb587100631af06ea2108f4c9ed56df4755701e76"),
            parameters=71_751_811,
            input_px=1024,
            licence="AGPL-3.0",
            licence_note=_AGPL,
            good_for="everything in an image in one pass, better than fast-sam-s",
        ),
    )
}
"""Published weights by the member's name, in the order of `samgeo models list`."""


def find_published(name: str) -> Published:
    """The member of this name; UnknownModelError names those that are close."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    close = difflib.get_close_matches(name, PUBLISHED, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known models: {', '.join(PUBLISHED)}"
    raise UnknownModelError(f"{name}: no model of this name and no file at this path; {hint} (samgeo models list)")
