"""`samgeo doctor`: what is installed here, and whether it works together."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from samgeo.cli.options import OTHER, HeadedCommand, debug_option, headed

MARKS = {"ok": "ok  ", "note": "    ", "problem": "!!  "}


@click.command(cls=HeadedCommand, short_help="Show versions, devices and caches, and what is wrong.")
@headed(OTHER, "--json", "as_json", is_flag=True, help="Print JSON, to attach to a report.")
@debug_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Show versions, devices, the copies of GDAL and PROJ, caches, and anything that is wrong.

    Exit code 1 if there is a problem.
    """
    from samgeo.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{MARKS[finding.state]}{finding.subject:<22} {finding.text}")
    problems = sum(finding.state == "problem" for finding in findings)
    if not as_json:
        click.echo(f"\n{problems or 'No'} problem{'' if problems == 1 else 's'} found.")
    ctx.exit(1 if problems else 0)
