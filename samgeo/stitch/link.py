"""Which masks of neighbouring windows are one object, and what that object looks like.

    masks of every tile ─► table ─► pairs in overlaps ─► winners (seen whole) ──────────────────► objects, in order
                                          └────────────► chains (cut in every window) ─► checked ──┘

An object that some window sees whole is taken complete from there: no seam. One that every window cuts is chained
through the overlaps, and each core takes its pixels from its own window. Nothing depends on the order in which tiles
were done: every choice is by a key that ends in the tile and the mask's position in it. Only tables are kept; pixels
are asked for when needed, tile after tile.

A mask that fills its window is kept: it may be the middle of an object larger than a window, which must come back
whole. What chains leave open, `levels` looks at from further away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from samgeo.pixels import Mask, Window
from samgeo.stitch.overlap import PAIR, SAME, compare, strip
from samgeo.stitch.table import Crops, MaskTable
from samgeo.tiling import Tile, Tiling

Members = Mapping[int, NDArray[np.int64]]
"""Tile index to the rows of the object's masks in that tile."""


@dataclass(frozen=True, kw_only=True)
class StitchedObject:
    """One object of the raster."""

    members: tuple[tuple[int, int], ...]
    """(tile index, position of the mask in its tile): one complete mask, or a chain ordered by tile and position."""
    window: Window
    """A rectangle that holds the object; for a single mask its bounding box."""
    area_px: int
    """Number of pixels."""
    score: float
    """Score of the mask, or the mean of the chain's masks weighted by area."""
    stability: float
    """Stability of the mask, or the mean of the chain's masks weighted by area."""
    label: int
    """Number of what it is called, -1 for none: what its masks are called most surely, weighted by area."""
    label_score: float
    """How sure the model is of that; a mask that is called otherwise counts as 0."""

    @property
    def tiles(self) -> int:
        """Number of tiles that the object was put together from."""
        return len({tile for tile, _ in self.members})


@dataclass(frozen=True, kw_only=True, eq=False)
class Stitched:
    """All objects of a raster, ordered by first pixel (row-major), then the larger, then by what their pixels are."""

    table: MaskTable
    """All masks, ordered by tile and position."""
    tiling: Tiling
    """The tiles."""
    rows: NDArray[np.int32]
    """Table rows of the objects' masks, object after object."""
    starts: NDArray[np.int64]
    """(objects + 1,) where each object begins in `rows`."""
    area: NDArray[np.int64]
    """(objects,) number of pixels."""

    def __len__(self) -> int:
        return len(self.area)

    def __iter__(self) -> Iterator[StitchedObject]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> StitchedObject:
        if not 0 <= k < len(self):
            raise IndexError(f"object {k}: expected 0 to {len(self) - 1}")
        rows, table = self.rows[self.starts[k] : self.starts[k + 1]], self.table
        weight = table.area[rows] / table.area[rows].sum(dtype=np.int64)
        label, label_score = most_called(table.label[rows], table.label_score[rows] * weight)
        return StitchedObject(
            members=tuple(zip(table.tile[rows].tolist(), table.index[rows].tolist(), strict=True)),
            window=_bounds(table, rows),
            area_px=int(self.area[k]),
            score=float((table.score[rows] * weight).sum()),
            stability=float((table.stability[rows] * weight).sum()),
            label=label,
            label_score=label_score,
        )

    @property
    def words(self) -> NDArray[np.int8]:
        """(objects,) number of the word that each was sought as, -1 for none."""
        return self.table.word[self.rows[self.starts[:-1]]]

    def pieces(self, k: int, crops: Crops) -> Iterator[Mask]:
        """Object `k` in pixels of the grid: masks that share no pixel and together are the object.

        A single mask comes as it is; a chain comes core by core in row-major order, one piece in memory at a time.
        """
        return _pieces(self.rows[self.starts[k] : self.starts[k + 1]], self.table, self.tiling, crops)


def most_called(labels: NDArray[np.int8], shares: NDArray[np.floating[Any]]) -> tuple[int, float]:
    """The label with the largest sum of shares, of equals the first in the list, and that sum; -1 if there is none."""
    sums = np.bincount(labels[labels >= 0], shares[labels >= 0])
    return (int(sums.argmax()), float(sums.max())) if len(sums) else (-1, 0.0)


