"""The only place that writes to a terminal: results to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import click

from avel_cli.text import printable

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from avel_cli.metrics.report import Report

Listener = Callable[[float, float], None]  # (seconds of media, or bytes, done; and in all)


class Console(logging.Handler):
    """What the user sees; `level` decides how much, and the library's log goes the same way."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Show what the library logs, for as long as the context lasts."""
        logger = logging.getLogger("avel")
        before = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)  # this handler's own level decides
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(before)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one log record as a line."""
        _to_stderr(f"{record.levelname.lower()}: {printable(record.getMessage())}")

    def say(self, text: str) -> None:
        """A line of information on stderr, unless `--quiet`."""
        if self.level < logging.ERROR:
            _to_stderr(printable(text))

    def fail(self, error: BaseException, text: str | None = None) -> None:
        """An error as one line on stderr, always; with `--debug` also where it came from."""
        if self.level <= logging.DEBUG:
            _to_stderr("\n".join(map(printable, "".join(traceback.format_exception(error)).splitlines())))
        _to_stderr(f"error: {printable(text or str(error))}")

    def result_stream(self) -> TextIO:
        """Stdout as a stream for results: UTF-8, line by line, whatever the system's habits."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # unless somebody put something else in its place
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="", line_buffering=True)
        return sys.stdout

    @property
    def shows_tables(self) -> bool:
        """Whether somebody looks at stdout, and did not ask for quiet."""
        return sys.stdout.isatty() and self.level < logging.ERROR

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
        """A table on stdout: drawn on a terminal, columns parted by tabs elsewhere."""
        if not sys.stdout.isatty():
            for cells in (columns, *rows):
                click.echo("\t".join(printable(cell) for cell in cells))
            return
        from rich.console import Console as Terminal
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns)
        for cells in rows:
            table.add_row(*(Text(printable(cell)) for cell in cells))  # Text: brackets in a name are no markup
        if title:
            click.echo(printable(title))  # rich would wrap it to the width of the table
        Terminal().print(table)

    def report(self, report: Report, *, as_json: bool = False) -> None:
        """Figures on stdout, as a table or as JSON, and what is to be said beside them."""
        if as_json:
            self.result_stream().write(json.dumps(report.values, indent=2, ensure_ascii=False) + "\n")
            return
        self.table(report.columns, report.rows, title=report.title)
        for note in report.notes:
            self.say(note)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values on stdout, one a line."""
        width = max(map(len, facts))
        for name, value in facts.items():
            click.echo(f"{name:{width}}  {printable(value)}")

    @contextmanager
    def download(self, name: str) -> Iterator[Listener | None]:
        """A bar in bytes on stderr, which goes away at the end; None unless a terminal shows it."""
        if not self._shows_bars:
            yield None
            return
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

        columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        with _bar(columns, name, None) as listener:
            yield listener

    @contextmanager
    def progress(self, description: str) -> Iterator[Listener | None]:
        """A bar in seconds of media on stderr, which goes away at the end; None unless a terminal shows it."""
        if not self._shows_bars:
            yield None
            return
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        seconds = TextColumn("{task.completed:.0f} s of {task.total:.0f} s")
        columns = TextColumn("{task.description}", markup=False), BarColumn(), seconds, TimeRemainingColumn()
        with _bar(columns, description, 0) as listener:
            yield listener

    @property
    def _shows_bars(self) -> bool:
        return sys.stderr.isatty() and self.level < logging.ERROR


@contextmanager
def _bar(columns: Sequence[ProgressColumn], description: str, total: float | None) -> Iterator[Listener]:
    """A bar whose length is `total` until the listener is told better; None is a bar without end."""
    from rich.console import Console as Terminal
    from rich.progress import Progress

    # stdout may be a pipe that gets results: it must not be redirected to the bar's terminal
    with Progress(*columns, console=Terminal(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(printable(description), total=total)
        yield lambda done, whole: bar.update(task, completed=done, total=whole or total)


def _to_stderr(text: str) -> None:
    """A line; a terminal that is gone or a full disk behind it must not stop the work."""
    with suppress(OSError):
        click.echo(text, err=True)
