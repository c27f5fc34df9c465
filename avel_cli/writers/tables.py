"""Tables with one row per event."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TextIO

from avel_cli.timeline.events import Timeline


def write_csv(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One header, then one row per event: `file,start,end,label,score`; seconds to 1 ms, scores to 0.0001."""
    stream.write("file,start,end,label,score\n")
    for timeline in timelines:
        for event in timeline.events:
            file, label = _cell(timeline.file), _cell(event.label)
            stream.write(f"{file},{event.start:.3f},{event.end:.3f},{label},{event.score:.4f}\n")


def _cell(text: str) -> str:
    """The text, quoted where RFC 4180 wants it; Python's csv forgets a bare carriage return before 3.13."""
    return '"' + text.replace('"', '""') + '"' if re.search(r'[,"\r\n]', text) else text
