"""Tables with one row per event."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TextIO

from avel_cli.timeline.events import Timeline


def write_csv(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One header, then one row per event; seconds to 1 ms, scores to 0.0001.

    The columns are `file,start,end,label,score,heard,seen,modality`. `heard` and `seen` are empty where a model does
    not tell them apart.
    """
    stream.write("file,start,end,label,score,heard,seen,modality\n")
    for timeline in timelines:
        for event in timeline.events:
            file, label = _cell(timeline.file), _cell(event.label)
            halves = ",".join("" if half is None else f"{half:.4f}" for half in (event.heard, event.seen))
            times = f"{event.start:.3f},{event.end:.3f}"
            stream.write(f"{file},{times},{label},{event.score:.4f},{halves},{event.modality}\n")


def _cell(text: str) -> str:
    """The text, quoted where RFC 4180 wants it; Python's csv forgets a bare carriage return before 3.13."""
    return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\r\n]', text) else text
