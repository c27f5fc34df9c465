"""Output formats: each is one function that writes timelines to a text stream, in the order they arrive.

A new format is such a function in its family's module and one line in `WRITERS`, and one in `ONE_TIMELINE` if it cannot
hold several timelines. Where files are put and what
they are called is decided in `files.py`. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from avel_cli.errors import UsageError
from avel_cli.timeline.events import Timeline
from avel_cli.writers.data import write_json, write_jsonl
from avel_cli.writers.files import atomic_write
from avel_cli.writers.subtitles import write_srt
from avel_cli.writers.tables import write_csv

Writer = Callable[[Iterable[Timeline], TextIO], None]

ONE_TIMELINE = frozenset({"srt"})  # formats of which a stream holds one timeline: its times would start again
WRITERS: dict[str, Writer] = {"csv": write_csv, "json": write_json, "jsonl": write_jsonl, "srt": write_srt}


def write_file(timeline: Timeline, path: Path) -> None:
    """Write one timeline in the format of the file's extension; the file appears whole or not at all.

    Raises:
        UsageError: if no format has this extension.
        InputError: if the file cannot be written.
    """
    writer = WRITERS.get(path.suffix.removeprefix("."))
    if writer is None:
        raise UsageError(f"{path}: no such format. Name it {', '.join('.' + name for name in WRITERS)}")
    with atomic_write(path) as stream:
        writer([timeline], stream)