def link(table: MaskTable, tiling: Tiling, crops: Crops) -> Stitched:
    """Find the objects behind all masks of a raster.

    table: the rows of all tiles, as `MaskTable.concatenate` orders them. crops: the masks' pixels, see `Crops`.
    """
    pairs = find_pairs(table, tiling, crops)
    winners = find_winners(table, tiling, pairs)
    loose = table.cut & ~_explained(table, pairs, winners)
    links = pairs[loose[pairs["one"]] & loose[pairs["other"]]]
    linked = np.union1d(links["one"], links["other"])
    loose[linked] = False
    del pairs  # what follows needs the room
    alone = [row for row in np.flatnonzero(loose) if _reaches_core(table, tiling, crops, int(row))]
    chains = [part for rows, own in _groups(linked, links) for part in _consistent(rows, own, table, tiling, crops)]
    single = np.concatenate([np.flatnonzero(winners), np.array(alone, dtype=np.int64)])
    return _ordered(single, chains, table, tiling, crops)


def find_pairs(table: MaskTable, tiling: Tiling, crops: Crops) -> NDArray[np.void]:
    """(pairs,) of dtype `overlap.PAIR`: what the masks of all neighbouring tiles have to do with each other.

    Windows that only meet at a corner share too little to chain cut masks through, and need not: every step between
    two cores crosses a side. They do show the same whole masks.
    """
    found = [np.zeros(0, dtype=PAIR)]
    for tile in tiling:
        for other in tiling.neighbours(tile):
            if other.index < tile.index:
                continue
            overlap = tile.read.intersection(other.read)
            pairs = compare(table, strip(table, tile.index, overlap, crops), strip(table, other.index, overlap, crops))
            if tile.row_index != other.row_index and tile.col_index != other.col_index:
                pairs = pairs[~(table.cut[pairs["one"]] & table.cut[pairs["other"]])]
            found.append(pairs)
    return np.concatenate(found)


def find_winners(table: MaskTable, tiling: Tiling, pairs: NDArray[np.void]) -> NDArray[np.bool_]:
    """(masks,) True for the whole masks that are kept: of partners the one whose window answers for the object.

    That is the window whose core holds the centre of the mask's box; then the one that sees the mask further from its
    border, then the higher score, then the first tile. A mask that no such window answers for stays as a rescue,
    unless its own window's neighbour that should have seen it has something much like it.
    """
    owner = _owners(table, tiling)
    answered = np.zeros(len(table), dtype=bool)  # the owner's window shows a partner of the mask
    for a, b in (("one", "other"), ("other", "one")):
        some = pairs[pairs["partner"]]
        answered[some[a][table.tile[some[b]] == owner[some[a]]]] = True
    kept = ~table.cut
    among = pairs[kept[pairs["one"]] & kept[pairs["other"]]]
    partners = _graph(among[among["partner"]], len(table))
    rivals = _graph(among[~among["partner"]], len(table))
    rows = np.union1d(among["one"], among["other"])  # all others stay
    margin = _margins(table, tiling, rows)
    kept[rows] = False
    order = np.lexsort((rows, -table.score[rows], -margin, owner[rows] != table.tile[rows]))
    for row in rows[order]:
        beaten = bool(kept[partners(row)].any())
        if not beaten and owner[row] != table.tile[row] and not answered[row]:
            near = rivals(row)
            beaten = bool((kept[near] & (table.tile[near] == owner[row])).any())
        kept[row] = not beaten
    return kept


