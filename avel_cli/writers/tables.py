"""Tables with one row per event."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from avel_cli.timeline.events import Timeline


def write_csv(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One header, then one row per event: `file,start,end,label,score`; seconds to 1 ms, scores to 0.0001."""
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["file", "start", "end", "label", "score"])
    for timeline in timelines:
        for event in timeline.events:
            times = f"{event.start:.3f}", f"{event.end:.3f}"
            table.writerow([timeline.file, *times, event.label, f"{event.score:.4f}"])
