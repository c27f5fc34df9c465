"""The formats that results are written in, as the command line names them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from avel_cli.cli.options import Command
from avel_cli.errors import UsageError
from avel_cli.writers import ONE_TIMELINE, WRITERS

ALL = "all"


def formats(command: Command) -> Command:
    """Adds -f: names of formats, several with commas between them, or all; each is handed over once."""
    text = f"Format of the results: {', '.join(WRITERS)}; several with commas between them, or all."
    return click.option(
        "-f",
        "--format",
        "formats",
        multiple=True,
        default=["csv"],
        show_default=True,
        metavar="NAME[,NAME…]",
        callback=_each_once,
        help=text,
    )(command)


def stdout_format(formats: Sequence[str], num_inputs: int) -> str:
    """The format for stdout, where JSON of several inputs takes one line each.

    Raises:
        UsageError: for several formats, or one that cannot hold several timelines.
    """
    if len(formats) > 1:
        raise UsageError(f"-o - writes one format, not {' and '.join(formats)}. Choose one, or a folder with -o DIR")
    if formats[0] in ONE_TIMELINE and num_inputs > 1:
        raise UsageError(
            f"-o - cannot put {num_inputs} inputs into one {formats[0]}. Choose csv or json, or a folder with -o DIR"
        )
    return "jsonl" if formats[0] == "json" and num_inputs > 1 else formats[0]


def _each_once(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[str]:
    names = [name.strip() for value in values for name in value.split(",")]
    unknown = [name for name in names if name not in WRITERS and name != ALL]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is no format; there are {', '.join(WRITERS)}, and {ALL}")
    return list(WRITERS) if ALL in names else list(dict.fromkeys(names))
