"""The class head learns what masks show, and from each source only what its labels say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from samgeo.model.build import ARCHITECTURES
from samgeo.model.classes import pool
from samgeo.model.sam import Sam
from samgeo.model.spec import MODELS
from samgeo.model.vocabulary import CLASSES
from samgeo.train.classify import known_classes, teach_classes
from samgeo.train.labelled import LabelledImage
from samgeo.train.loop import Batches, TrainSettings
from tests.train.test_loop import labelled

BUILDING, WATER = CLASSES.index("building"), CLASSES.index("water")


def coloured(seed: int, *, complete: bool = True) -> LabelledImage:
    """White rectangles are roofs, dim ones are water."""
    made = labelled(seed)
    image, objects = made.image.copy(), []
    for number, mask in enumerate(made.objects):
        white = number % 2 == 0
        image[mask.window.slices()][mask.pixels] = (240, 240, 240) if white else (90, 90, 90)
        objects.append(replace(mask, label="roof" if white else "lake"))
    return replace(made, image=image, objects=tuple(objects), complete=complete)


def batches(folder: Path, images: dict[str, LabelledImage]) -> Batches:
    for name, image in images.items():
        image.save(folder / f"{name}.npz")
    settings = TrainSettings(steps=30, decay_steps=6, layouts=((64, 2, 4), (96, 1, 12)))
    return Batches({name: [folder / f"{name}.npz"] for name in images}, dict.fromkeys(images, 1.0), settings)


def test_a_source_tells_of_the_classes_that_it_draws_wherever_they_are(tmp_path: Path) -> None:
    roofs = replace(coloured(0), objects=coloured(0).objects[::2])
    known = known_classes(batches(tmp_path, {"all": coloured(0), "some": coloured(1, complete=False), "roofs": roofs}))
    assert known["all"].nonzero().flatten().tolist() == [BUILDING, WATER]
    assert not known["some"].any()
    assert known["roofs"].nonzero().flatten().tolist() == [BUILDING]


def test_it_tells_white_from_dim(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sam = ARCHITECTURES["nano"].build(MODELS["samgeo-nano"])
    assert isinstance(sam, Sam)
    before = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    teach_classes(sam, batches(tmp_path, {"a": coloured(0), "b": coloured(1)}), steps=30, learning_rate=1e-2)
    moved = [name for name, tensor in sam.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved
    assert all(name.startswith("class_head.") for name in moved)
    image = coloured(2)
    with torch.no_grad():
        features = sam.encode(torch.from_numpy(image.image).permute(2, 0, 1)[None] / 255)
        cells = torch.from_numpy(np.stack([m.to_array(160, 160)[::4, ::4] for m in image.objects]))
        chances = sam.class_head(pool(features, cells)).sigmoid()
    white = torch.tensor([m.label == "roof" for m in image.objects])
    assert (chances[:, BUILDING] > chances[:, WATER])[white].float().mean() > 0.75
    assert (chances[:, WATER] > chances[:, BUILDING])[~white].float().mean() > 0.7
