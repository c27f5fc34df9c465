"""Clips of real films: they hold their events, begin where the list says, and nothing is lost on the way."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from avel_cli import Detector
from avel_cli.cli.main import run
from avel_cli.films.clips import Cut, cuts, landing, write_clip
from avel_cli.media import probe, read_frames
from avel_cli.timeline.events import Event, Timeline

EXAMPLE = Path(__file__).parents[2] / "examples" / "speakers_and_helicopter.mp4"
EVENTS = (Event(0, 6, "speech", 0.5), Event(6.5, 8, "speech", 0.75), Event(10, 15, "helicopter", 0.66))


def test_events_of_one_label_that_are_near_come_into_one_clip() -> None:
    assert cuts(EVENTS, 20.0, padding=0.25, merge_gap=0.5) == [
        Cut(0.0, 8.25, "speech", 0.0, 0.75, 2),
        Cut(9.75, 15.25, "helicopter", 10.0, 0.66, 1),
    ]
    assert [cut.end for cut in cuts(EVENTS, 15.1, padding=0.25)] == [6.25, 8.25, 15.1]


def test_a_name_holds_no_folder() -> None:
    assert Cut(0, 1, "../a b/<c>", 3723.5, 0.5, 1).name == "a_b_c.01-02-03.500"


def first_picture(path: Path, at: float = 0.0) -> np.ndarray:
    batches = read_frames(probe(path), 25, (48, 64))
    frames = np.concatenate([batch.frames for batch in batches])
    return frames[round(at * 25)].astype(float)


def test_a_copied_and_an_encoded_clip_begin_where_they_say(ffmpeg, tmp_path) -> None:
    film = ffmpeg("film.mp4", "-i", str(EXAMPLE), "-r", "25", "-g", "50", "-sc_threshold", "0", "-c:a", "copy")
    media = probe(film)
    for begin, expected, copied in ((4.2, 4.0, True), (5.0, 5.0, False), (3.8, 4.0, True)):
        start = 4.3 if copied else 5.0
        cut = Cut(begin, 7.0, "speech", start, 0.5, 1)
        file, really = write_clip(media, cut, tmp_path / f"{begin}")
        assert really == expected
        clip = probe(file)
        assert clip.duration == pytest.approx(
            7.0 - expected, abs=0.25
        )  # copies end with a whole group of pictures that hang together
        assert np.abs(first_picture(file) - first_picture(film, expected)).mean() < (1.0 if copied else 4.0)
        assert len(clip.audio) == 1


def test_a_copy_begins_at_its_keyframe_where_the_container_does_not_list_it(ffmpeg, tmp_path) -> None:
    encode = ["-r", "25", "-g", "10", "-c:v", "libvpx", "-c:a", "libvorbis", "-deadline", "realtime"]
    film = ffmpeg("film.webm", "-i", str(EXAMPLE), "-t", "6", *encode, "-cluster_time_limit", "5000")
    media = probe(film)
    key = landing(media, 3.6)
    assert key is not None and 3.0 < key <= 3.6
    file, really = write_clip(media, Cut(key + 0.1, 5.0, "speech", key + 0.2, 0.5, 1), tmp_path / "clip")
    assert really == key and file.suffix == ".mkv"
    assert np.abs(first_picture(file) - first_picture(film, key)).mean() < 1.0
    assert probe(file).duration == pytest.approx(5.0 - key, abs=0.1)


def test_a_clip_of_what_mp4_does_not_hold_is_written_all_the_same(ffmpeg, tmp_path) -> None:
    film = ffmpeg("film.mkv", "-i", str(EXAMPLE), "-t", "3", "-c:v", "mjpeg", "-c:a", "pcm_s16le")
    media = probe(film)
    file, _ = write_clip(media, Cut(1.0, 2.0, "dog", 1.0, 0.5, 1), tmp_path / "clip")
    assert file.suffix == ".mkv" and probe(file).duration == pytest.approx(1.0, abs=0.1)


def test_the_command_cuts_what_it_finds_and_it_is_found_again(tmp_path) -> None:
    detector = Detector("cace-net.starter")
    saved = tmp_path / "speakers.avel.json"
    detector.detect(EXAMPLE).write(saved)
    command = ["clips", str(saved), "--films", str(EXAMPLE.parent), "-q", "-o", str(tmp_path / "out")]
    assert run([*command, "--label", "helicopter"]) == 0
    with (tmp_path / "out" / "clips.csv").open() as stream:
        [row] = csv.DictReader(stream)
    assert row["file"] == str(EXAMPLE) and row["label"] == "helicopter"
    found = detector.detect(tmp_path / "out" / row["clip"])
    assert "helicopter" in {event.label for event in found}
    assert run([*command, "--label", "helicopter"]) == 2  # nothing is overwritten


def test_no_event_leaves_a_list_without_rows(tmp_path) -> None:
    Timeline(str(EXAMPLE), 20.0).write(tmp_path / "none.json")
    assert run(["clips", str(tmp_path / "none.json"), "-q", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "clips.csv").read_text().split() == ["clip,file,begin,end,label,score,events"]


def test_a_film_that_is_gone_is_told(tmp_path, capsys) -> None:
    Timeline("gone.mp4", 20.0, EVENTS).write(tmp_path / "gone.json")
    assert run(["clips", str(tmp_path / "gone.json"), "-q", "-o", str(tmp_path / "out")]) == 3
    assert "gone.mp4' does not exist" in capsys.readouterr().err
