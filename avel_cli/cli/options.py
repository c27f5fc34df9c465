"""Options that several commands share, and the types that check them before anything slow is imported."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from avel_cli.cli.console import Console
from avel_cli.errors import UsageError

if TYPE_CHECKING:
    from avel_cli.experiments import Hooks

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Number(click.FloatRange):
    """A number within limits; "nan" is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, if it is one and within the limits."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Moment(click.ParamType[float]):
    """Seconds, or hours, minutes and seconds with colons between them."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, at least 0."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d*)?|\.\d+)", str(value))
        if not found:
            self.fail(f"{value!r} is no time; write seconds, 1:30 or 00:01:30.5", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds


class Track(click.IntRange):
    """Number of a track, from 0, or auto."""

    name = "track"

    def __init__(self) -> None:
        super().__init__(0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; None stands for auto."""
        return None if value == "auto" else super().convert(value, param, ctx)


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


def model(command: Command) -> Command:
    """Adds --model: a name, or the path of a weights file."""
    text = "Weights: a name (see avel models), a .safetensors file of your own, or auto."
    return click.option("-m", "--model", default="auto", show_default=True, is_eager=True, help=text)(command)


def device(command: Command) -> Command:
    """Adds --device."""
    text = "Where to compute: auto, cpu, cuda, cuda:N or mps."
    return click.option("--device", default="auto", show_default=True, callback=_device, help=text)(command)


def listening(command: Command) -> Command:
    """Adds --audio-track."""
    text = "Audio track to hear, counted from 0; auto takes the file's default, or the first that is not silent."
    return click.option("--audio-track", type=Track(), show_default="auto", help=text)(command)


def span(command: Command) -> Command:
    """Adds --start, --end and --duration, which say what part of a file is looked at, and --video-track."""
    text = "Video track to see, counted from 0; auto takes the first that moves."
    command = click.option("--video-track", type=Track(), show_default="auto", help=text)(command)
    command = click.option("--duration", type=Moment(), help="Length of the part, in place of --end.")(command)
    command = click.option("--end", type=Moment(), help="Where to end.  [default: the end of the file]")(command)
    text = "Where to begin: seconds, 1:30 or 00:01:30.5; times in results stay those of the file."
    return click.option("--start", type=Moment(), default=0.0, help=text)(command)


def encoding(command: Command) -> Command:
    """Adds --precision, --frames-per-second and --offline, which say how encoders work, and --weights."""
    command = click.option("--offline", is_flag=True, help="Never open a connection.")(weights(command))
    command = click.option(
        "--frames-per-second",
        type=click.IntRange(1, 60),
        help="Average over fewer frames where an encoder averages: faster, less faithful.  [default: as published]",
    )(command)
    text = "Arithmetic of the encoders; the shorter ones are for GPUs."
    choice = click.Choice(["fp32", "bf16", "fp16"])
    return click.option("--precision", type=choice, default="fp32", show_default=True, help=text)(command)


def weights(command: Command) -> Command:
    """Adds --weights: files by name, "" for one without a name; see `named`."""
    text = "Use a file at hand as the weights of a model, encoder or asset; may be given several times."
    return click.option("--weights", multiple=True, callback=_files, metavar="[NAME=]FILE", help=text)(command)


def named(files: Mapping[str, Path], names: Sequence[str]) -> dict[str, Path]:
    """The files of --weights by name; one without a name belongs to the only thing there is.

    Raises:
        UsageError: if there are several.
    """
    if "" in files and len(set(names)) > 1:
        raise UsageError(f"--weights {files['']}: say whose they are, for example --weights {names[0]}={files['']}")
    return {name or names[0]: path for name, path in files.items()}


def dataset(known: Sequence[str]) -> Callable[[Command], Command]:
    """Adds --dataset: one of these, or the folder of one's own videos."""

    def check(ctx: click.Context, param: click.Parameter, value: str) -> str:
        if value not in known and not Path(value).is_dir():
            raise click.BadParameter(f"{value!r} is neither {', '.join(known)} nor a folder with labels.csv")
        return value

    text = f"{', '.join(known)}, or a folder of your own videos with labels.csv."
    return click.option("--dataset", required=True, callback=check, metavar="NAME|DIR", help=text)


def data(command: Command) -> Command:
    """Adds --data, the folders of a data set."""
    text = "Folder of the data set; of the starter packs one for each."
    return click.option("--data", type=FOLDER, multiple=True, help=text)(command)


def hooks(console: Console) -> Hooks:
    """What tells of the work on the terminal."""
    from avel_cli.experiments import Hooks

    return Hooks(console.say, console.progress, console.download, console.fail)


def output(command: Command) -> Command:
    """Adds -o, the folder of a training run."""
    text = "Folder for weights, checkpoints and tables."
    kind = click.Path(path_type=Path)
    return click.option("-o", "--output", type=kind, default=Path("runs"), show_default=True, help=text)(command)


def _device(ctx: click.Context, param: click.Parameter, name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise click.BadParameter(f"{name!r} is not auto, cpu, cuda, cuda:N or mps")
    return name


def _files(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, Path]:
    files = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or Path(value).exists():  # a file whose name holds "="
            name, path = "", value
        if not Path(path).is_file():
            raise click.BadParameter(f"{path!r} is no file")
        files[name] = Path(path)
    return files


def _sets(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            ctx.ensure_object(Console).setLevel(level)

    return callback
