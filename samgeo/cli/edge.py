"""The edge of the process: errors become messages and exit codes, signals end a run in order, warnings become lines.

0 ok   2 usage   3 input raster   4 prompts   5 model   6 output   7 resource limit   8 unsafe input
10 partly done   129 hangup   130 Ctrl-C   143 SIGTERM   1 anything else, which is a fault of samgeo
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from samgeo.cli.signals import WORDS, Stopped, stopped_by_signals
from samgeo.errors import NoUsablePromptError, ResourceLimitError, SamgeoError, SamgeoWarning

DEBUG, ARGUMENTS, JOURNAL = "samgeo.debug", "samgeo.arguments", "samgeo.pipeline.journal"
"""Keys of `click.Context.meta`: was --debug given; the arguments as typed; where a stopped run goes on from."""


def tell(text: str) -> None:
    """Write a line to stderr; that nobody reads it any more, or the terminal is gone, does not end the run."""
    try:
        click.echo(text, err=True)
    except OSError:
        # What is left in the buffer must go somewhere, or the next line and the end of the process fail as well.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


class EdgeGroup(click.Group):
    """A group whose commands end with the exit code of their error and, without --debug, with no traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments as they were typed: they are the command that goes on with a stopped run."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with stopped_by_signals(), _warnings_as_lines():
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except Stopped as stopped:
                _stop(ctx, stopped.word, stopped.exit_code)
            except KeyboardInterrupt:  # raised by code, or where signals are not ours to hear
                _stop(ctx, WORDS[signal.SIGINT], 128 + signal.SIGINT)
            except BrokenPipeError:
                raise  # click ends the process quietly, with exit code 1: what was asked for was not done
            except NoUsablePromptError as error:
                option = "--labels-crs" if ctx.invoked_subcommand == "train" else "--prompt-crs"
                _fail(ctx, error, f"{error}; {option} states that of what has none", error.exit_code)
            except SamgeoError as error:
                _fail(ctx, error, str(error), error.exit_code)
            except MemoryError as error:
                _fail(
                    ctx, error, "out of memory. Fix: a smaller --tile, or fewer --workers", ResourceLimitError.exit_code
                )
            except Exception as error:  # noqa: BLE001 - the edge of the process
                kind = type(error).__name__
                hint = f"Run it again as `{ctx.command_path} --debug ...` and report what it prints."
                _fail(ctx, error, f"this is a fault of samgeo: {kind}: {error}\n{hint}", 1)


def _fail(ctx: click.Context, error: BaseException, message: str, exit_code: int) -> NoReturn:
    if ctx.meta.get(DEBUG):
        raise error
    click.echo(f"{click.style('Error:', fg='red')} {message}", err=True)
    ctx.exit(exit_code)


def _stop(ctx: click.Context, word: str, exit_code: int) -> NoReturn:
    journal: Path | None = ctx.meta.get(JOURNAL)
    tell(f"\n{word}")
    if journal is not None and journal.exists():
        command = shlex.join([a for a in ctx.meta[ARGUMENTS] if a not in ("--no-resume", "--dry-run")])
        tell(f"What is done is kept in {journal}. To go on from there:\n  {ctx.command_path} {command}")
    ctx.exit(exit_code)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings of samgeo are one line each on stderr; those of libraries are for developers."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,  # noqa: ARG001 - the signature is Python's
        lineno: int,  # noqa: ARG001
        file: TextIO | None = None,  # noqa: ARG001
        line: str | None = None,  # noqa: ARG001
    ) -> None:
        if issubclass(category, SamgeoWarning):
            tell(f"{click.style('Warning:', fg='yellow')} {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("default", SamgeoWarning)
        warnings.showwarning = show
        yield
