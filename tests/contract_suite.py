"""What any model of the contract in `samgeo/model/contract.py` must pass.

Derive a test class from `ContractSuite`, name it `Test...`, and give it a fixture `model` and a fixture `image`: an
(H, W, 3) uint8 picture with something in its middle. The networks and the oracle are held to the same.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from samgeo.errors import PromptError, SamgeoError
from samgeo.model.contract import DecodedMasks, Embedding, PromptableModel
from samgeo.pixels import Mask, PixelPrompts


def points(*xy: tuple[float, float]) -> PixelPrompts:
    """One object a point."""
    places = np.array(xy, dtype=np.float32).reshape(-1, 1, 2)
    return PixelPrompts(points=places, labels=np.ones(places.shape[:2], dtype=np.int64))


def middle(image: NDArray[np.uint8]) -> PixelPrompts:
    """A point in the middle of the image."""
    return points((image.shape[1] // 2, image.shape[0] // 2))


class ContractSuite:
    """The checks; `tolerance` is what a sum in another order may change, in logits and scores, and `differing_px` in
    the pixels of a mask.
    """

    tolerance = 1e-4
    differing_px = 0

    @pytest.fixture
    def embedding(self, model: PromptableModel, image: NDArray[np.uint8]) -> Embedding:
        return model.encode(image)

    def check(self, decoded: DecodedMasks, objects: int, masks: int, shape: tuple[int, int]) -> list[list[Mask]]:
        """Shapes, dtypes and ranges of what `decode` returned; gives the full-size masks."""
        assert decoded.logits.shape[:2] == (objects, masks)
        assert decoded.logits.ndim == 4
        assert decoded.logits.dtype == np.float32
        assert np.isfinite(decoded.logits).all()
        assert decoded.scores.shape == (objects, masks)
        assert decoded.scores.dtype == np.float32
        assert np.isfinite(decoded.scores).all()
        full = decoded.to_masks()
        assert [len(row) for row in full] == [masks] * objects
        for row, scores in zip(full, decoded.scores, strict=True):
            for mask, score in zip(row, scores, strict=True):
                assert mask.score == pytest.approx(float(score))
                assert 0 <= mask.stability <= 1
                assert mask.window.row >= 0
                assert mask.window.row_end <= shape[0]
                assert mask.window.col >= 0
                assert mask.window.col_end <= shape[1]
                assert mask.pixels.dtype == np.bool_
                tight = Mask.from_array(mask.to_array(*shape)).window
                assert mask.window.is_empty or mask.window == tight, "a mask's window is its bounding box"
        return full

    def test_it_is_a_model(self, model: PromptableModel) -> None:
        assert isinstance(model, PromptableModel)
        assert model.name
        assert model.precision
        assert model.tile_px > 0
        assert re.fullmatch("[0-9a-f]{64}", model.sha256)

    def test_embedding(self, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        assert isinstance(embedding, Embedding)
        assert tuple(embedding.shape) == image.shape[:2]
        assert embedding.arrays()
        assert all(isinstance(array, np.ndarray) for array in embedding.arrays().values())

    @pytest.mark.parametrize("multimask", [True, False])
    def test_points(
        self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8], multimask: bool
    ) -> None:
        prompts = points((1, 1), (image.shape[1] // 2, image.shape[0] // 2), (image.shape[1] - 1, image.shape[0] - 1))
        decoded = model.decode(embedding, prompts, multimask=multimask)
        assert isinstance(decoded, DecodedMasks)
        self.check(decoded, 3, 3 if multimask else 1, image.shape[:2])

    def test_boxes(self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        boxes = np.array(
            [[0, 0, width - 1, height - 1], [width / 4, height / 4, width / 2, height / 2]], dtype=np.float32
        )
        self.check(model.decode(embedding, PixelPrompts(boxes=boxes), multimask=False), 2, 1, image.shape[:2])
        both = PixelPrompts(boxes=boxes[:1], points=middle(image).points, labels=middle(image).labels)
        self.check(model.decode(embedding, both, multimask=False), 1, 1, image.shape[:2])

    def test_padded_points(self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        one = middle(image)
        assert one.points is not None
        padded = PixelPrompts(
            points=np.concatenate([one.points, np.zeros_like(one.points)], axis=1), labels=np.array([[1, -1]])
        )
        self.check(model.decode(embedding, padded), 1, 3, image.shape[:2])

    def test_a_batch_is_its_members(self, model: PromptableModel, image: NDArray[np.uint8]) -> None:
        other = np.ascontiguousarray(image[::-1, : image.shape[1] - 3])
        batch = model.encode([image, other])
        assert isinstance(batch, list)
        assert model.encode([]) == []
        for picture, embedding in zip([image, other], batch, strict=True):
            alone = model.encode(picture)
            prompts = points((2, 3), (picture.shape[1] // 2, picture.shape[0] // 2))
            self.same(model.decode(embedding, prompts), model.decode(alone, prompts))
            self.same(model.decode(alone, prompts[1:]), model.decode(alone, prompts)[_row(1, 2, 3)], reshape=True)

    def test_restored(self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        arrays = {name: array.copy() for name, array in embedding.arrays().items()}
        again = model.restore(arrays, embedding.shape)
        assert tuple(again.shape) == tuple(embedding.shape)
        first, second = model.decode(embedding, middle(image)), model.decode(again, middle(image))
        np.testing.assert_array_equal(first.logits, second.logits)
        np.testing.assert_array_equal(first.scores, second.scores)

    def test_repeatable(self, model: PromptableModel, image: NDArray[np.uint8]) -> None:
        first, second = (model.decode(model.encode(image), middle(image)) for _ in range(2))
        np.testing.assert_array_equal(first.logits, second.logits)

    @pytest.mark.parametrize(("height", "width"), [(33, 47), (47, 33), (1, 40), (37, 1)])
    def test_odd_sizes(self, model: PromptableModel, image: NDArray[np.uint8], height: int, width: int) -> None:
        part = np.ascontiguousarray(image[:height, :width])
        assert part.shape[:2] == (height, width), "the suite needs an image of at least 48 x 48 px"
        embedding = model.encode(part)
        assert tuple(embedding.shape) == (height, width)
        self.check(model.decode(embedding, middle(part)), 1, 3, (height, width))

    def test_mask_prompts(self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        first = model.decode(embedding, middle(image), multimask=False)
        alone = PixelPrompts(masks=first.logits[:, 0])
        self.check(model.decode(embedding, alone, multimask=False), 1, 1, image.shape[:2])
        prompts = middle(image)
        both = PixelPrompts(points=prompts.points, labels=prompts.labels, masks=first.logits[:, 0])
        self.check(model.decode(embedding, both, multimask=False), 1, 1, image.shape[:2])

    def test_keep(self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        decoded = model.decode(embedding, points((1, 1), (image.shape[1] // 2, image.shape[0] // 2)))
        keep = np.array([[True, False, True], [False, True, False]])
        kept = decoded[keep]
        np.testing.assert_allclose(kept.logits[:, 0], decoded.logits[keep], atol=self.tolerance, rtol=self.tolerance)
        np.testing.assert_array_equal(kept.scores[:, 0], decoded.scores[keep])
        all_masks = [mask for row in self.check(decoded, 2, 3, image.shape[:2]) for mask in row]
        some = [row[0] for row in self.check(kept, 3, 1, image.shape[:2])]
        for mask, same in zip([all_masks[k] for k in np.flatnonzero(keep)], some, strict=True):
            differing = mask.to_array(*image.shape[:2]) ^ same.to_array(*image.shape[:2])
            assert np.count_nonzero(differing) <= self.differing_px
            assert mask.stability == pytest.approx(same.stability, abs=0.01)
        self.check(decoded[np.zeros((2, 3), dtype=bool)], 0, 1, image.shape[:2])

    def test_masks_are_the_logits(self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        """Full-size masks cover the share of the image that is above 0 at the decoder's resolution, or nearly so."""
        decoded = model.decode(embedding, middle(image))
        logits = decoded.logits
        if logits.shape[2:] == image.shape[:2]:
            for column, mask in enumerate(decoded.to_masks()[0]):
                np.testing.assert_array_equal(mask.to_array(*image.shape[:2]), logits[0, column] > 0)
        for column, mask in enumerate(decoded.to_masks()[0]):
            if (logits[0, column] > 0).all():
                assert mask.area_px == image.shape[0] * image.shape[1]
            if (logits[0, column] < 0).all():
                assert mask.area_px == 0

    def test_no_objects(self, model: PromptableModel, embedding: Embedding, image: NDArray[np.uint8]) -> None:
        self.check(model.decode(embedding, points()), 0, 3, image.shape[:2])
        with pytest.raises(PromptError):
            PixelPrompts()

    def test_bad_prompts(self, model: PromptableModel, embedding: Embedding) -> None:
        with pytest.raises(PromptError):
            model.decode(embedding, PixelPrompts(masks=np.zeros((1, 7, 5), dtype=np.float32)))
        with pytest.raises(PromptError):
            model.decode(embedding, points((np.nan, 3)))
        with pytest.raises(PromptError):
            model.decode(embedding, PixelPrompts(boxes=np.array([[0, 0, np.inf, 3]], dtype=np.float32)))

    @pytest.mark.parametrize(
        "bad", [np.zeros((48, 48), np.uint8), np.zeros((48, 48, 4), np.uint8), np.zeros((48, 48, 3))]
    )
    def test_bad_images(self, model: PromptableModel, bad: NDArray[np.uint8]) -> None:
        with pytest.raises(SamgeoError):
            model.encode(bad)

    def same(self, one: DecodedMasks, other: DecodedMasks, *, reshape: bool = False) -> None:
        """Equal but for the order of sums."""
        logits, scores = other.logits, other.scores
        if reshape:
            logits, scores = logits.reshape(one.logits.shape), scores.reshape(one.scores.shape)
        np.testing.assert_allclose(one.logits, logits, atol=self.tolerance, rtol=self.tolerance)
        np.testing.assert_allclose(one.scores, scores, atol=self.tolerance, rtol=self.tolerance)


def _row(row: int, objects: int, masks: int) -> NDArray[np.bool_]:
    keep = np.zeros((objects, masks), dtype=bool)
    keep[row] = True
    return keep
