"""Summaries: hours of film and of the clock, by files that say when they were taken."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path

import pytest

from avel_cli.cli.main import run
from avel_cli.media import probe
from avel_cli.summary import Row, hours, summarize, taken
from avel_cli.timeline.events import Event, Timeline

EXAMPLE = Path(__file__).parents[1] / "examples" / "speakers_and_helicopter.mp4"
NOON = datetime.datetime(2024, 5, 1, 11, 59, 50, tzinfo=datetime.UTC)
EVENTS = (Event(5, 15, "dog", 0.5), Event(20, 24, "dog", 0.5), Event(3590, 3610, "drum", 0.5))


def test_an_event_over_the_hour_counts_where_it_begins_and_lasts_in_both() -> None:
    assert list(hours(5, 15, NOON)) == [("2024-05-01T11", True, 5.0), ("2024-05-01T12", False, 5.0)]
    assert list(hours(3590, 3610, None)) == [("0", True, 10.0), ("1", False, 10.0)]
    assert sum(seconds for *_, seconds in hours(0.1, 90_000.7, NOON)) == pytest.approx(90_000.6)


def test_hours_of_film_and_of_the_clock() -> None:
    found = summarize([(Timeline("a.mp4", 4000.0, EVENTS), NOON), (Timeline("b.mp4", 10.0, EVENTS[:0]), None)])
    assert (found.films, found.dated, found.seconds) == (2, 1, 4010.0)
    assert found.labels == (("dog", 2, 14.0), ("drum", 1, 20.0))
    assert Row("dog", "film", "0", 2, 14.0, 3610.0) in found.rows
    assert Row("drum", "film", "1", 0, 10.0, 400.0) in found.rows
    assert Row("dog", "clock", "2024-05-01T11", 1, 5.0, 10.0) in found.rows
    assert Row("drum", "clock", "2024-05-01T12", 1, 20.0, 3600.0) in found.rows


def test_films_tell_when_they_were_taken(ffmpeg) -> None:
    copy = ["-i", str(EXAMPLE), "-c", "copy", "-metadata"]
    assert taken(probe(ffmpeg("dated.mp4", *copy, "creation_time=2024-05-01T11:59:50Z"))) == NOON
    assert taken(probe(ffmpeg("old.mp4", *copy, "creation_time=1904-01-01T00:00:00Z"))) is None
    assert taken(probe(EXAMPLE)) is None


def test_the_command_writes_tables_and_a_picture(tmp_path, capsys) -> None:
    label = "$\\alpha<script>"
    for name, count in (("a", 2), ("b", 1)):
        events = tuple(Event(n, n + 0.5, label, 0.5) for n in range(count))
        Timeline(f"{name}.mp4", 36.0, events).write(tmp_path / f"{name}.avel.json")
    assert run(["summary", str(tmp_path), "-o", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "avel-summary.json").read_text())
    assert told["labels"] == [{"label": label, "events": 3, "seconds": 1.5, "events_an_hour": 150.0}]
    with (tmp_path / "out" / "avel-summary.csv").open() as stream:
        [row] = csv.DictReader(stream)
    assert (row["label"], row["events"], row["media_seconds"]) == (label, "3", "72.000")
    assert (tmp_path / "out" / "avel-summary.png").read_bytes().startswith(b"\x89PNG")
    assert run(["summary", str(tmp_path), "-o", str(tmp_path / "out")]) == 2


def test_one_bad_timeline_does_not_end_the_others(tmp_path, capsys) -> None:
    Timeline("a.mp4", 36.0, (Event(0, 1, "dog", 0.5),)).write(tmp_path / "a.avel.json")
    (tmp_path / "b.avel.json").write_text("{")
    assert run(["summary", str(tmp_path)]) == 3
    assert capsys.readouterr().out.splitlines()[1].split("\t") == ["dog", "1", "1.0", "100.0"]
