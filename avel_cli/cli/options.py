"""Options that several commands share, and the types that check them before anything slow is imported."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from avel_cli.cli.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number within limits; "nan" is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, if it is one and within the limits."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


def verbosity(command: Command) -> Command:
    """Adds --quiet, --verbose and --debug, which set the level of the `Console`."""
    levels = [
        (["--debug"], logging.DEBUG, "Say everything; show where an error came from."),
        (["-v", "--verbose"], logging.INFO, "Say more about what is done."),
        (["-q", "--quiet"], logging.ERROR, "Say nothing but errors."),
    ]
    for names, level, text in levels:
        command = click.option(*names, is_flag=True, expose_value=False, callback=_sets(level), help=text)(command)
    return command


def device(command: Command) -> Command:
    """Adds --device."""
    text = "Where to compute: auto, cpu, cuda, cuda:N or mps."
    return click.option("--device", default="auto", show_default=True, callback=_device, help=text)(command)


def packs(command: Command) -> Command:
    """Adds --data, the folders of the starter packs."""
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    text = "Folder of a starter pack; give it for each pack."
    return click.option("--data", type=folder, multiple=True, required=True, help=text)(command)


def _device(ctx: click.Context, param: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise click.BadParameter(f"{name!r} is not auto, cpu, cuda, cuda:N or mps")
    return name


def _sets(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            ctx.ensure_object(Console).setLevel(level)

    return callback
