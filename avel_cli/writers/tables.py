"""Tables with one row per event."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TextIO

from avel_cli.timeline.events import Timeline
from avel_cli.writers.names import one_line, stem

COLUMNS = ("file", "start", "end", "label", "score", "heard", "seen", "modality")


def write_csv(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One header, then one row per event; seconds to 1 ms, scores to 0.0001.

    The columns are `file,start,end,label,score,heard,seen,modality`. `heard` and `seen` are empty where a model does
    not tell them apart.
    """
    _write_table(timelines, stream, ",")


def write_tsv(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """The columns of `write_csv` with tabs between them; names that hold tabs, quotes or line breaks are quoted."""
    _write_table(timelines, stream, "\t")


def write_rttm(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One RTTM line per event: `SPEAKER file 1 start length <NA> <NA> label score <NA>`, seconds to 1 ms.

    The ten fields stand apart by spaces, so those within a name are underscores. The file is named without folder
    and extension.
    """
    for timeline in timelines:
        file = _field(stem(timeline))
        for event in timeline.events:
            start, end = round(event.start * 1000), round(event.end * 1000)
            times = f"{start / 1000:.3f} {(end - start) / 1000:.3f}"
            stream.write(f"SPEAKER {file} 1 {times} <NA> <NA> {_field(event.label)} {event.score:.4f} <NA>\n")


def _write_table(timelines: Iterable[Timeline], stream: TextIO, mark: str) -> None:
    stream.write(mark.join(COLUMNS) + "\n")
    for timeline in timelines:
        for event in timeline.events:
            times = [f"{event.start:.3f}", f"{event.end:.3f}"]
            halves = ["" if half is None else f"{half:.4f}" for half in (event.heard, event.seen)]
            cells = [timeline.file, *times, event.label, f"{event.score:.4f}", *halves, event.modality]
            stream.write(mark.join(_cell(cell, mark) for cell in cells) + "\n")


def _cell(text: str, mark: str) -> str:
    """The text, quoted where RFC 4180 wants it; Python's csv forgets a bare carriage return before 3.13."""
    return '"' + text.replace('"', '""') + '"' if re.search(rf'[{mark}"\r\n]', text) else text


def _field(text: str) -> str:
    return one_line(text).replace(" ", "_") or "<NA>"
