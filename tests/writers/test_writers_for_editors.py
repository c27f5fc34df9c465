"""Formats of other programs are read back by their readers; times and texts are what was written."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from html import unescape
from pathlib import Path

import av
import pytest
import srt
from praatio import textgrid
from pympi import Eaf
from webvtt import WebVTT

from avel_cli.errors import UsageError
from avel_cli.media import find_ffmpeg
from avel_cli.timeline.events import Event, Timeline
from avel_cli.writers import EXTENSIONS, ONE_TIMELINE, WRITERS, extension, write_file
from avel_cli.writers.chapters import frame_rate

NASTY = 'a\tb\n\nc --> "d" <b>&amp; e=f;#\\ | g, \u00fc'
FLAT = 'a b c --> "d" <b>&amp; e=f;#\\ | g, \u00fc'
EVENTS = (Event(0, 2, "dog", 0.75), Event(1.5, 4, NASTY, 0.5, 0.9, 0.25), Event(3601.25, 3602.123, "dog", 1))
TIMELINE = Timeline("day 1/a clip.mp4", 3700.024, EVENTS, media={"video": {"fps": 29.97}}, model={"name": "cace-net"})


def written(name: str, *timelines: Timeline) -> str:
    stream = io.StringIO(newline="")
    WRITERS[name](timelines or [TIMELINE], stream)
    return stream.getvalue()


@pytest.fixture
def saved(tmp_path: Path):
    """Writes a file in a format."""

    def save(name: str, timeline: Timeline = TIMELINE) -> Path:
        write_file(timeline, path := tmp_path / f"clip.avel.{extension(name)}")
        return path

    return save


def test_srt_and_webvtt_hold_the_same_cues(saved) -> None:
    texts = ["dog", f"{FLAT}, dog", FLAT, "dog"]
    times = [(0, 1500), (1500, 2000), (2000, 4000), (3_601_250, 3_602_123)]
    subtitles = list(srt.parse(saved("srt").read_text(encoding="utf-8")))
    assert [text.content for text in subtitles] == [text.replace("-->", "->") for text in texts]
    assert [(round(s.start.total_seconds() * 1000), round(s.end.total_seconds() * 1000)) for s in subtitles] == times
    captions = WebVTT.read(str(saved("vtt"))).captions
    assert [unescape(caption.raw_text) for caption in captions] == texts
    assert not any(set("<>") & set(caption.raw_text) for caption in captions)
    assert [(c.start, c.end) for c in captions][-1] == ("01:00:01.250", "01:00:02.123")


def test_tsv_is_the_csv_with_tabs() -> None:
    tables = [
        list(csv.reader(io.StringIO(written(name), newline=""), dialect))
        for name, dialect in (("csv", "excel"), ("tsv", "excel-tab"))
    ]
    assert tables[0] == tables[1]
    assert tables[1][2][1:4] == ["1.500", "4.000", NASTY]


def test_jsonl_holds_the_timeline_in_a_line(saved) -> None:
    assert Timeline.read(saved("jsonl")).events == Timeline.read(saved("json")).events == EVENTS


def test_audacity_has_a_line_for_each_event() -> None:
    rows = [line.split("\t") for line in written("audacity").splitlines()]
    assert [(float(start), float(end)) for start, end, _ in rows] == [(e.start, e.end) for e in EVENTS]
    assert [label for *_, label in rows] == ["dog", FLAT, "dog"]


OVERLAPPING = replace(TIMELINE, events=(Event(0, 3, "dog", 0.5), Event(1, 2, "dog", 0.5), Event(2, 4, "dog", 0.5)))


@pytest.mark.parametrize(
    ("timeline", "tiers"),
    [
        (TIMELINE, {"dog": [(0, 2, "dog"), (3601.25, 3602.123, "dog")], FLAT: [(1.5, 4, FLAT)]}),
        (OVERLAPPING, {"dog": [(0, 3, "dog")], "dog 2": [(1, 2, "dog"), (2, 4, "dog")]}),
    ],
)
def test_praat_and_elan_have_a_tier_for_each_label(saved, timeline: Timeline, tiers: dict) -> None:
    grid = textgrid.openTextgrid(str(saved("textgrid", timeline)), includeEmptyIntervals=False)
    assert {name: [tuple(entry) for entry in grid.getTier(name).entries] for name in grid.tierNames} == tiers
    assert grid.maxTimestamp == pytest.approx(3700.024, abs=1e-6)
    document = Eaf(str(saved("eaf", timeline)))
    found = {name: sorted(document.get_annotation_data_for_tier(name)) for name in document.get_tier_names()}
    assert found == {
        name: [(round(start * 1000), round(end * 1000), text) for start, end, text in spans]
        for name, spans in tiers.items()
    }
    assert document.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./a clip.mp4"


@pytest.mark.parametrize("label", ["", " ", "\0\x1b[31m", "\ufffe", "\ud800"])
def test_texts_that_xml_cannot_hold_are_replaced(saved, label: str) -> None:
    timeline = replace(TIMELINE, events=(Event(0, 1, label, 0.5), Event(0.5, 2, label, 0.5)))
    assert len(list(Eaf(str(saved("eaf", timeline))).get_tier_names())) == 2
    assert len(textgrid.openTextgrid(str(saved("textgrid", timeline)), includeEmptyIntervals=True).tierNames) == 2


def test_rttm_has_ten_fields_a_line() -> None:
    rows = [line.split(" ") for line in written("rttm").splitlines()]
    assert {len(row) for row in rows} == {10} and {row[1] for row in rows} == {"a_clip"}
    assert rows[2] == ["SPEAKER", "a_clip", "1", "3601.250", "0.873", "<NA>", "<NA>", "dog", "1.0000", "<NA>"]
    assert rows[1][7] == FLAT.replace(" ", "_")


@pytest.mark.parametrize("fps", [23.976, 24, 25, 29.97, 29.97003, 30, 50, 59.94, 18.53])
def test_markers_of_an_edl_do_not_drift(fps: float) -> None:
    events = tuple(Event(second, second + 1, "dog", 0.5) for second in range(0, 2 * 3600, 97))
    timeline = Timeline("a.mp4", 7300, events, media={"video": {"fps": fps}})
    exact = {23.976: Fraction(24000, 1001), 29.97: Fraction(30000, 1001), 59.94: Fraction(60000, 1001)}
    rate = exact.get(round(fps, 3), Fraction(fps))
    assert frame_rate(timeline) == rate
    found = re.findall(r"C +(\d+):(\d+):(\d+):(\d+) .*\n \|C:\w+ \|M:dog \|D:(\d+)\n", written("edl", timeline))
    assert len(found) == len(events)
    for event, (hours, minutes, seconds, frames, length) in zip(events, found, strict=True):
        whole = ((int(hours) - 1) * 60 + int(minutes)) * 60 + int(seconds)
        first = whole * round(fps) + int(frames)
        assert abs(first / rate - Fraction(event.start)) <= 1 / (2 * rate)
        assert abs((first + int(length)) / rate - Fraction(event.end)) <= 1 / (2 * rate)
        assert int(frames) < round(fps)


def test_an_edl_holds_names_without_its_own_mark() -> None:
    text = written("edl", replace(TIMELINE, media={}))
    assert text.startswith(
        "TITLE: a clip\nFCM: NON-DROP FRAME\n\n001  001      V     C        01:00:00:00 01:00:00:01 "
    )
    assert f"|M:{FLAT.replace('|', '/')} |D:62\n" in text


def test_ffmpeg_reads_the_chapters(saved, tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    source = ["-f", "lavfi", "-i", "sine=d=1", "-i", str(saved("ffmetadata")), "-map_metadata", "1"]
    subprocess.run([find_ffmpeg(), "-v", "error", *source, "-map_chapters", "1", str(film)], check=True)
    with av.open(film) as container:
        chapters = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
            for c in container.chapters()
        ]
    assert [float(start) for start, *_ in chapters] == [0, 1.5, 2, 3601.25]
    assert [title for *_, title in chapters] == ["dog", f"{FLAT}, dog", FLAT, "dog"]


def test_chapters_begin_at_nothing_and_last_ten_seconds() -> None:
    events = (
        Event(12.4, 30, "dog", 1),
        Event(33, 40.5, "dog", 1),
        Event(41, 3650, "rain, hail", 1),
        Event(3661, 3695, "cat", 1),
    )
    timeline = Timeline("a.mp4", 3700, events)
    assert written("chapters", timeline) == "0:00 –\n0:12 dog\n0:40 rain, hail\n1:00:50 –\n1:01:01 cat\n"
    assert written("chapters", Timeline("a.mp4", 5)) == "0:00 –\n"


def test_label_studio_gets_tasks_with_predictions() -> None:
    first, second = json.loads(written("labelstudio", TIMELINE, Timeline("b.mp4", 5)))
    assert first["data"] == {"video": "day 1/a clip.mp4"}
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "cace-net" and prediction["score"] == 0.75
    assert {(r["from_name"], r["to_name"], r["type"]) for r in prediction["result"]} == {("label", "audio", "labels")}
    assert prediction["result"][1]["value"] == {"start": 1.5, "end": 4, "channel": 0, "labels": [NASTY]}
    assert second["predictions"][0]["result"] == []


def test_activitynet_gets_segments_by_video() -> None:
    found = json.loads(written("activitynet", TIMELINE, replace(TIMELINE, file="other/a clip.mp4", events=())))
    assert found["results"]["a clip"][2] == {"label": "dog", "score": 1, "segment": [3601.25, 3602.123]}
    assert found["results"]["other/a clip.mp4"] == []


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_writes_films_without_events_and_is_known_by_its_file(saved, name: str) -> None:
    empty = Timeline("a.mp4", 5.0)
    assert saved(name, empty).read_text(encoding="utf-8") == written(name, empty)


def test_w3c_annotations_name_the_file_and_the_part(saved) -> None:
    page = json.loads(saved("w3c").read_text(encoding="utf-8"))
    assert (page["@context"], page["type"]) == ("http://www.w3.org/ns/anno.jsonld", "AnnotationPage")
    assert [item["body"]["value"] for item in page["items"]] == [event.label for event in EVENTS]
    assert len({page["id"], *(item["id"] for item in page["items"])}) == 1 + len(EVENTS)
    targets = [item["target"] for item in page["items"]]
    assert {target["source"] for target in targets} == {"day%201/a%20clip.mp4"}
    parts = [target["selector"]["value"].removeprefix("t=").split(",") for target in targets]
    assert [(float(start), float(end)) for start, end in parts] == [(event.start, event.end) for event in EVENTS]


def test_w3c_annotations_hold_names_that_are_not_unicode() -> None:
    page = json.loads(written("w3c", replace(TIMELINE, file="a\ud800\udcff:b.mp4")))
    assert page["items"][0]["target"]["source"] == "a%5Cud800%5Cudcff%3Ab.mp4"


def test_the_tables_of_formats_fit(tmp_path: Path) -> None:
    assert set(EXTENSIONS) | ONE_TIMELINE <= set(WRITERS)
    assert len({extension(name) for name in WRITERS}) == len(WRITERS)
    with pytest.raises(UsageError, match=r"Name it \.csv, .*\.audacity\.txt"):
        write_file(TIMELINE, tmp_path / "a.txt")
