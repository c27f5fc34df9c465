"""Files whose picture changes or whose clock restarts or jumps: sound and picture stay together, at the right times.

The files in `tests/data/cases` were made with FFmpeg's test sources: a white flash of 0.2 s at every odd second of each
part, and a beep with it.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from avel_cli.errors import InputError
from avel_cli.media import probe, read_audio, read_frames, select
from tests.conftest import Maker

CASES = Path(__file__).parents[1] / "data" / "cases"
ODD = [float(second) for second in range(1, 12, 2)]
EXPECTED = {  # flashes, and beeps where they are others
    "size_change.ts": (ODD, ODD),
    "pixel_format_change.ts": (ODD, ODD),
    "size_change_twice_vp8.webm": ([1.0, 4.0, 7.0], [1.0, 4.0, 7.0]),
    "ts_two_parts_clock_restarts.ts": (ODD, [1.0, 3.0, 7.0, 9.0, 11.0]),
    "ps_two_parts_clock_restarts.mpg": (ODD, [1.0, 3.0, 7.0, 9.0, 11.0]),
    "ts_two_parts_small_drift.ts": (ODD, ODD),
    "ts_five_parts_clock_restarts.ts": ([float(second) for second in range(1, 30, 2)],) * 2,
    "ts_clock_jumps_14s.ts": (ODD, ODD),  # the jump of both clocks is closed
}


def onsets(values: NDArray[np.float64], rate: float) -> list[float]:
    """When the values rise above half of their largest, in seconds."""
    above = np.concatenate([[False], values > (values.min() + values.max()) / 2])
    found = np.flatnonzero(above[1:] & ~above[:-1]) / rate
    kept = [time for number, time in enumerate(found) if not number or time - found[number - 1] > 0.3]
    return [float(time) for time in kept]


@pytest.mark.parametrize("name", EXPECTED)
def test_flashes_and_beeps_are_where_they_were_put(name: str) -> None:
    media = probe(CASES / name)
    pictures = read_frames(media, 25, (32, 32))
    light = np.concatenate([block.frames.reshape(len(block.frames), -1).mean(1) for block in pictures])
    sound = read_audio(media, 16000)
    samples = np.concatenate(list(sound))
    loudness = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(1)
    flashes, beeps = EXPECTED[name]
    assert onsets(light, 25) == pytest.approx(flashes, abs=0.09)  # each part of a joined stream ends a little late
    assert onsets(loudness, 100) == pytest.approx(beeps, abs=0.07)
    assert media.duration == pytest.approx(flashes[-1] + 1, abs=1.1)
    assert pictures.warnings == sound.warnings == ()


BEEPS = [1.0, 3.0, 5.0]
SOUNDS = {
    "ambisonic_opus.mkv": BEEPS,
    "antiphase_stereo.mp4": BEEPS,
    "two_mono_tracks_first_silent.mov": BEEPS,
    "chapters_longer_than_film.mp4": BEEPS,
    "no_first_keyframe.ts": [1.2, 3.2, 5.2, 7.2],
}


def heard(path: Path) -> tuple[list[float], tuple[str, ...]]:
    """When something is heard in the track that avel listens to, and what it says of the choice."""
    media, notes = select(probe(path))
    sound = read_audio(media, 16000)
    samples = np.concatenate(list(sound))
    assert sound.warnings == ()
    loudness = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(1)
    return onsets(loudness, 100), notes + sound.notes


@pytest.mark.parametrize("name", SOUNDS)
def test_any_sound_is_heard(name: str) -> None:
    assert heard(CASES / name)[0] == pytest.approx(SOUNDS[name], abs=0.05)


def test_what_was_chosen_is_said() -> None:
    assert heard(CASES / "two_mono_tracks_first_silent.mov")[1] == (
        "audio track 0, the default, is silent; track 1 was listened to",
    )
    (note,) = heard(CASES / "antiphase_stereo.mp4")[1]
    assert "dB below the loudest of them, channel 0; that one is heard alone" in note


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 9, 11, 16, 33, 64])
def test_any_number_of_channels_is_mixed(channels: int, tmp_path: Path) -> None:
    seconds = np.arange(4 * 8000) / 8000
    tone = 16000 * np.sin(2 * np.pi * 440 * seconds) * ((seconds % 2 >= 1) & (seconds % 2 < 1.2))
    with wave.open(str(tmp_path / "many.wav"), "wb") as file:
        file.setparams((channels, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.repeat(tone.astype("<i2")[:, None], channels, 1).tobytes())
    assert heard(tmp_path / "many.wav")[0] == pytest.approx([1.0, 3.0], abs=0.02)


def test_pictures_before_the_first_that_decodes_are_not_seen() -> None:
    media = probe(CASES / "no_first_keyframe.ts")
    assert media.video and media.video.start == pytest.approx(3.2, abs=0.05)
    pictures = read_frames(media, 5, (24, 32))
    frames = np.concatenate([block.frames for block in pictures]).astype(float)
    assert pictures.warnings == ()
    assert np.abs(np.diff(frames[:16], axis=0)).max() == 0  # the first one, held


def test_a_last_picture_lasts_a_second_at_most() -> None:
    assert probe(CASES / "one_picture_in_12s.mkv").duration == pytest.approx(37.0, abs=0.02)


def test_a_chapter_track_does_not_make_a_film_longer() -> None:
    media = probe(CASES / "chapters_longer_than_film.mp4")
    assert (media.duration, media.missing) == pytest.approx((6.0, 0.0), abs=0.02)


def test_pictures_that_an_edit_list_hides_are_not_counted() -> None:
    """The same ten seconds, cut by copying, with five seconds of hidden lead-in, and encoded anew."""
    films = [probe(CASES / f"trimmed_{way}.mp4") for way in ("by_copy", "reencoded")]
    assert [(film.video.frames, film.video.fps) for film in films if film.video] == [(150, pytest.approx(15))] * 2
    for pace in (None, 15):
        readings = [read_frames(film, 15, (36, 48), pace=pace) for film in films]
        copied, encoded = (np.concatenate([block.frames for block in reading]).astype(float) for reading in readings)
        assert copied.shape == encoded.shape == (150, 36, 48, 3)
        assert np.abs(copied - encoded).mean((1, 2, 3)).max() < 4
        assert all(reading.warnings == () for reading in readings)


# Mutated files that made the decoder work for hours, or take gigabytes


@pytest.mark.parametrize("name", sorted(path.name for path in (CASES / "fuzz").iterdir()))
def test_wild_times_cost_no_more_than_their_file(name: str) -> None:
    media = probe(CASES / "fuzz" / name)
    if media.video and media.audio:
        both = min(media.video.end, media.audio[0].end)
        part, _ = select(media, until=both + 10)
        assert part.duration < 60
        for reading in (read_audio(part, 16000), read_frames(part, 4, (8, 8))):
            assert sum(map(len, reading)) <= 61 * 16000


def test_a_gap_of_an_hour_is_silence_in_flat_memory() -> None:
    media = probe(CASES / "fuzz" / "g1.mkv")
    loud = [number for number, block in enumerate(read_audio(media, 8000)) if np.abs(block).max() > 0.05]
    assert 360 in loud and not set(loud) & set(range(2, 359))


# Joined files


@pytest.mark.parametrize("name", ["film.ts", "film.mpg", "film.mkv", "film.webm", "film.ogv"])
def test_parts_of_a_joined_film_follow_each_other(name: str, flash_and_beep: Maker, tmp_path: Path) -> None:
    part = flash_and_beep(name)
    path = tmp_path / name
    path.write_bytes(part.read_bytes() * 2)
    media = probe(path)
    light = [block.frames.reshape(len(block.frames), -1).mean(1) for block in read_frames(media, 25, (8, 8))]
    samples = np.abs(np.concatenate(list(read_audio(media, 16000))))
    loudness = samples[: len(samples) // 160 * 160].reshape(-1, 160).max(1)
    flashes, beeps = onsets(np.concatenate(light), 25), onsets(loudness, 100)
    assert flashes == pytest.approx([1.5, 5.5], abs=0.2)  # Ogg counts the headers of a part as pictures
    assert beeps == pytest.approx(flashes, abs=0.06)


# Parts of a film


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts", "film.flv"])
@pytest.mark.parametrize("begin", [0.5, 1.4])
def test_a_part_of_a_film_is_what_lies_there(name: str, begin: float, flash_and_beep: Maker) -> None:
    path = flash_and_beep(name)
    part, _ = select(probe(path), begin=begin, until=3.0)
    assert part.duration == pytest.approx(3.0 - begin)
    pictures, sound = read_frames(part, 20, (8, 8)), read_audio(part, 16000)
    light = np.concatenate([block.frames.reshape(len(block.frames), -1).mean(1) for block in pictures])
    samples = np.abs(np.concatenate(list(sound)))
    assert np.argmax(light > 128) / 20 == pytest.approx(1.5 - begin, abs=0.06)
    assert np.argmax(samples > 0.1) / 16000 == pytest.approx(1.5 - begin, abs=0.03)
    assert len(light) == pytest.approx(20 * (3 - begin), abs=1)
    assert pictures.warnings == sound.warnings == ()


def test_a_part_behind_the_end_is_refused(flash_and_beep: Maker) -> None:
    with pytest.raises(InputError, match=r"ends at 4\.0 s, before what is asked for begins"):
        select(probe(flash_and_beep("film.mp4")), begin=5)
