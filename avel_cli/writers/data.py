"""JSON: everything that is known about a timeline. `timeline.schema.json` describes it, and changes with `SCHEMA`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO, get_args

from avel_cli import __version__
from avel_cli.errors import InputError
from avel_cli.timeline.events import Event, Modality, Timeline

SCHEMA = "avel.timeline/1"
LONGEST = 1e9  # seconds, thirty years; what is counted in microseconds stays exact


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
        "best": timeline.best and {"label": timeline.best[0], "score": round(timeline.best[1], 4)},
        "warnings": list(timeline.warnings),
        **({} if timeline.scores is None else {"scores": timeline.scores}),
    }


def write_json(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One indented object per timeline."""
    for timeline in timelines:
        stream.write(json.dumps(document(timeline), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """One object per timeline and line, for programs that read line by line."""
    for timeline in timelines:
        stream.write(json.dumps(document(timeline), ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Timeline:
    """The timeline in a file that `write_json` wrote.

    Raises:
        InputError: if the file cannot be read, or is not such a timeline.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if found.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        found.pop("avel")
        best = found.pop("best", None)
        _check_types(found)
        return Timeline(
            **{
                **found,
                "labels": tuple(found["labels"]),
                "warnings": tuple(found["warnings"]),
                "events": tuple(Event(**event) for event in found["events"]),
                "best": best and (best["label"], best["score"]),
            }
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a timeline of avel ({SCHEMA}): {error}") from None


def _check_types(found: dict[str, Any]) -> None:
    """Of what `Timeline` takes as it is; files come from strangers."""
    kinds: dict[str, Any] = {
        "file": str,
        "duration": (int, float),
        "media": dict,
        "model": dict,
        "grid": dict,
        "parameters": dict,
    }
    kinds |= {"labels": list, "events": list, "warnings": list}
    for name, kind in kinds.items():
        if not isinstance(found[name], kind):
            raise ValueError(f"{name} is of another type")
    texts = [*found["labels"], *found["warnings"], *(event["label"] for event in found["events"])]
    if not all(isinstance(text, str) for text in texts) or not isinstance(found.get("reason"), str | None):
        raise ValueError("a label, a warning or the reason is no text")
    if any(event.get("modality", "both") not in get_args(Modality) for event in found["events"]):
        raise ValueError("an event is neither heard nor seen")
    if not 0 <= found["duration"] < LONGEST or not isinstance(found.get("scores"), dict | None):
        raise ValueError("the duration or the scores cannot be")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def _event(event: Event) -> dict[str, Any]:
    return {
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "label": event.label,
        "score": round(event.score, 4),
        "heard": None if event.heard is None else round(event.heard, 4),
        "seen": None if event.seen is None else round(event.seen, 4),
        "modality": event.modality,
    }