def _explained(table: MaskTable, pairs: NDArray[np.void], winners: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(masks,) True for cut masks that show an object which is whole elsewhere: a partner, or all that is like it."""
    explained = np.zeros(len(table), dtype=bool)
    has_partner = np.zeros(len(table), dtype=bool)
    partner = pairs[pairs["partner"]]
    for a, b in (("one", "other"), ("other", "one")):
        has_partner[partner[a]] = True
        explained[partner[a][~table.cut[partner[b]]]] = True
    for a, b in (("one", "other"), ("other", "one")):
        rival = pairs[~pairs["partner"] & winners[pairs[b]]]
        explained[rival[a][~has_partner[rival[a]]]] = True
    return explained & table.cut


def _owners(table: MaskTable, tiling: Tiling) -> NDArray[np.int32]:
    """(masks,) index of the tile whose core holds the centre of the mask's box."""
    half = tiling.overlap_px // 2

    def position(low: NDArray[np.int32], high: NDArray[np.int32], count: int) -> NDArray[np.int32]:
        middle = low + (high - low) // 2
        return np.asarray(np.clip((middle - half) // tiling.stride_px, 0, count - 1))

    rows, cols = position(table.top, table.bottom, tiling.rows), position(table.left, table.right, tiling.cols)
    return np.asarray(rows * tiling.cols + cols)


def _margins(table: MaskTable, tiling: Tiling, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) pixels between the mask and the nearest border of its window that is not a border of the grid."""
    tile_row, tile_col = np.divmod(table.tile[rows].astype(np.int64), tiling.cols)
    margin = np.full(len(rows), tiling.height + tiling.width, dtype=np.int64)
    for position, low, high, size in (
        (tile_row, table.top[rows], table.bottom[rows], tiling.height),
        (tile_col, table.left[rows], table.right[rows], tiling.width),
    ):
        start = position * tiling.stride_px
        end = start + tiling.tile_px
        margin = np.where(start > 0, np.minimum(margin, low - start), margin)
        margin = np.where(end < size, np.minimum(margin, end - high), margin)
    return margin


def _graph(pairs: NDArray[np.void], count: int) -> Callable[[int], NDArray[np.int32]]:
    """A function from a row to the rows that it has a pair with."""
    ends = np.concatenate([pairs["one"], pairs["other"]]), np.concatenate([pairs["other"], pairs["one"]])
    graph = sparse.coo_array((np.ones(len(ends[0]), dtype=bool), ends), shape=(count, count)).tocsr()
    return lambda row: np.asarray(graph.indices[graph.indptr[row] : graph.indptr[row + 1]])


def _reaches_core(table: MaskTable, tiling: Tiling, crops: Crops, row: int) -> bool:
    """True if the mask has a pixel in the core of its tile; one that has none is an echo of what others answer for."""
    inside = table.box(row).intersection(tiling[int(table.tile[row])].core)
    return not inside.is_empty and bool(table.pixels(row, inside, crops).any())


def _groups(rows: NDArray[np.int64], links: NDArray[np.void]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.void]]]:
    """Split rows into those that links connect, each with its own links; by first row."""
    if not len(rows):
        return
    one, other = np.searchsorted(rows, links["one"]), np.searchsorted(rows, links["other"])
    graph = sparse.coo_array((np.ones(len(links), dtype=bool), (one, other)), shape=(len(rows), len(rows)))
    count, group = sparse.csgraph.connected_components(graph, directed=False)
    by_group, by_link = np.argsort(group, kind="stable"), np.argsort(group[one], kind="stable")
    row_ends = np.cumsum(np.bincount(group, minlength=count))[:-1]
    link_ends = np.cumsum(np.bincount(group[one], minlength=count))[:-1]
    yield from zip(np.split(rows[by_group], row_ends), np.split(links[by_link], link_ends), strict=True)


def _consistent(
    rows: NDArray[np.int64], links: NDArray[np.void], table: MaskTable, tiling: Tiling, crops: Crops
) -> list[NDArray[np.int64]]:
    """Take a chain apart until every window agrees with what the whole chain shows inside it.

    Of the links in and around a window that does not agree the weakest is cut. With exact masks all agree.
    """
    waiting, done = [(rows, links)], []
    while waiting:
        some, own = waiting.pop()
        members = _members(table, some)
        wrong = [tile for tile in members if not _agrees(members, tile, table, tiling, crops)] if len(own) else []
        if not wrong:
            done.append(some)
            continue
        weakest = {_weakest(own, table, tiling, tile) for tile in wrong}
        kept = np.delete(own, sorted(weakest))
        waiting += _groups(some, kept)
    return [some for some in done if len(some) > 1 or _reaches_core(table, tiling, crops, int(some[0]))]


def _agrees(members: Members, tile_index: int, table: MaskTable, tiling: Tiling, crops: Crops) -> bool:
    """True if the masks of one tile and the assembled chain have an IoU of at least SAME inside the tile's window."""
    tile = tiling[tile_index]
    rows = np.concatenate([members[t.index] for t in (tile, *tiling.neighbours(tile)) if t.index in members])
    window = tile.read.intersection(_bounds(table, rows))
    own = union(members[tile_index], window, table, crops)
    shown = _assembled(members, window, table, tiling, crops)
    return int(np.count_nonzero(own & shown)) >= SAME * int(np.count_nonzero(own | shown))


def _weakest(links: NDArray[np.void], table: MaskTable, tiling: Tiling, tile_index: int) -> int:
    """Position of the weakest link of a tile and its neighbours; of equals the first by the rows it links."""
    tile = tiling[tile_index]
    near = [tile_index, *(other.index for other in tiling.neighbours(tile))]
    around = np.flatnonzero(np.isin(table.tile[links["one"]], near) | np.isin(table.tile[links["other"]], near))
    if not around.size:
        around = np.arange(len(links))
    some = links[around]
    return int(around[np.lexsort((some["other"], some["one"], some["iou"]))[0]])


def _members(table: MaskTable, rows: NDArray[np.integer]) -> Members:
    """The rows by tile."""
    rows = np.sort(rows).astype(np.int64)
    tiles, first = np.unique(table.tile[rows], return_index=True)
    return dict(zip(tiles.tolist(), np.split(rows, first[1:]), strict=True))


def _bounds(table: MaskTable, rows: NDArray[np.integer]) -> Window:
    """The bounding box of some masks."""
    top, left = int(table.top[rows].min()), int(table.left[rows].min())
    height, width = int(table.bottom[rows].max()) - top, int(table.right[rows].max()) - left
    return Window(row=top, col=left, height=height, width=width)


def union(rows: NDArray[np.int64], window: Window, table: MaskTable, crops: Crops) -> NDArray[np.bool_]:
    """(window.height, window.width) bool: all pixels of some masks inside a window."""
    out = np.zeros(window.shape, dtype=bool)
    for row in rows.tolist():
        inside = table.box(row).intersection(window)
        if not inside.is_empty:
            out[inside.shift(-window.row, -window.col).slices()] |= table.pixels(row, inside, crops)
    return out


def _assembled(members: Members, window: Window, table: MaskTable, tiling: Tiling, crops: Crops) -> NDArray[np.bool_]:
    """(window.height, window.width) bool: a chain inside a window, every core as `_in_core` decides."""
    out = np.zeros(window.shape, dtype=bool)
    for tile in tiling.tiles_meeting(window):
        inside = tile.core.intersection(window)
        out[inside.shift(-window.row, -window.col).slices()] = _in_core(members, tile, inside, table, tiling, crops)
    return out


def _in_core(
    members: Members, tile: Tile, window: Window, table: MaskTable, tiling: Tiling, crops: Crops
) -> NDArray[np.bool_]:
    """A chain inside a window within one core: by the core's own masks; if there are none, by the nearest window's."""
    if tile.index in members:
        return union(members[tile.index], window, table, crops)
    out = np.zeros(window.shape, dtype=bool)
    nearest = np.full(window.shape, np.inf)
    for other in tiling.neighbours(tile):  # by index, so that the first of equally near ones decides
        inside = other.read.intersection(window)
        if other.index not in members or inside.is_empty:
            continue
        part = inside.shift(-window.row, -window.col).slices()
        distance = _squared_distance(inside, other.read)
        nearer = distance < nearest[part]
        out[part][nearer] = union(members[other.index], inside, table, crops)[nearer]
        nearest[part][nearer] = distance[nearer]
    return out


def _squared_distance(window: Window, read: Window) -> NDArray[np.float64]:
    """(window.height, window.width) squared distance of the pixels of `window` from the centre of `read`."""
    rows = np.arange(window.row, window.row_end) - (read.row + (read.height - 1) / 2)
    cols = np.arange(window.col, window.col_end) - (read.col + (read.width - 1) / 2)
    return np.asarray(rows[:, None] ** 2 + cols[None, :] ** 2, dtype=np.float64)


def _pieces(rows: NDArray[np.integer], table: MaskTable, tiling: Tiling, crops: Crops) -> Iterator[Mask]:
    """The masks of an object that share no pixel and together are the object, in pixels of the grid."""
    if len(rows) == 1:
        box = table.box(int(rows[0]))
        yield Mask(window=box, pixels=table.pixels(int(rows[0]), box, crops))
        return
    members, bounds = _members(table, rows), _bounds(table, rows)
    near = {tile.index for own in members.values() for tile in tiling.tiles_meeting(_bounds(table, own))}
    for index in sorted(near):
        tile = tiling[index]
        window = tile.core.intersection(bounds)
        piece = Mask.from_array(_in_core(members, tile, window, table, tiling, crops))
        if not piece.window.is_empty:
            yield piece.shift(window.row, window.col)


def _ordered(
    single: NDArray[np.int64], chains: list[NDArray[np.int64]], table: MaskTable, tiling: Tiling, crops: Crops
) -> Stitched:
    """Put the objects in the order of their ids: first pixel, larger area, runs of pixels, first mask."""
    facts = np.array([_facts(rows, table, tiling, crops) for rows in chains], dtype=np.int64).reshape(-1, 3)
    row = np.concatenate([table.top[single], facts[:, 0]], dtype=np.int32)
    col = np.concatenate([table.first_col[single], facts[:, 1]], dtype=np.int32)
    area = np.concatenate([table.area[single], facts[:, 2]], dtype=np.int64)
    lengths = np.ones(len(row), dtype=np.int32)
    lengths[len(single) :] = [len(rows) for rows in chains]
    rows = np.concatenate([single, *chains], dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    order = np.lexsort((rows[starts[:-1]], -area, col, row))
    same = np.ones(max(0, len(order) - 1), dtype=bool)
    for key in (row, col, area):
        same &= np.diff(key[order]) == 0
    del row, col
    for first, end in _stretches(same):  # rare: the pixels themselves decide
        tied = order[first:end].tolist()
        seen = {k: _runs(_pieces(rows[starts[k] : starts[k + 1]], table, tiling, crops)) for k in tied}
        order[first:end] = sorted(tied, key=lambda k: (seen[k], int(rows[starts[k]])))
    lengths = lengths[order]
    ends = np.cumsum(lengths)
    places = np.repeat(starts[order] - (ends - lengths), lengths) + np.arange(len(rows))
    return Stitched(table=table, tiling=tiling, rows=rows[places], starts=np.concatenate([[0], ends]), area=area[order])


def _stretches(same: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(first, end) of the stretches in which each element is the same as the next."""
    steps = np.diff(np.concatenate([[0], same.astype(np.int8), [0]]))
    yield from zip(np.flatnonzero(steps == 1).tolist(), (np.flatnonzero(steps == -1) + 1).tolist(), strict=True)


def _facts(rows: NDArray[np.integer], table: MaskTable, tiling: Tiling, crops: Crops) -> tuple[int, int, int]:
    """First row, first column in it, and area of a chain."""
    first, area = (tiling.height, tiling.width), 0
    for piece in _pieces(rows, table, tiling, crops):
        first = min(first, (piece.window.row, piece.window.col + int(np.argmax(piece.pixels[0]))))
        area += piece.area_px
    return *first, area


def _runs(pieces: Iterable[Mask]) -> bytes:
    """What tells an object's pixels from all others', however it is cut in pieces: its runs along rows."""
    runs = []
    for piece in pieces:
        edges = np.diff(np.pad(piece.pixels, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        row, start = np.nonzero(edges == 1)
        end = np.nonzero(edges == -1)[1]
        runs.append(np.stack([row + piece.window.row, start + piece.window.col, end + piece.window.col], axis=-1))
    every = np.concatenate(runs)
    every = every[np.lexsort((every[:, 1], every[:, 0]))]
    meets = (every[1:, 0] == every[:-1, 0]) & (every[1:, 1] == every[:-1, 2])
    begins, ends = np.concatenate([[True], ~meets]), np.concatenate([~meets, [True]])
    return np.column_stack([every[begins, :2], every[ends, 2]]).astype(">i8").tobytes()
