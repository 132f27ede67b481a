"""Options that commands share, the types of their values, and help that groups them under headings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from samgeo.cli.edge import DEBUG

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

OTHER = "Other"
"""The heading of options that belong under no other."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""How the help of every command is written."""


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """Numbers with commas between them."""

    def __init__(self, names: str, *, kind: type[int | float] = float, count: int | None = None) -> None:
        """names: how help calls them, for example "X,Y". count: how many there must be; None: any number."""
        self.name = names
        self._kind = kind
        self._count = count

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A tuple of numbers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self._kind(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if not numbers or (self._count is not None and len(numbers) != self._count):
            self.fail(f"{value!r}: expected {self.name}, numbers with commas and no spaces between them", param, ctx)
        return numbers


class HeadedOption(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, heading: str = OTHER, **attributes: Any) -> None:
        """heading: what to stand under; the rest is `click.Option`'s."""
        super().__init__(*args, **attributes)
        self.heading = heading


class HeadedCommand(click.Command):
    """A command whose help lists its options under headings, in the order of their first option."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one definition list a heading."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                headings.setdefault(getattr(parameter, "heading", OTHER), []).append(record)
        headings[OTHER] = headings.pop(OTHER, [])  # what all commands have comes last
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=34)


def headed(heading: str, *names: str, **attributes: Any) -> Decorator[Any]:
    """`click.option` under a heading."""
    return click.option(*names, cls=HeadedOption, heading=heading, **attributes)


def together(*decorators: Decorator[Any]) -> Decorator[Any]:
    """Several options as one decorator; help lists them in this order."""

    def decorate(function: Command) -> Command:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[DEBUG] = True


debug_option = headed(
    OTHER,
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_debug,
    help="Show a traceback when something fails.",
)

model_and_device = together(
    headed(
        "Model",
        "--model",
        metavar="NAME|PATH",
        default="samgeo-nano",
        show_default=True,
        help="A known model (`samgeo models`) or a file of weights.",
    ),
    headed(
        "Model",
        "--device",
        metavar="auto|cpu|cuda|mps",
        default="auto",
        show_default=True,
        help="Where the model runs.",
    ),
)

model_options = together(
    model_and_device,
    headed(
        "Model",
        "--precision",
        type=click.Choice(["auto", "exact"]),
        default="auto",
        show_default=True,
        help="exact: 32 bit throughout; auto: what is fast there.",
    ),
)

raster_options = together(
    headed(
        "Reading",
        "--bands",
        type=Numbers("R,G,B", kind=int),
        help="Bands to see as red, green and blue, counted from 1, such as 4,3,2; one band is seen as grey.  "
        "[default: by what the raster says they are]",
    ),
    headed(
        "Reading",
        "--raster-crs",
        metavar="CRS",
        help="CRS of the raster, such as EPSG:32633, in the place of what its file says.",
    ),
    headed(
        "Reading",
        "--resolution",
        "resolution_m",
        type=float,
        metavar="M",
        help="Ground metres of a pixel that the model sees.  [default: the raster's]",
    ),
    headed(
        "Reading",
        "--tile",
        "tile_px",
        type=int,
        metavar="PX",
        help="Side of the window that is read at once.  [default: what the model was made for]",
    ),
)

reading_options = together(
    raster_options,
    headed(
        "Reading",
        "--overlap",
        "overlap_px",
        type=int,
        metavar="PX",
        help="What neighbouring windows share, up to half a tile.  [default: an eighth of a tile]",
    ),
)

progress_option = headed(
    "Running",
    "--progress",
    type=click.Choice(["auto", "bar", "json", "none"]),
    default="auto",
    show_default=True,
    help="auto: a bar on a terminal; json: one object a line on stderr, for programs.",
)

workers_option = headed(
    "Running",
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes; one already uses all cores.",
)
