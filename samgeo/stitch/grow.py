"""A prompted object that its window cuts goes on in the neighbouring windows, round by round.

Where a mask meets a border of its window inside the grid, the tile across that border is asked in the next round. It is
asked with a point on what is known: the innermost pixel of the part that both windows see. No box, since how far the
object reaches is the question. Of the answers the one counts that best agrees with what is known. A round knows only
the rounds before it, so the result does not depend on the order of tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.errors import ResourceLimitError
from samgeo.pixels import FOREGROUND, Mask, PixelPrompts, Window
from samgeo.stitch.overlap import CROSS, SAME
from samgeo.tiling import Tile, Tiling

MAX_WINDOWS = 4096
"""An object through more windows is taken for the background."""

Decode = Callable[[Window, PixelPrompts], Sequence[Sequence[Mask]]]
"""(read window, N prompts in its pixels) -> N lists of candidates in its pixels, as `DecodedMasks.to_masks` gives."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grown:
    """A prompted object, complete."""

    pieces: tuple[Mask, ...]
    """Masks in pixels of the grid that share no pixel and together are the object; each with the object's score."""
    windows: int
    """Number of windows that the object was put together from."""
    open_ends: int
    """How often an object went on beyond its window and the next one did not show it."""
    agreed: bool = True
    """True if every window that was asked agreed, pixel for pixel, with what was known before."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """What one window shows of the object."""

    mask: Mask
    window: Window
    tile: int | None
    """Index of the tile that reads this window; None for a window of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Question:
    """A connected part of the object that a window has seen and a tile has not shown yet."""

    part: Mask
    """The part, in pixels of the grid."""
    shared: Window
    """What the window and the tile both see."""
    front: NDArray[np.int64]
    """(n, 2) row and column of the pixels at which the part leaves the window."""


def grow(
    seed: Mask,
    seen: Window,
    *,
    tiling: Tiling,
    decode: Decode,
    max_windows: int = MAX_WINDOWS,
    while_agreed: bool = False,
) -> Grown:
    """The whole object of which a window shows a part.

    seed: the object in pixels of the grid. seen: the window that it was found in, a tile's or any other.
    while_agreed: stop, with the object as far as it is known, when a window does not agree with what is known.
    Raises ResourceLimitError if the object reaches through more than `max_windows` windows.
    """
    grid = Window(row=0, col=0, height=tiling.height, width=tiling.width)
    tile = next((t.index for t in tiling.tiles_reading(seen) if t.read == seen), None)
    views = [_View(mask=seed.crop(grid.intersection(seen)), window=seen, tile=tile)]
    fresh, open_ends, agreed = views, 0, True
    while fresh and (agreed or not while_agreed):
        found: list[_View] = []
        for index, fronts in sorted(_fronts(fresh, tiling).items()):
            own = [view for view in views if view.tile == index]
            answers, unanswered, same = _ask(tiling[index], fronts, own, decode)
            found += [_View(mask=m.crop(grid), window=tiling[index].read, tile=index) for m in answers]
            open_ends, agreed = open_ends + unanswered, agreed and same
        views, fresh = [*views, *found], found
        windows = len({view.window for view in views})
        if windows > max_windows:
            raise ResourceLimitError(
                f"the object prompted in rows {seed.window.row} to {seed.window.row_end}, columns {seed.window.col} to "
                f"{seed.window.col_end} reaches through more than {max_windows} windows of {tiling.tile_px} px: "
                "expected an object, not the background; move the prompt, or use a coarser --resolution"
            )
    pieces = tuple(_described(piece, views) for piece in _pieces(views, tiling))
    windows = len({view.window for view in views})
    return Grown(pieces=pieces, windows=windows, open_ends=open_ends, agreed=agreed)


Fronts = dict[int, list[tuple[_View, NDArray[np.int64]]]]


