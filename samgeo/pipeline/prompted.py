"""Prompted runs: which window segments which object, what reaches beyond it, and what became of each prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samgeo.pipeline.assembly import add_object
from samgeo.pipeline.growth import GrowJob, GrownObject, Growths, needs_more
from samgeo.pipeline.journal import Journal
from samgeo.pipeline.parts import read_masks, require_part, unpack_mask
from samgeo.pipeline.placing import lattice_window
from samgeo.pipeline.prompting import ObjectPrompt
from samgeo.pipeline.store import PolygonStore
from samgeo.pipeline.tilejob import Run, TileJob
from samgeo.pixels import Window
from samgeo.prompts.placed import PlacedPrompts
from samgeo.settings import Settings
from samgeo.tiling import Tiling

NOTHING_THERE = "the model found no object here"
"""Why a prompt that could be placed has no feature."""
TOO_FAR_APART = "its clicks do not fit into one window, and none inside it shows the object; a larger --tile would do"
"""The same, where clicks were left out."""


@dataclass(frozen=True, kw_only=True)
class Fates:
    """What became of some prompted objects, by key."""

    open_ends: dict[int, int]
    """How often an object went on beyond a window and the next one did not show it."""
    reasons: dict[int, str]
    """Why an object was given up."""
    beyond: dict[int, int]
    """How many clicks lie beyond the window that segments their object, and were left out."""


Groups = dict[Window, list[int]]
"""Window to the positions of the prompted objects that it is to segment."""


def group_by_window(placed: PlacedPrompts, tiling: Tiling) -> Groups:
    """Each object under the window that is to segment it, so that a window is encoded once; windows row by row.

    Clicks that lie too far apart for one window are begun at the first; the object grows to its full size from there.
    """
    groups: Groups = {}
    for index, (row, col, height, width) in enumerate(placed.windows.tolist()):
        extent = Window(row=row, col=col, height=height, width=width)
        if max(height, width) > tiling.tile_px and placed[index].box is None:
            extent = placed.first_click(index)
        groups.setdefault(lattice_window(tiling, extent), []).append(index)
    return dict(sorted(groups.items()))


def prompt_jobs(placed: PlacedPrompts, groups: Groups, run: Run, journal: Journal) -> Iterator[TileJob]:
    """One job for every window that has prompts."""
    for window, members in groups.items():
        prompts = tuple(_prompt(placed, index) for index in members)
        yield TileJob(run=run, window=window, part=_part(journal, "seen", window), prompts=prompts)


def growth_jobs(placed: PlacedPrompts, groups: Groups, run: Run, journal: Journal) -> Iterator[GrowJob]:
    """One job for every window that does not show all of its objects whole; the windows' own jobs must be done."""
    for window, members in groups.items():
        seeds = _part(journal, "seen", window)
        masks = dict(read_masks(seeds))
        prompts = [_prompt(placed, index) for index in members]
        more = tuple(p for p in prompts if needs_more(p, masks.get(p.key), window, run.tiling))
        if more:
            part = _part(journal, "grown", window)
            yield GrowJob(run=run, window=window, prompts=more, seeds=seeds, part=part)


def add_prompted(
    store: PolygonStore,
    groups: Groups,
    growths: Sequence[GrowJob],
    journal: Journal,
    *,
    settings: Settings,
    placed: PlacedPrompts,
) -> Fates:
    """Put every object that was found into the store. Returns what else is to be told of the prompts."""
    fates = Fates(open_ends={}, reasons={}, beyond={})
    grown_in = {job.window: job for job in growths}
    beyond = clicks_beyond(placed, groups)
    for window in groups:
        job = grown_in.get(window)
        seen = require_part(_part(journal, "seen", window))
        keys = seen["key"].tolist()
        found = {
            key: GrownObject(key=key, pieces=(unpack_mask(seen, row),), windows=1, open_ends=0)
            for row, key in enumerate(keys)
        }
        called = dict(zip(keys, zip(seen["label"].tolist(), seen["label_score"].tolist(), strict=True), strict=True))
        if job is not None:
            told, asked = Growths.read(job.part), {prompt.key for prompt in job.prompts}
            found = {key: one for key, one in found.items() if key not in asked}
            found |= {one.key: one for one in told.objects}
            fates.open_ends.update({one.key: one.open_ends for one in told.objects if one.open_ends})
            fates.reasons.update(told.refused)
            fates.beyond.update({key: beyond[key] for key in told.partial & beyond.keys()})
        for key, one in found.items():
            label, label_score = called.get(key, (-1, 0.0))
            add_object(
                store,
                one.pieces,
                name=f"the object of prompt {placed.prompt_ids[key]}",
                max_vertices=settings.max_vertices,
                key=key,
                score=one.pieces[0].score,
                stability=one.pieces[0].stability,
                tiles=one.windows,
                label=label,
                label_score=label_score,
            )
    return fates


def _prompt(placed: PlacedPrompts, index: int) -> ObjectPrompt:
    given = placed[index]
    return ObjectPrompt(key=index, points=given.points, labels=given.labels, box=given.box)


def clicks_beyond(placed: PlacedPrompts, groups: Groups) -> dict[int, int]:
    """Number of clicks of each object that lie outside the window that is to segment it, where there are any."""
    windows = np.zeros((len(placed), 4))
    for window, members in groups.items():
        windows[members] = (window.col, window.row, window.col_end, window.row_end)
    owner = np.repeat(np.arange(len(placed)), np.diff(placed.offsets))  # (P,)
    edges = windows[owner] - 0.5
    outside = ((placed.points < edges[:, :2]) | (placed.points >= edges[:, 2:])).any(axis=1)
    keys, counts = np.unique(owner[outside], return_counts=True)
    return dict(zip(keys.tolist(), counts.tolist(), strict=True))


def _part(journal: Journal, kind: str, window: Window) -> Path:
    return journal.part(f"{kind}-{window.row:07d}-{window.col:07d}")


def account(placed: PlacedPrompts, found: set[int], kept: set[int], fates: Fates) -> dict[str, Any]:
    """What became of every prompt, fit for JSON: accepted, refused with a reason, or found and filtered away.

    found: keys of the objects that the model found; kept: those that are in the result. An object that was not found
    is refused under its own id, with the number of its prompts: accepted and refused prompts are those that were given.
    """
    refused = [
        {"prompt_id": refusal.prompt_id, "reason": str(refusal).removeprefix(f"{refusal.prompt_id}: "), "prompts": 1}
        for refusal in placed.refusals
    ]
    missing = [key for key in range(len(placed)) if key not in found]
    refused += [
        {"prompt_id": str(placed.prompt_ids[key]), "reason": _reason(key, fates), "prompts": int(placed.counts[key])}
        for key in missing
    ]
    return {
        **placed.report,
        "accepted": placed.report["accepted"] - int(placed.counts[missing].sum()),
        "refused": refused,
        "filtered": [str(placed.prompt_ids[key]) for key in sorted(found - kept)],
        "open_ends": {str(placed.prompt_ids[key]): count for key, count in sorted(fates.open_ends.items())},
        "clicks_left_out": {str(placed.prompt_ids[key]): count for key, count in sorted(fates.beyond.items())},
    }


def _reason(key: int, fates: Fates) -> str:
    return fates.reasons.get(key, TOO_FAR_APART if key in fates.beyond else NOTHING_THERE)
