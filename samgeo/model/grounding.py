"""Words to boxes with models of the transformers library: Grounding DINO, OWLv2, SAM 3. Needs the extra `text`.

The library has the networks and the tokenizers. Images are prepared here, by the published numbers: its own processors
for them need torchvision. Only .safetensors are read, and no code that comes with a model is run.

    Grounding DINO  Liu et al. 2023: all words in one sentence, each ends with a full stop; the surest token counts
    OWLv2           Minderer et al. 2023: one query a word
    SAM 3           Carion et al. 2025: one pass a word, of which only the boxes are used
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from samgeo.errors import ModelError, PromptError, UsageError, WeightsError
from samgeo.model.digests import digest_of
from samgeo.model.finder import FoundWords
from samgeo.model.frame import IMAGENET_MEAN, IMAGENET_STD
from samgeo.model.limits import plain_refusals
from samgeo.model.weights import choose_device

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of RGB in 0..1."""
SHORTEST_PX, LONGEST_PX = 800, 1333
"""Grounding DINO: the shorter side of an image, unless the longer one would pass this."""
FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What is fetched from the hub."""

Boxes = tuple[Tensor, Tensor, Tensor]
"""(K, 4) x_min, y_min, x_max, y_max as shares of the image's width and height, (K,) words, (K,) scores."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the models of one kind are loaded and asked."""

    network: str
    """Class of the transformers library."""
    least_score: float
    """As its authors use it."""
    ask: Callable[[Any, Any, NDArray[np.uint8], tuple[str, ...]], Boxes]
    """(network, tokenizer, image, words) -> boxes."""


class TransformersFinder:
    """A model of the transformers library that finds words; fulfils `finder.WordFinder`."""

    def __init__(
        self, network: Any, tokenizer: Any, *, kind: Kind, name: str, sha256: str, device: torch.device
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(requires_grad=False)
        self.tokenizer = tokenizer
        self.kind = kind
        self.name = name
        self.sha256 = sha256
        self.device = device
        self.least_score = kind.least_score

    def find(self, image: NDArray[np.uint8], words: tuple[str, ...], *, least_score: float) -> FoundWords:
        """Boxes of all words in an (H, W, 3) uint8 RGB image with at least that score.

        Raises PromptError for more words than the model reads at once.
        """
        height, width = image.shape[:2]
        with torch.inference_mode(), plain_refusals(self.device):
            shares, found, scores = self.kind.ask(self.network, self.tokenizer, image, words)
        sides = shares.new_tensor([width, height, width, height])
        boxes = (shares.clamp(0, 1) * sides).float()
        keep = (scores >= least_score) & ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
        return FoundWords(
            boxes=(boxes[keep] - 0.5).cpu().numpy(),
            words=found[keep].cpu().numpy(),
            scores=scores[keep].float().cpu().numpy(),
        )


def load_finder(name: str, *, device: str = "auto") -> TransformersFinder:
    """A word finder from a folder, or by its name on the Hugging Face hub.

    Raises UsageError without the extra `text`; ModelError for a kind of model that finds no words, and for a name that
    cannot be fetched; WeightsError for files that are damaged.
    """
    transformers = _import_transformers()
    chosen = choose_device(device)
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    kind = KINDS[_model_type(folder)]
    with _plain_errors(name), _quietly(transformers.utils.logging):
        network, strange = getattr(transformers, kind.network).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if missing := sorted(strange["missing_keys"]):
        raise WeightsError(f"{name}: {len(missing)} tensors are missing ({', '.join(missing[:2])}); expected all")
    return TransformersFinder(network, tokenizer, kind=kind, name=name, sha256=_digest(folder), device=chosen)


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            "--text needs the transformers library, which is not installed. Fix: pip install 'samgeo[text]'"
        ) from error
    return transformers


def _fetched(name: str) -> Path:
    """The folder of a model of the hub; what is in the hub's cache is not fetched again."""
    import huggingface_hub

    if len(Path(name).parts) != 2 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"--text-model {name}: no such folder; expected one, a .safetensors, .pt or .pth file of samgeo-nano, or "
            f"a name on the hub: {EXAMPLE}"
        )
    offline = os.environ.get("SAMGEO_OFFLINE", "0") not in ("", "0")
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES), local_files_only=offline))
    except (OSError, ValueError) as error:
        why = "is not here, and SAMGEO_OFFLINE forbids fetching it" if offline else "cannot be fetched"
        raise ModelError(
            f"--text-model {name}: {why} ({_first_line(error)}). Fix: check the name and the connection, or download "
            "its files and give the folder"
        ) from error


def _model_type(folder: Path) -> str:
    """Which of `KINDS` it is."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{folder}: no config.json that names its model_type; expected {_expected()}") from error
    if found not in KINDS:
        raise ModelError(f"{folder}: a model of type {found!r:.40}, which finds no words; expected {_expected()}")
    return str(found)


def _expected() -> str:
    return f"the files of a model of the types {', '.join(KINDS)}, such as {EXAMPLE}"


@contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, LookupError, ImportError, SafetensorError) as error:
        raise WeightsError(
            f"{name}: cannot be loaded ({_first_line(error)}). Expected model.safetensors, config.json and the files "
            "of its tokenizer, whole. Fix: download them again"
        ) from error


@contextmanager
def _quietly(logging: Any) -> Iterator[None]:
    """Without the library's own progress bars."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _digest(folder: Path) -> str:
    """One digest for all weights, configuration and the tokenizer's files."""
    files = sorted(path for pattern in FILES for path in folder.glob(pattern))
    return hashlib.sha256("\n".join(f"{path.name} {digest_of(path)}" for path in files).encode()).hexdigest()


