"""`samgeo models`: what there is, what is here, licence, size, hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samgeo.cli.options import debug_option

if TYPE_CHECKING:
    from samgeo.model.spec import ModelSpec


@click.group(invoke_without_command=True)
@debug_option
@click.pass_context
def models(ctx: click.Context) -> None:
    """Show the known models and where their weights are."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command("list")
@debug_option
def list_models() -> None:
    """List the known models."""
    from samgeo.model.spec import MODELS

    width = max(len(name) for name in MODELS)
    for spec in MODELS.values():
        here = "here" if weights_of(spec).is_file() else "    "
        click.echo(f"{spec.name:<{width}}  {here}  {spec.licence:<12} {spec.good_for}")


@models.command()
@click.argument("name")
@debug_option
def info(name: str) -> None:
    """Show everything about the model NAME, and check its weights."""
    from samgeo.model.spec import find_spec

    spec = find_spec(name)
    path = weights_of(spec)
    facts = {
        "good for": spec.good_for,
        "licence": spec.licence,
        "architecture": spec.architecture,
        "tile": f"{spec.tile_px} px",
        "weights": str(path) if path.is_file() else f"not here; samgeo models pull {name}",
    }
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts |= {"size": f"{path.stat().st_size / 1e6:.1f} MB", "sha256": digest}
    click.echo(spec.name)
    for fact, value in facts.items():
        click.echo(f"  {fact:<13} {value}")


@models.command()
@click.argument("name")
@debug_option
def pull(name: str) -> None:
    """Make sure that the weights of the model NAME are here; those in the package need no fetching."""
    from samgeo.errors import WeightsError
    from samgeo.model.spec import find_spec

    path = weights_of(find_spec(name))
    if not path.is_file():
        raise WeightsError(
            f"{path}: the weights of {name} belong to the package and are missing. Fix: install it again"
        )
    click.echo(f"{name} is part of the package, nothing to fetch: {path}")


def weights_of(spec: ModelSpec) -> Path:
    """Where the weights of a model lie."""
    from importlib.resources import files

    return Path(str(files("samgeo.model") / spec.file))
