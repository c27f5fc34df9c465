"""JSON of other projects: what people correct in Label Studio, and what ActivityNet's evaluation reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import fmean
from typing import Any, TextIO

from avel_cli.timeline.events import Timeline
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