def _ask_grounding_dino(network: Any, tokenizer: Any, image: NDArray[np.uint8], words: tuple[str, ...]) -> Boxes:
    ids, owner = sentence(tokenizer, words)
    if len(ids) > network.config.max_text_len:
        raise PromptError(
            f"--text: {len(words)} words of {len(ids)} tokens; Grounding DINO reads {network.config.max_text_len} at "
            "once. Fix: fewer words"
        )
    pixels = grounding_dino_pixels(image).to(network.device)
    seen = network(pixel_values=pixels, input_ids=torch.tensor([ids], device=network.device))
    of_tokens = seen.logits[0, :, : len(ids)].sigmoid()  # (queries, tokens)
    of_words = torch.stack(
        [of_tokens[:, [p for p, word in enumerate(owner) if word == k]].amax(dim=1) for k in range(len(words))], dim=1
    )
    scores, found = of_words.max(dim=1)
    return corners(seen.pred_boxes[0]), found, scores


def sentence(tokenizer: Any, words: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Token ids of all words, each closed by a full stop, and the position of the word that each token is of, or -1."""
    (stop,) = tokenizer.encode(".", add_special_tokens=False)
    ids, owner = [tokenizer.cls_token_id], [-1]
    for position, word in enumerate(words):
        own = [t for t in tokenizer.encode(word.lower(), add_special_tokens=False) if t != stop]
        if not own:
            raise PromptError(f"--text {word!r}: nothing that the model can read; expected words, such as roof")
        ids += [*own, stop]
        owner += [position] * len(own) + [-1]
    return [*ids, tokenizer.sep_token_id], [*owner, -1]


def _ask_owlv2(network: Any, tokenizer: Any, image: NDArray[np.uint8], words: tuple[str, ...]) -> Boxes:
    length = network.config.text_config.max_position_embeddings
    tokens = tokenizer(list(words), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    seen = network(
        pixel_values=owlv2_pixels(image, network.config.vision_config.image_size).to(network.device),
        input_ids=tokens["input_ids"].to(network.device),
        attention_mask=tokens["attention_mask"].to(network.device),
    )
    scores, found = seen.logits[0].sigmoid().max(dim=1)
    height, width = image.shape[:2]
    boxes = corners(seen.pred_boxes[0]) * max(height, width)
    return boxes / boxes.new_tensor([width, height, width, height]), found, scores


def _ask_sam3(network: Any, tokenizer: Any, image: NDArray[np.uint8], words: tuple[str, ...]) -> Boxes:
    vision = network.get_vision_features(pixel_values=sam3_pixels(image, network.config.image_size).to(network.device))
    length = network.config.text_config.max_position_embeddings
    parts = []
    for position, word in enumerate(words):
        tokens = tokenizer([word], padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        seen = network(
            vision_embeds=vision,
            input_ids=tokens["input_ids"].to(network.device),
            attention_mask=tokens["attention_mask"].to(network.device),
        )
        scores = (seen.pred_logits[0].sigmoid() * seen.presence_logits[0].sigmoid()).flatten()
        parts.append((seen.pred_boxes[0], torch.full_like(scores, position, dtype=torch.long), scores))
    boxes, found, every = (torch.cat(column) for column in zip(*parts, strict=True))
    return boxes, found, every


KINDS = {
    "grounding-dino": Kind(network="GroundingDinoForObjectDetection", least_score=0.35, ask=_ask_grounding_dino),
    "owlv2": Kind(network="Owlv2ForObjectDetection", least_score=0.2, ask=_ask_owlv2),
    "sam3": Kind(network="Sam3Model", least_score=0.5, ask=_ask_sam3),
}
"""By the `model_type` of their configuration."""
EXAMPLE = "IDEA-Research/grounding-dino-tiny"


def corners(boxes: Tensor) -> Tensor:
    """(K, 4) centre x, centre y, width, height -> x_min, y_min, x_max, y_max."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1)


def grounding_dino_pixels(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) -> (1, 3, H', W'): the shorter side resized by Pillow, normalised."""
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    side = min(SHORTEST_PX, LONGEST_PX * short / long)
    sides = round(side), int(side * long / short)
    resized = Image.fromarray(image).resize(sides if width == short else sides[::-1], Image.Resampling.BILINEAR)
    return _standard(_planes(np.asarray(resized)) / 255, IMAGENET_MEAN, IMAGENET_STD)


def owlv2_pixels(image: NDArray[np.uint8], side: int) -> Tensor:
    """(H, W, 3) -> (1, 3, side, side): black at the right and the bottom up to a square, antialiased, normalised."""
    height, width = image.shape[:2]
    square = F.pad(_planes(image) / 255, (0, max(height - width, 0), 0, max(width - height, 0)))
    return _standard(F.interpolate(square, (side, side), mode="bilinear", antialias=True), CLIP_MEAN, CLIP_STD)


def sam3_pixels(image: NDArray[np.uint8], side: int) -> Tensor:
    """(H, W, 3) -> (1, 3, side, side): a square whatever the proportions, rounded to 8 bit, then -1 to 1."""
    resized = F.interpolate(_planes(image), (side, side), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255) / 127.5 - 1


def _standard(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _planes(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) -> (1, 3, H, W) float32."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
