"""JSON of other projects: Label Studio's tasks, what ActivityNet's evaluation reads, and the W3C's annotations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import fmean
from typing import Any, TextIO
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from avel_cli.timeline.events import Event, Timeline
from avel_cli.writers.names import stem


def write_labelstudio(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """Tasks of Label Studio with the events as predictions, in seconds to 1 ms.

    They fit a labeling interface with these three tags; `video` is the file as it was given, to be replaced by the
    address under which Label Studio finds it.

        <Labels name="label" toName="audio"> … </Labels>
        <Audio name="audio" value="$video" sync="video"/>
        <Video name="video" value="$video" sync="audio"/>
    """
    _write([_task(timeline) for timeline in timelines], stream)


def write_activitynet(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """Detections as ActivityNet's evaluation reads them: `results` by video, each with label, score and segment.

    A video is its file's name without extension; of several with one name all but the first are known by their path.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for timeline in timelines:
        video = stem(timeline) if stem(timeline) not in results else timeline.file
        results[video] = [
            {
                "label": event.label,
                "score": round(event.score, 4),
                "segment": [round(event.start, 3), round(event.end, 3)],
            }
            for event in timeline.events
        ]
    _write({"version": "VERSION 1.3", "results": results, "external_data": {}}, stream)


def write_w3c(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """A page of the W3C's Web Annotations: each event tags the file from `t=start` to `end`, in seconds to 1 ms.

    A file is named by its path as it was given, as a relative address. The same events always have the same names.
    """
    items: list[dict[str, Any]] = []
    for timeline in timelines:
        source = quote(timeline.file.replace("\\", "/"), errors="backslashreplace")
        items += [_annotation(source, number, event) for number, event in enumerate(timeline.events, 1)]
    page = {"@context": "http://www.w3.org/ns/anno.jsonld", "id": _urn(*(item["id"] for item in items))}
    _write({**page, "type": "AnnotationPage", "items": items}, stream)


def _annotation(source: str, number: int, event: Event) -> dict[str, Any]:
    span = f"t={event.start:.3f},{event.end:.3f}"
    return {
        "id": _urn(source, str(number), span, ascii(event.label)),
        "type": "Annotation",
        "motivation": "tagging",
        "body": {"type": "TextualBody", "purpose": "tagging", "format": "text/plain", "value": event.label},
        "target": {
            "source": source,
            "selector": {
                "type": "FragmentSelector",
                "conformsTo": "http://www.w3.org/TR/media-frags/",
                "value": span,
            },
        },
    }


def _urn(*parts: str) -> str:
    return uuid5(NAMESPACE_URL, "\n".join(("avel", *parts))).urn


def _task(timeline: Timeline) -> dict[str, Any]:
    result = [
        {
            "id": f"event-{number}",
            "from_name": "label",
            "to_name": "audio",
            "type": "labels",
            "score": round(event.score, 4),
            "original_length": round(timeline.duration, 3),
            "value": {
                "start": round(event.start, 3),
                "end": round(event.end, 3),
                "channel": 0,
                "labels": [event.label],
            },
        }
        for number, event in enumerate(timeline.events, 1)
    ]
    score = round(fmean(event.score for event in timeline.events), 4) if timeline.events else 0.0
    prediction = {"model_version": str(timeline.model.get("name", "avel")), "score": score, "result": result}
    return {"data": {"video": timeline.file}, "predictions": [prediction]}


def _write(document: Any, stream: TextIO) -> None:
    stream.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
