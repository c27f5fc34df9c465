"""What is written can be read again, and is what the formats promise."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from itertools import pairwise

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avel_cli.timeline.events import Event, Timeline
from avel_cli.writers import WRITERS
from avel_cli.writers.subtitles import clock, cues

SCHEMA = json.loads(resources.files("avel_cli.writers").joinpath("timeline.schema.json").read_text())
TIMELINE = Timeline(
    file='day 1/clip, the "first".mp4',
    duration=10.024,
    events=(Event(0, 2, "dog", 0.75), Event(1.5, 4, "speech, male", 0.123456, 0.9, 0.25), Event(9, 10.024, "dog", 1)),
    labels=("dog", "speech, male"),
    warnings=("decoded 10.0 of 14.0 s",),
    media={"container": "mp4", "video": {"fps": 25.0}, "audio": None},
    model={"name": "cace-net.starter", "sha256": "00ff"},
    grid={"start": 0.0, "stride": 1.0, "window": 1.0},
    parameters={"min_score": None, "labels": []},
)

milliseconds = st.integers(0, 10_000_000)
spans = st.tuples(milliseconds, st.integers(1, 100_000)).map(lambda span: (span[0] / 1000, (span[0] + span[1]) / 1000))
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
events = st.builds(lambda span, label, score: Event(*span, label, score / 10_000), spans, texts, st.integers(0, 10_000))
timelines = st.builds(
    lambda file, found: replace(TIMELINE, file=file, duration=20_000.0, events=tuple(sorted(found))),
    texts,
    st.lists(events, max_size=6),
)


HEADER = "file,start,end,label,score,heard,seen,modality"


def written(name: str, results: Iterable[Timeline]) -> str:
    stream = io.StringIO(newline="")
    WRITERS[name](results, stream)
    return stream.getvalue()


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("name", WRITERS)
def test_writers_take_timelines_one_by_one_and_write_text(name: str) -> None:
    assert written(name, iter([TIMELINE])) == written(name, [TIMELINE]) != ""


def test_csv_has_these_columns_and_rows() -> None:
    assert written("csv", [TIMELINE]) == (
        f"{HEADER}\n"
        '"day 1/clip, the ""first"".mp4",0.000,2.000,dog,0.7500,,,both\n'
        '"day 1/clip, the ""first"".mp4",1.500,4.000,"speech, male",0.1235,0.9000,0.2500,both\n'
        '"day 1/clip, the ""first"".mp4",9.000,10.024,dog,1.0000,,,both\n'
    )


def test_csv_of_nothing_is_its_header() -> None:
    assert written("csv", [Timeline("a.mp4", 5)]) == written("csv", []) == f"{HEADER}\n"


@given(st.lists(timelines, max_size=3))
def test_csv_round_trips_any_name_and_label(results: list[Timeline]) -> None:
    header, *table = rows(written("csv", results))
    assert header == HEADER.split(",")
    read = [
        (file, Event(float(start), float(end), label, float(score))) for file, start, end, label, score, *_ in table
    ]
    assert read == [(timeline.file, event) for timeline in results for event in timeline.events]


@pytest.mark.parametrize("name", ["json", "jsonl"])
@given(timeline=timelines)
def test_json_fits_its_schema_and_round_trips(name: str, timeline: Timeline) -> None:
    read = json.loads(written(name, [timeline]))
    jsonschema.validate(read, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert tuple(Event(**event) for event in read["events"]) == timeline.events
    assert read["file"] == timeline.file
    assert {key: read[key] for key in ("media", "model", "grid", "parameters")} == {
        key: getattr(timeline, key) for key in ("media", "model", "grid", "parameters")
    }


def test_the_schema_is_a_schema_and_refuses_what_is_no_timeline() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    good = json.loads(written("json", [TIMELINE]))
    for broken in [
        good | {"schema": "avel.timeline/2"},
        good | {"extra": 1},
        good | {"events": [{"start": 0, "end": 1, "label": "dog"}]},
        good | {"events": [{"start": 0, "end": 1, "label": "dog", "score": 2}]},
        {key: value for key, value in good.items() if key != "reason"},
    ]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


@given(st.lists(timelines, max_size=3))
def test_jsonl_is_one_object_a_line(results: list[Timeline]) -> None:
    lines = written("jsonl", results).split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["file"] for line in lines] == [timeline.file for timeline in results]


def test_json_refuses_numbers_that_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="JSON"):
        written("json", [replace(TIMELINE, media={"fps": float("nan")})])


def test_srt_names_overlapping_events_in_one_cue() -> None:
    assert written("srt", [TIMELINE]) == (
        "1\n00:00:00,000 --> 00:00:01,500\ndog\n\n"
        "2\n00:00:01,500 --> 00:00:02,000\ndog, speech, male\n\n"
        "3\n00:00:02,000 --> 00:00:04,000\nspeech, male\n\n"
        "4\n00:00:09,000 --> 00:00:10,024\ndog\n\n"
    )


def test_srt_of_no_events_is_empty() -> None:
    assert written("srt", [Timeline("a.mp4", 5)]) == ""


def test_touching_cues_with_the_same_text_are_one() -> None:
    assert list(cues([Event(0, 1, "dog", 0.1), Event(1, 2, "dog", 0.9)])) == [(0, 2000, "dog")]


def test_a_line_break_in_a_label_does_not_end_its_cue() -> None:
    assert list(cues([Event(0, 1, "dog\n\nbark", 0.1)])) == [(0, 1000, "dog bark")]


@given(
    st.lists(st.builds(lambda span, label: Event(*span, label, 0.5), spans, st.sampled_from(["dog", "drum", "cat"])))
)
def test_cues_follow_each_other_and_show_what_is_on(found: list[Event]) -> None:
    shown = list(cues(found))
    assert all(start < end for start, end, _ in shown)
    assert all(end <= start for (_, end, _), (start, _, _) in pairwise(shown))
    for event in found:
        begin, end = round(event.start * 1000), round(event.end * 1000)
        pieces = [(max(a, begin), min(b, end)) for a, b, text in shown if event.label in text and a < end and b > begin]
        assert sum(b - a for a, b in pieces) == end - begin
    assert sum(b - a for a, b, _ in shown) <= sum(round(e.end * 1000) - round(e.start * 1000) for e in found)


@given(st.integers(0, 99 * 3_600_000))
def test_a_clock_reads_back(time: int) -> None:
    hours, minutes, seconds, rest = map(int, re.fullmatch(r"(\d\d):(\d\d):(\d\d),(\d{3})", clock(time)).groups())
    assert minutes < 60 > seconds
    assert ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest == time
