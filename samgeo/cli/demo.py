"""`samgeo demo`: see it work, with nothing to download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from samgeo.cli.options import HeadedCommand, debug_option, headed, progress_option
from samgeo.cli.progress import reporter


@click.command(cls=HeadedCommand)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="demo")
@headed(
    "Scene",
    "--size",
    "size_px",
    type=click.IntRange(min=256),
    default=4096,
    show_default=True,
    metavar="PX",
    help="Side of the scene.",
)
@headed("Scene", "--seed", type=int, default=10, show_default=True, help="Which scene.")
@progress_option
@debug_option
def demo(folder: Path, size_px: int, seed: int, progress: str) -> None:
    """Make a scene, segment everything in it, and draw the result.

    Writes demo.tif, demo.gpkg and demo.png into FOLDER (default: demo), replacing what an earlier demo left there.
    """
    from samgeo.demo import run_demo

    click.echo(f"Making a scene of {size_px:,} x {size_px:,} px ...", err=True)
    with reporter(progress) as report:
        found = run_demo(folder, size_px=size_px, seed=seed, progress=report)
    command, (x, y) = own_name(), found.somewhere
    click.echo(
        f"\n{found.features:,} objects found in {found.seconds:.0f} s.\n\n"
        f"  the image     {found.raster}\n"
        f"  the objects   {found.vector}\n"
        f"  both drawn    {found.picture}\n\n"
        "Look at the picture, or open the first two in QGIS. One click on the same image:\n\n"
        f"  {command} segment {found.raster} {folder / 'one.gpkg'} --point {x},{y}\n\n"
        "Then a file of your own, everything in it or one object for each of your boxes:\n\n"
        f"  {command} segment your.tif everything.gpkg\n"
        f"  {command} segment your.tif some.gpkg --boxes boxes.geojson\n\n"
        f"{command} segment --help says what else there is."
    )


def own_name() -> str:
    """How this shell can call the command: by its name, or by its path if the environment is not activated."""
    found, here = shutil.which("samgeo"), Path(sys.executable).with_name("samgeo")
    if found is not None and Path(found).resolve() == here.resolve():
        return "samgeo"
    if not here.exists():
        return f"{sys.executable} -m samgeo"
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)
