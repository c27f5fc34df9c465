"""The `avel` command: its subcommands, and the one place where errors become text and exit codes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from avel_cli import __version__
from avel_cli.cli.console import Console
from avel_cli.errors import AvelError, SetupError, UsageError

COMMANDS = {
    "detect": "avel_cli.cli.detect:detect",
    "convert": "avel_cli.cli.convert:convert",
    "report": "avel_cli.cli.report:report",
    "clips": "avel_cli.cli.clips:clips",
    "render": "avel_cli.cli.render:render",
    "status": "avel_cli.cli.status:status",
    "summary": "avel_cli.cli.summary:summary",
    "extract": "avel_cli.cli.extract:extract",
    "query": "avel_cli.cli.query:query",
    "index": "avel_cli.cli.index:index",
    "find": "avel_cli.cli.find:find",
    "train": "avel_cli.cli.train:train",
    "eval": "avel_cli.cli.eval:evaluate",
    "recipes": "avel_cli.cli.recipes:recipes",
    "data": "avel_cli.cli.data:data",
    "models": "avel_cli.cli.models:models",
    "download": "avel_cli.cli.download:download",
    "doctor": "avel_cli.cli.doctor:doctor",
}

INTERRUPTED = 130  # what shells report for SIGINT
READER_GONE = 141  # and for SIGPIPE


class Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name.

        Raises:
            UsageError: if there is none, with what was probably meant.
        """
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise UsageError(_probably_meant(args))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that goes away (`avel … | head`) ends it quietly."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _close_stdout()
            ctx.exit(READER_GONE)
        return result


@click.group(
    "avel", cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, message="avel %(version)s")
@click.pass_context
def avel(ctx: click.Context) -> None:
    """Find events that are both seen and heard in local video files.

    \b
    avel detect clip.mp4                when was what, as a table and clip.avel.csv
    avel detect films/ -f srt -o out    subtitles for every video of a folder
    avel models                         what can be detected, and how well
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(args: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code; without `args`, those of the process are taken.

    0: all done. 1: a bug of ours. 2: wrong usage. 3: some inputs failed. 4: FFmpeg, weights, data or room on the disk
    are missing. 130: interrupted. 141: the reader of stdout went away.
    """
    _stand_in_for_closed_streams()
    console = Console()
    with console.attached(), _ending_like_interrupts():
        try:
            result = avel.main(args, prog_name="avel", standalone_mode=False, obj=console)
        except AvelError as error:
            console.fail(error)
            return error.exit_code
        except click.ClickException as error:
            console.fail(error, error.format_message() + _about_dashes(sys.argv[1:] if args is None else args))
            return UsageError.exit_code
        except (click.Abort, KeyboardInterrupt):
            console.fail(KeyboardInterrupt(), "interrupted; results written so far are complete")
            return INTERRUPTED
        except OSError as error:  # a full disk or the like; input and output files have errors of their own
            _close_stdout()
            console.fail(error, f"the system refused: {error}. --debug shows where")
            return SetupError.exit_code
        except Exception as error:
            console.fail(error, f"a bug in avel, please report it with the output of --debug: {error!r}")
            return AvelError.exit_code
    return result if isinstance(result, int) else 0


@contextmanager
def _ending_like_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program like Ctrl-C. While it tidies up, a second is passed over; a third ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = 0

    def interrupt(*_: object) -> None:
        nonlocal heard
        heard += 1
        if heard == 1:
            raise KeyboardInterrupt
        if heard > 2:
            os._exit(INTERRUPTED)

    wanted = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in wanted}
    heeded = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]  # nohup ignores
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def _stand_in_for_closed_streams() -> None:
    """`avel … >&-` leaves no stream at all, and its number to the next file that is opened."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _close_stdout() -> None:
    """For the flush at exit, when nobody reads or nothing more fits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _about_dashes(args: Sequence[str]) -> str:
    """What to add where a file was taken for options, as it happens to names of YouTube's like -Rjmgv0O_p0.mp4."""
    files = [arg for arg in args if arg.startswith("-") and Path(arg).exists()]
    return f" For the file of that name: -- {shlex.join(files)} at the end" if files and "--" not in args else ""


def _probably_meant(args: Sequence[str]) -> str:
    """What to say when the first argument is no command: usually it is a file."""
    if Path(args[0]).exists() or Path(args[0]).suffix:
        return f"{args[0]} is no command. To find its events: {shlex.join(['avel', 'detect', *args])}"
    close = get_close_matches(args[0], COMMANDS, n=1)
    return f'no command "{args[0]}". ' + (f"Did you mean {close[0]}?" if close else "See: avel --help")
