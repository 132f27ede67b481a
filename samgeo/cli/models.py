"""`samgeo models`: what there is, what is here, licence, size, digest; fetch one; see what a file is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samgeo.cli.options import debug_option, progress_option
from samgeo.cli.progress import bytes_of, reporter

if TYPE_CHECKING:
    from samgeo.model.published import Published


@click.group(invoke_without_command=True)
@debug_option
@click.pass_context
def models(ctx: click.Context) -> None:
    """Show the known models, fetch their weights, see what a weights file is."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="All that is known, for programs.")
@debug_option
def list_models(as_json: bool = False) -> None:
    """List the known models, and which of them are here."""
    from samgeo.model.published import PUBLISHED

    if as_json:
        click.echo(json.dumps([facts(published) for published in PUBLISHED.values()], indent=1))
        return
    rows = [("NAME", "HERE", "PARAMETERS", "INPUT", "DOWNLOAD", "LICENCE", "GOOD FOR")]
    for published in PUBLISHED.values():
        known = facts(published)
        rows.append(
            (
                published.name,
                "yes" if known["here"] else "" if known["runs"] else "(1)",
                f"{published.parameters / 1e6:.1f} M",
                f"{published.input_px} px",
                published.size_text or "-",
                published.licence,
                published.good_for,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if any(row[1] == "(1)" for row in rows):
        click.echo("(1) its weights are known, but this version of samgeo has no network for them")


@models.command()
@click.argument("name")
@debug_option
def info(name: str) -> None:
    """Show everything about the model NAME, and check its weights if they are here."""
    from samgeo.model.digests import difference, digest_of
    from samgeo.model.published import find_published
    from samgeo.model.store import path_of

    published = find_published(name)
    path, known = path_of(published), facts(published)
    lines = {
        "good for": published.good_for,
        "parameters": f"{published.parameters:,}",
        "input": f"{published.input_px} px",
        "licence": published.licence + (f": {published.licence_note}" if published.licence_note else ""),
        "runs here": "yes" if known["runs"] else "no, this version of samgeo has no network for these weights",
        "published at": published.url or "part of this package",
        "size": published.size_text or f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else published.size_text,
        "digest": str(published.digest or "none published; only its tensors are checked" if published.url else "-"),
        "weights": str(path) if known["here"] else f"not here. Fix: samgeo models pull {name}",
    }
    if known["here"]:
        altered = difference(path, published)
        lines["state"] = f"NOT as published: {altered}" if altered else f"whole, sha256 {digest_of(path)}"
    click.echo(published.name)
    for line, value in lines.items():
        click.echo(f"  {line:<13} {value}")


@models.command()
@click.argument("name")
@progress_option
@debug_option
def pull(name: str, progress: str) -> None:
    """Fetch the weights of the model NAME and verify them; those in the package need no fetching.

    A download that was stopped goes on where it stopped. SAMGEO_CACHE moves the folder that weights are kept in;
    SAMGEO_OFFLINE=1 forbids fetching.
    """
    from samgeo.model.fetch import fetched
    from samgeo.model.published import find_published

    published = find_published(name)
    with reporter(progress) as report:
        path = fetched(published, bytes_of(report))
    if published.licence_note:
        click.echo(f"Licence {published.licence}: {published.licence_note}.", err=True)
    click.echo(path)


@models.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "claimed", metavar="NAME", default="", help="The model that it should be.")
@debug_option
def check(file: Path, claimed: str) -> None:
    """See whether the weights FILE is what it claims to be, without running anything in it.

    What it claims is the published file of its name, or the model of --as. Ends with code 5 if it is not that, or is
    damaged, and with 8 if it would run something.
    """
    from samgeo.model.published import find_published
    from samgeo.model.verdict import verdict

    click.echo(f"{file}: {verdict(file, find_published(claimed).name if claimed else '')}")


@models.command()
@click.argument("name")
@click.option(
    "--onnx", "folder", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="Where the files go."
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@debug_option
def export(name: str, folder: Path, overwrite: bool) -> None:
    """Write the model NAME, or a file of weights, as two ONNX files: one sees an image, one answers prompts.

    Both are run beside the network before they appear. Needs the extra `onnx`. What goes in and comes out is in
    docs/onnx.md.
    """
    from samgeo.model.export import export_onnx
    from samgeo.model.weights import load_network

    written = export_onnx(load_network(name, device="cpu", precision="exact"), folder, overwrite=overwrite)
    for path in filter(None, (written.encoder, written.decoder)):
        click.echo(path)
    told = ", ".join(f"{output} {difference:.1e}" for output, difference in written.differences.items())
    click.echo(f"Run beside the network; largest differences, as shares of its largest values: {told}", err=True)


def facts(published: Published) -> dict[str, Any]:
    """What is known of a model; fit for JSON."""
    from samgeo.model.spec import MODELS
    from samgeo.model.store import path_of

    path = path_of(published)
    return {
        "name": published.name,
        "here": path.is_file(),
        "path": str(path),
        "runs": published.name in MODELS,
        "parameters": published.parameters,
        "input_px": published.input_px,
        "url": published.url or None,
        "size_bytes": published.size_bytes or None,
        "digest": str(published.digest) if published.digest else None,
        "licence": published.licence,
        "licence_note": published.licence_note or None,
        "good_for": published.good_for,
    }
