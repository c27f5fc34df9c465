"""JSON: everything that is known about a timeline. `timeline.schema.json` describes it, and changes with `SCHEMA`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TextIO

from avel_cli import __version__
from avel_cli.timeline.events import Event, Timeline

SCHEMA = "avel.timeline/1"


def document(timeline: Timeline) -> dict[str, Any]:
    """The timeline as plain JSON values; seconds to 1 ms, scores to 0.0001."""
    return {
        "schema": SCHEMA,
        "avel": __version__,
        "file": timeline.file,
        "duration": round(timeline.duration, 3),
        "media": timeline.media,
        "model": timeline.model,
        "grid": timeline.grid,
        "parameters": timeline.parameters,
        "labels": list(timeline.labels),
        "events": [_event(event) for event in timeline.events],
        "reason": timeline.reason,
        "warnings": list(timeline.warnings),
    }


def write_json(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One indented object per timeline."""
    for timeline in timelines:
        stream.write(json.dumps(document(timeline), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One object per timeline and line, for programs that read line by line."""
    for timeline in timelines:
        stream.write(json.dumps(document(timeline), ensure_ascii=False, allow_nan=False) + "\n")


def _event(event: Event) -> dict[str, Any]:
    return {
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "label": event.label,
        "score": round(event.score, 4),
    }