def _fronts(views: Sequence[_View], tiling: Tiling) -> Fronts:
    """Tile index to the views that go on there, with the (n, 2) pixels at which they leave their window."""
    fronts: dict[tuple[int, int], list[NDArray[np.int64]]] = {}
    for number, view in enumerate(views):
        for tile_index, border in _borders(view, tiling):
            part = view.mask.crop(border)
            pixels = np.argwhere(part.pixels) + np.array([part.window.row, part.window.col])
            if len(pixels):
                fronts.setdefault((tile_index, number), []).append(pixels)
    by_tile: Fronts = {}
    for (tile_index, number), pixels_of in fronts.items():
        by_tile.setdefault(tile_index, []).append((views[number], np.concatenate(pixels_of)))
    return by_tile


def _borders(view: _View, tiling: Tiling) -> Iterator[tuple[int, Window]]:
    """The borders of a window that lie inside the grid, each with the tile to ask where the object crosses it.

    For a tile that is the neighbour across that side: the overlap with it is wide, that with a corner neighbour may be
    so small that everything looks alike there. For other windows it is the tile whose core holds the crossing.
    """
    read = view.window
    sides = (
        (read.row > 0, -tiling.cols, replace(read, height=1)),
        (read.row_end < tiling.height, tiling.cols, replace(read, row=read.row_end - 1, height=1)),
        (read.col > 0, -1, replace(read, width=1)),
        (read.col_end < tiling.width, 1, replace(read, col=read.col_end - 1, width=1)),
    )
    for inside_grid, step, border in sides:
        if inside_grid and view.tile is not None:
            yield view.tile + step, border
        elif inside_grid:
            yield from ((tile.index, tile.core.intersection(border)) for tile in tiling.tiles_meeting(border))


def _ask(
    tile: Tile, fronts: Sequence[tuple[_View, NDArray[np.int64]]], own: Sequence[_View], decode: Decode
) -> tuple[list[Mask], int, bool]:
    """What a tile shows of the object, in pixels of the grid; how often nothing agrees; whether all does, exactly."""
    shown = np.zeros(tile.read.shape, dtype=bool)
    for view in own:
        _paste(shown, tile.read, view.mask)
    questions = [q for view, front in fronts for q in _questions(view, front, tile) if not _answered(q, tile, shown)]
    if not questions:
        return [], 0, True
    places = np.array([_innermost(q.part) for q in questions]) - (tile.read.row, tile.read.col)
    points = places[:, None, ::-1].astype(np.float32)
    answers = decode(tile.read, PixelPrompts(points=points, labels=np.full(points.shape[:2], FOREGROUND)))
    found, unanswered, same = [], 0, True
    for question, candidates in zip(questions, answers, strict=True):
        if _answered(question, tile, shown):  # by the answer to another one
            continue
        masks = [mask.shift(tile.read.row, tile.read.col) for mask in candidates]
        best = max(masks, key=lambda mask: (_agreement(mask, question), mask.score))
        agreement = _agreement(best, question)
        same &= agreement == 1
        if agreement < SAME or not _paste(shown, tile.read, best):
            unanswered += 1
            continue
        found.append(best)
    return found, unanswered, same and not unanswered


def _questions(view: _View, front: NDArray[np.int64], tile: Tile) -> Iterator[_Question]:
    """One for each connected part of the mask that the window and the tile share and that leaves the window here."""
    shared = view.window.intersection(tile.read)
    common = view.mask.crop(shared)
    parts, _ = ndimage.label(common.pixels, CROSS)
    part_of = parts[tuple((front - (common.window.row, common.window.col)).T)]
    for number in np.unique(part_of):
        part = Mask.from_array(parts == number).shift(common.window.row, common.window.col)
        yield _Question(part=part, shared=shared, front=front[part_of == number])


def _answered(question: _Question, tile: Tile, shown: NDArray[np.bool_]) -> bool:
    """True if the tile shows at least half of the pixels at which the part leaves its window."""
    return bool(shown[tuple((question.front - (tile.read.row, tile.read.col)).T)].mean() >= 0.5)


def _innermost(part: Mask) -> tuple[int, int]:
    """Row and column of the pixel that is furthest from all that is not the part; of equals the first."""
    (row, col), _ = deepest(part.pixels)
    return row + part.window.row, col + part.window.col


def deepest(pixels: NDArray[np.bool_]) -> tuple[tuple[int, int], float]:
    """Row and column of the pixel furthest from all that are False and from the outside, of equals the first; how far.

    pixels: (h, w).
    """
    depth = depths(pixels)
    row, col = divmod(int(np.argmax(depth)), depth.shape[1])
    return (row, col), float(depth[row, col])


