"""The command `samgeo`, also `rio samgeo`: arguments in, one call of the library, messages and an exit code out.

Each command is a file. Libraries that take long to load are imported inside the commands, so that `--help` is at once.
"""

from __future__ import annotations

import click

import samgeo as package
from samgeo.cli.demo import demo
from samgeo.cli.doctor import doctor
from samgeo.cli.edge import EdgeGroup
from samgeo.cli.encode import encode
from samgeo.cli.evaluate import evaluate
from samgeo.cli.models import models
from samgeo.cli.options import CONTEXT, debug_option
from samgeo.cli.segment import segment
from samgeo.cli.train import train

EPILOG = """\b
Examples:
  samgeo demo                                         see it work
  samgeo segment ortho.tif all.gpkg                   everything
  samgeo segment ortho.tif roofs.gpkg --boxes b.shp   one feature a box

\b
Exit codes: 0 ok, 2 usage, 3 input raster, 4 prompts, 5 model, 6 output, 7 resource limit,
8 unsafe input, 10 partly done, 129 hangup, 130 Ctrl-C, 143 SIGTERM."""


class OrderedGroup(EdgeGroup):
    """Lists its commands in the order in which people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Names in the order in which they were added."""
        return list(self.commands)


@click.group(cls=OrderedGroup, epilog=EPILOG, context_settings=CONTEXT)
@click.version_option(package.__version__, prog_name="samgeo")
@debug_option
def samgeo() -> None:
    """Turn imagery into map features.

    Runs Segment Anything models over GeoTIFFs of any size: prompts in map coordinates go in, georeferenced features
    with attributes come out.
    """


for command in (segment, encode, train, models, evaluate, demo, doctor):
    samgeo.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    samgeo(prog_name="samgeo")
