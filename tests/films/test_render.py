"""Films with their events in them, decoded again: labels and lanes are where they should be, when they should be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from avel_cli.cli.main import run
from avel_cli.media import find_ffmpeg, probe, read_audio, read_frames
from avel_cli.timeline.events import Event, Timeline

EXAMPLE = Path(__file__).parents[2] / "examples" / "speakers_and_helicopter.mp4"
HOSTILE = "':x=0\nfile '/etc/passwd',drawtext"


@pytest.fixture
def film(ffmpeg) -> Path:
    """Six seconds of the example."""
    return ffmpeg("film.mp4", "-i", str(EXAMPLE), "-t", "6", "-c", "copy")


def saved(folder: Path, *events: Event) -> str:
    Timeline("film.mp4", 6.0, events).write(folder / "film.avel.json")
    return str(folder / "film.avel.json")


def test_labels_and_lanes_are_drawn_at_their_time(film, tmp_path) -> None:
    out = tmp_path / "out.mp4"
    events = saved(tmp_path, Event(2, 4, HOSTILE, 0.5), Event(3, 5, "speech", 0.5))
    assert run(["render", events, "-o", str(out), "-q"]) == 0
    media, source = probe(out), probe(film)
    assert media.duration == pytest.approx(source.duration, abs=0.1)
    height, width = media.video.upright_size
    frames = np.concatenate([batch.frames for batch in read_frames(media, 10, None)]).astype(int)
    corner = frames[:, 4:10, 2:6].mean(axis=(1, 2, 3))  # behind the first letter of a caption
    bare = np.concatenate([batch.frames for batch in read_frames(source, 10, (height, width))]).astype(int)
    assert (corner[21:49] < 90).all() and bare[25, 4:10, 2:6].mean() > 100
    assert np.abs(corner[[5, 15, 55]] - bare[[5, 15, 55], 4:10, 2:6].mean(axis=(1, 2, 3))).max() < 30
    lanes = frames[0, -10]  # a row of the lower lane, of "speech", from a half to five sixths of the width
    assert np.abs(lanes[round(width * 0.7)] - [51, 97, 143]).max() < 25
    assert np.abs(lanes[round(width * 0.95)] - [17, 22, 28]).max() < 25
    heads = [int((frames[n, -10] - [255, 138, 128]).__abs__().sum(axis=-1).argmin()) for n in (10, 55)]
    assert heads == pytest.approx([width / 6, width * 5.5 / 6], abs=8)
    assert sum(map(len, read_audio(media, 8000))) == pytest.approx(6 * 8000, rel=0.05)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_subtitles_are_added_and_nothing_else_changes(film, tmp_path, name) -> None:
    events = saved(tmp_path, Event(2, 4, "dog", 0.5), Event(3, 5, "speech", 0.5))
    assert run(["render", events, "--soft", "-o", str(tmp_path / name), "-q"]) == 0
    command = [find_ffmpeg(), "-v", "error", "-i", str(tmp_path / name), "-f", "srt", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # FFmpeg 5.1 writes all streams of a Matroska file later by what primes the sound
    cues = re.findall(r"00:00:(\d+),(\d+) --> 00:00:(\d+),(\d+)\n(.*)", text)
    times = [[int(cue[0]) + int(cue[1]) / 1000, int(cue[2]) + int(cue[3]) / 1000] for cue in cues]
    assert [cue[4] for cue in cues] == ["dog", "dog, speech", "speech"]
    assert times == [pytest.approx(pair, abs=0.03) for pair in ([2, 3], [3, 4], [4, 5])]
    if times[0][0] != 2:
        return
    before, after = (
        np.concatenate([batch.frames for batch in read_frames(probe(path), 5, None)])
        for path in (film, tmp_path / name)
    )
    assert (before == after).all()


def test_what_cannot_be_written_is_told(film, tmp_path, capsys) -> None:
    events = saved(tmp_path)
    for arguments, code, told in (
        (["-o", str(tmp_path / "a.mp4")], 3, "no event to show"),
        (["-o", str(tmp_path / "a.avi")], 2, "Name it .mp4 or .mkv"),
        (["-o", str(film)], 2, "exists"),
        (["-o", str(film), "--overwrite"], 2, "is the film itself"),
    ):
        assert run(["render", events, *arguments, "-q"]) == code
        assert told in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()


def test_a_track_that_is_not_there_is_told(film, tmp_path, capsys) -> None:
    Timeline("film.mp4", 6.0, (Event(0, 1, "dog", 0.5),), parameters={"audio_track": 9}).write(tmp_path / "a.json")
    assert run(["render", str(tmp_path / "a.json"), "-o", str(tmp_path / "out.mp4"), "-q"]) == 3
    assert "has no audio track 9" in capsys.readouterr().err