def depths(pixels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far each pixel is from all that are False and from the outside, in pixels; 0 where it is False. (h, w)."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(pixels, 1))[1:-1, 1:-1])


def _agreement(mask: Mask, question: _Question) -> float:
    """Best IoU of the part that is known with a connected part of the mask inside what both windows see."""
    common = mask.crop(question.shared)
    part = question.part.crop(common.window)
    if not part.pixels.any():
        return 0.0
    parts, count = ndimage.label(common.pixels, CROSS)
    inside = part.window.shift(-common.window.row, -common.window.col).slices()
    both = np.bincount(parts[inside][part.pixels], minlength=count + 1)[1:]
    either = np.bincount(parts.ravel(), minlength=count + 1)[1:] + question.part.area_px - both
    return float((both / either).max())


def _paste(array: NDArray[np.bool_], window: Window, mask: Mask) -> bool:
    """Add a mask to an array that shows a window of the grid; True if that added a pixel."""
    inside = mask.window.intersection(window)
    if inside.is_empty:
        return False
    part = mask.pixels[inside.shift(-mask.window.row, -mask.window.col).slices()]
    target = array[inside.shift(-window.row, -window.col).slices()]
    adds = bool((part & ~target).any())
    target |= part
    return adds


def _pieces(views: Sequence[_View], tiling: Tiling) -> Iterator[Mask]:
    """The object core by core in row-major order."""
    if len(views) == 1:
        yield views[0].mask
        return
    near: dict[int, list[_View]] = {}
    for view in views:
        for tile in tiling.tiles_reading(view.mask.window):
            near.setdefault(tile.index, []).append(view)
    for index in sorted(near):
        tile = tiling[index]
        piece = Mask.from_array(_in_core(tile, near[index]))
        if not piece.window.is_empty:
            yield piece.shift(tile.core.row, tile.core.col)


def _in_core(tile: Tile, near: Sequence[_View]) -> NDArray[np.bool_]:
    """The object in the core of a tile: what the tile shows, and of others what no window nearer to the core shows.

    A window was asked about some parts of the object and not about others. So a nearer one does not overrule a whole
    window, only the parts of which it shows a pixel.
    """
    core = (tile.core.row + tile.core.row_end, tile.core.col + tile.core.col_end)

    def distance(window: Window) -> tuple[bool, int, Window]:
        down, right = window.row + window.row_end - core[0], window.col + window.col_end - core[1]
        return window != tile.read, down**2 + right**2, window

    shown = np.zeros(tile.core.shape, dtype=bool)
    nearer: list[_View] = []
    for window in sorted({view.window for view in near}, key=distance):
        here = [view for view in near if view.window == window]
        for view in here:
            if not view.mask.crop(tile.core).window.is_empty:
                _paste(shown, tile.core, _without_shown(view.mask, nearer))
        nearer += here
    return shown


def _without_shown(mask: Mask, nearer: Sequence[_View]) -> Mask:
    """The mask without those connected parts inside other windows of which these windows show a pixel."""
    kept = mask.pixels.copy()
    for view in nearer:
        common = mask.crop(view.window)
        both = common.window.intersection(view.mask.window)
        if both.is_empty:
            continue
        parts, count = ndimage.label(common.pixels, CROSS)
        theirs = np.zeros(parts.shape, dtype=bool)
        _paste(theirs, common.window, view.mask)
        touched = np.bincount(parts[theirs], minlength=count + 1) > 0
        touched[0] = False
        kept[common.window.shift(-mask.window.row, -mask.window.col).slices()] &= ~touched[parts]
    return replace(mask, pixels=kept)


def _described(piece: Mask, views: Sequence[_View]) -> Mask:
    """The piece with the means of the views' scores, weighted by area, and the label of the first."""
    areas = np.array([view.mask.area_px for view in views], dtype=np.float64)
    weights = areas / max(1.0, float(areas.sum()))
    score = float(weights @ [view.mask.score for view in views])
    stability = float(weights @ [view.mask.stability for view in views])
    return replace(piece, score=score, stability=stability, label=views[0].mask.label)
