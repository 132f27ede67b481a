"""`learn`: outlines over a raster in, weights that know them out, and how good they are where nothing was shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from samgeo.commit import probe_writable
from samgeo.errors import ModelError, UsageError
from samgeo.model.contract import PromptableModel
from samgeo.model.predict import Model
from samgeo.model.spec import DEFAULT_MODEL
from samgeo.model.weights import at_all_sizes, have_weights, load_network, spec_of
from samgeo.train.curves import draw_curves
from samgeo.train.finetune import FineTuning, fine_tune, save_weights
from samgeo.train.labelled import LabelledImage
from samgeo.train.metrics import Figures, Protocol, Trial, evaluate, figures
from samgeo.train.outlines import hold_out, read_drawn

HELD_OUT = 0.2
"""The share of the windows that is not trained on but judged by."""
JUDGED = 150
"""At most so many objects are judged by."""

Report = Callable[[str, int, int], object]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What came of it."""

    weights: Path
    """The file of weights."""
    folder: Path
    """Curves, metrics and checkpoint."""
    windows: int
    """Windows that were trained on."""
    outlines: int
    """Outlines that were used, of both kinds of windows."""
    refused: list[str]
    """Why others were not, a line each."""
    judged: int
    """Windows that were not trained on; 0 where there was one window only."""
    before: Figures | None
    """On the windows that were not trained on, before and ..."""
    after: Figures | None
    """... after; None where there are none."""

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), indent=2, default=str)


def learn(  # noqa: PLR0913 - what is read, how it is read, what learns, and what is judged by
    raster: Any,
    labels: Any,
    out: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    settings: FineTuning | None = None,
    bands: Sequence[int] | None = None,
    resolution_m: float | None = None,
    raster_crs: str | None = None,
    labels_crs: object = None,
    tile_px: int | None = None,
    held_out: float = HELD_OUT,
    overwrite: bool = False,
    report: Report | None = None,
) -> Learned:
    """Fine-tune a model on outlines over a raster, and write its weights to `out`, a .safetensors file.

    raster, bands, resolution_m, raster_crs, tile_px: as `segment` takes them. labels: polygons in any CRS, a label
    raster, or JSON of COCO or SA-1B; with that, raster is the folder of the pictures, or None if they are beside it.
    labels_crs: CRS of labels that have none, as `Prompts(crs=)` takes it.
    Objects that nobody drew do no harm: the model is asked for drawn ones only.
    held_out: share of the windows that is judged by. `out` with the ending .training is a folder with curves, metrics
    and the checkpoint from which the same call goes on when it was cut off. report: called with phase, done, total.
    Weights that are not here are fetched when the labels are known to be good.

    Raises ModelError for a model that does not learn (FastSAM), PromptError and UsageError for labels, RasterError,
    OutputError, OutputExistsError.
    """
    path = _output(out, (raster, labels, model), overwrite=overwrite)
    tell = report or (lambda _phase, _done, _total: None)
    placed = read_drawn(
        labels,
        raster,
        bands=bands,
        resolution_m=resolution_m,
        crs=raster_crs,
        labels_crs=labels_crs,
        tile_px=tile_px or spec_of(model).tile_px,
    )
    network = _learner(model, device, tell)
    shown, judged = hold_out(placed.windows, held_out)
    folder = path.with_suffix(".training")
    before = _judge(network, judged, tell, "judging")
    settings = settings or FineTuning()
    fine_tune(network, shown, settings, folder, report=tell)
    after = _judge(network, judged, tell, "judging again")
    draw_curves(folder / "metrics.jsonl", folder / "curves.png")
    save_weights(network, path, tune=settings.tune, overwrite=overwrite)
    return Learned(
        weights=path,
        folder=folder,
        windows=len(shown),
        outlines=placed.outlines,
        refused=placed.refused,
        judged=len(judged),
        before=before,
        after=after,
    )


def _output(out: str | Path, sources: Sequence[Any], *, overwrite: bool) -> Path:
    """Where the weights go. sources: what is read. Raises UsageError, OutputError, OutputExistsError."""
    path = Path(out)
    if path.suffix != ".safetensors":
        raise UsageError(f"-o {path}: expected a name that ends in .safetensors, which is what weights are written as")
    inputs = [str(source) for source in sources if isinstance(source, (str, Path))]
    probe_writable(path, inputs=inputs, overwrite=overwrite)
    return path


def _learner(model: str | Path, device: str, tell: Report) -> Model:
    """The network, its weights fetched if they are not here. Raises ModelError for one that does not learn."""
    have_weights(model, partial(tell, "fetching"))
    network = load_network(model, device=device, precision="exact")
    if not isinstance(network, Model):
        raise ModelError(f"{network.name}: finds all instances at once and learns from no prompts; use another model")
    return network


def _judge(network: Model, windows: Sequence[LabelledImage], tell: Report, phase: str) -> Figures | None:
    """As what loads the weights asks them."""
    if not windows:
        return None
    model = cast(PromptableModel, at_all_sizes(network))
    share = max(1, JUDGED // len(windows))
    protocol = Protocol(window_px=model.tile_px)
    trials: list[Trial] = []
    for number, window in enumerate(windows, start=1):
        trials += evaluate(model, [_some(window, share)], protocol)
        tell(phase, number, len(windows))
    return figures(trials)


def _some(window: LabelledImage, count: int) -> LabelledImage:
    """The window with at most `count` of its objects, evenly among them."""
    return replace(window, objects=window.objects[:: -(-len(window.objects) // count)])
