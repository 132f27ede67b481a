"""`samgeo models`: what there is, what is here, licence, size, hash."""

from __future__ import annotations

import hashlib

import click

from samgeo.cli.options import debug_option


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
    from samgeo.model.published import PUBLISHED
    from samgeo.model.spec import MODELS
    from samgeo.model.store import path_of

    width = max(len(name) for name in PUBLISHED)
    for published in PUBLISHED.values():
        here = "here" if path_of(published).is_file() else "    "
        runs = "" if published.name in MODELS else "  (not in this version)"
        click.echo(f"{published.name:<{width}}  {here}  {published.licence:<12} {published.good_for}{runs}")


@models.command()
@click.argument("name")
@debug_option
def info(name: str) -> None:
    """Show everything about the model NAME, and check its weights."""
    from samgeo.model.published import find_published
    from samgeo.model.store import path_of

    published = find_published(name)
    path = path_of(published)
    facts = {
        "good for": published.good_for,
        "licence": published.licence,
        "weights": str(path) if path.is_file() else f"not here; samgeo models pull {name}",
    }
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts |= {"size": f"{path.stat().st_size / 1e6:.1f} MB", "sha256": digest}
    click.echo(published.name)
    for fact, value in facts.items():
        click.echo(f"  {fact:<13} {value}")


@models.command()
@click.argument("name")
@debug_option
def pull(name: str) -> None:
    """Make sure that the weights of the model NAME are here; those in the package need no fetching."""
    from samgeo.errors import WeightsError
    from samgeo.model.published import find_published
    from samgeo.model.store import path_of

    path = path_of(find_published(name))
    if not path.is_file():
        raise WeightsError(f"{path}: the weights of {name} are missing. Fix: install samgeo again")
    click.echo(f"{name} is part of the package, nothing to fetch: {path}")
