"""Sound and pictures lie on one clock, whatever the file does, and a decode tells how complete it was."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from avel_cli.errors import InputError, MediaError
from avel_cli.media import FrameBatch, probe, read_audio, read_frames
from tests.conftest import Maker

RATE = 16000


def sound(path: Path, track: int | None = None) -> NDArray[np.float32]:
    return np.concatenate(list(read_audio(probe(path), RATE, track=track)))


def frames(path: Path, fps: float, size: tuple[int, int] = (8, 8)) -> NDArray[np.uint8]:
    return np.concatenate([batch.frames for batch in read_frames(probe(path), fps, size)])


def greys(path: Path, fps: float) -> list[float]:
    return [float(value) for value in frames(path, fps).mean((1, 2, 3))]


def beep(path: Path) -> float:
    """When the sound begins, in seconds."""
    return float(np.argmax(np.abs(sound(path)) > 0.1) / RATE)


def flash(path: Path, fps: float = 100) -> float:
    """When the picture turns white, in seconds, to within `1 / fps`."""
    return float(np.argmax(np.array(greys(path, fps)) > 128) / fps)


# One clock


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts", "film.mpg", "film.ogv", "film.flv"])
@pytest.mark.parametrize(("audio_delay", "video_delay"), [(0, 0), (0.7, 0), (0, 0.7)])
def test_a_late_stream_keeps_its_distance_to_the_other(
    name: str, audio_delay: float, video_delay: float, flash_and_beep: Maker
) -> None:
    """Transport and program streams and Ogg begin their clock anew in a pass that uses one stream only."""
    path = flash_and_beep(name, audio_delay, video_delay)
    tolerance = 0.05 if path.suffix == ".mpg" else 0.02  # 20 pictures a second were stored as 25
    assert beep(path) - flash(path) == pytest.approx(audio_delay - video_delay, abs=tolerance)
    assert beep(path) == pytest.approx(1.5 + audio_delay, abs=0.03)


def test_before_a_late_track_there_is_silence_and_before_a_late_video_its_first_picture(
    flash_and_beep: Maker, ffmpeg: Maker, counting: Path
) -> None:
    assert np.abs(sound(flash_and_beep("late.mp4", audio_delay=0.7))[: int(0.6 * RATE)]).max() < 1e-3
    tone = ["-f", "lavfi", "-i", "sine=d=5"]
    shift = "trim=start=2,setpts=PTS-1/TB"
    late = ffmpeg("late.mkv", *tone, "-i", str(counting), "-vf", shift, "-fps_mode", "passthrough", "-c:v", "ffv1")
    assert greys(late, 2) == [100, 100, 100, 124, 150, 174]


def test_a_gap_in_the_sound_is_silence_and_shifts_nothing(flash_and_beep: Maker, ffmpeg: Maker) -> None:
    """Half a second before the beep is lost."""
    gap = ["-af", "aselect='not(between(t,0.5,1))'", "-c:a", "flac", "-vn"]
    path = ffmpeg("gap.mkv", "-i", str(flash_and_beep("film.mkv")), *gap)
    assert beep(path) == pytest.approx(1.5, abs=0.005)


@pytest.mark.shared
def test_two_seconds_of_delay_in_a_real_file(clips: Path) -> None:
    late, plain = (sound(clips / f"{name}.mp4") for name in ("derived_audio_starts_2s_late", "vas_dog_02677"))
    shift = np.argmax(np.correlate(late, plain[RATE : 2 * RATE], "valid")) - RATE
    assert shift / RATE == pytest.approx(2, abs=0.002)


@pytest.mark.shared
def test_sound_that_ends_early_just_ends(clips: Path) -> None:
    media = probe(clips / "derived_audio_ends_at_4s.mp4")
    reading = read_audio(media, RATE)
    assert sum(map(len, reading)) == pytest.approx(4 * RATE, abs=0.05 * RATE)
    assert reading.warnings == ()
    assert media.duration > 10


def test_a_joined_transport_stream_plays_through(flash_and_beep: Maker, tmp_path: Path) -> None:
    """Its clock jumps back in the middle."""
    path = tmp_path / "twice.ts"
    path.write_bytes(flash_and_beep("film.ts").read_bytes() * 2)
    white = np.flatnonzero(np.diff((np.array(greys(path, 20)) > 128).astype(int)) == 1) / 20
    loud = np.abs(sound(path)) > 0.1
    assert len(white) == 2
    for start in white:
        assert loud[int((start - 0.05) * RATE) : int((start + 0.25) * RATE)].mean() > 0.5


# Pictures


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (1, [0, 50, 100, 150]),
        (2, [0, 24, 50, 74, 100, 124, 150, 174]),
        (5, list(range(0, 200, 10))),
        (25, list(range(0, 200, 2))),
        (0.5, [0, 100]),
    ],
)
def test_each_frame_is_what_is_on_screen_at_its_time(fps: float, expected: list[int], counting: Path) -> None:
    """At 2 a second, frame 1 is picture 12, shown from 0.48 s to 0.52 s; FFmpeg's own rounding would take 18."""
    assert greys(counting, fps) == expected


def test_rounded_times_neither_skip_nor_repeat_a_picture(ffmpeg: Maker) -> None:
    """Matroska stores 2/30 s as 0.067 s, after the moment of frame 2."""
    grey = "color=black:s=64x64:r=30:d=2,format=gray,geq=lum='2*N'"
    path = ffmpeg("thirty.mkv", "-f", "lavfi", "-i", grey, "-c:v", "ffv1")
    assert greys(path, 30) == list(range(0, 120, 2))


def test_variable_rate_frames_lie_at_their_times(counting: Path, ffmpeg: Maker) -> None:
    """Pictures 0, 1, 2, 50 and 75 alone, at 0, 0.04, 0.08, 2 and 3 s."""
    choose = "select='lt(n,3)+eq(n,50)+eq(n,75)'"
    path = ffmpeg("variable.mkv", "-i", str(counting), "-vf", choose, "-fps_mode", "passthrough", "-c:v", "ffv1")
    assert greys(path, 4)[:12] == [0, 4, 4, 4, 4, 4, 4, 4, 100, 100, 100, 100]
    assert greys(path, 4)[12] == 150


def test_batches_carry_times_and_have_the_asked_size(counting: Path) -> None:
    batches = list(read_frames(probe(counting), 8, (6, 10), batch=5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 5, 5, 2]
    assert batches[0].frames.shape == (5, 6, 10, 3)
    assert batches[0].frames.dtype == np.uint8
    assert batches[0].frames.flags.writeable
    np.testing.assert_array_equal(np.concatenate([batch.times for batch in batches]), np.arange(32) / 8)


def test_colours_are_red_green_blue(ffmpeg: Maker) -> None:
    path = ffmpeg("red.mkv", "-f", "lavfi", "-i", "color=red:s=32x32:d=0.2", "-c:v", "ffv1", "-pix_fmt", "gbrp")
    np.testing.assert_allclose(frames(path, 5)[0, 0, 0], [255, 0, 0], atol=2)


def test_shrinking_averages(ffmpeg: Maker) -> None:
    stripes = "color=black:s=64x64:d=0.2,format=gray,geq=lum='255*mod(X,2)'"
    path = ffmpeg("stripes.mkv", "-f", "lavfi", "-i", stripes, "-c:v", "ffv1")
    np.testing.assert_allclose(frames(path, 5, (16, 16)), 128, atol=3)


@pytest.mark.parametrize(("turn", "corner"), [(90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_rotation_tags_turn_the_picture(turn: int, corner: tuple[int, int], ffmpeg: Maker) -> None:
    """White stands in the upper left corner of the stored picture; the tag counts against the clock."""
    stored = "color=black:s=64x32:d=0.2,drawbox=w=16:h=8:c=white:t=fill"
    plain = ffmpeg("plain.mp4", "-f", "lavfi", "-i", stored)
    turned = ffmpeg("turned.mp4", "-display_rotation", str(turn), "-i", str(plain), "-c", "copy")
    assert frames(plain, 5, (4, 4))[0, 0, 0].min() > 200
    upright = frames(turned, 5, (4, 4))[0]
    assert upright[corner].min() > 200
    assert upright.mean() < 40


@pytest.mark.shared
def test_a_rotation_tag_on_a_real_file(clips: Path) -> None:
    """The same film with and without the tag; lying down, the dog is turned by a quarter."""
    plain = frames(clips / "vas_dog_02677.mp4", 1, (32, 32)).astype(float)
    turned = frames(clips / "derived_rotation90_with_sound.mp4", 1, (32, 32)).astype(float)
    assert np.abs(np.rot90(plain, 1, (1, 2)) - turned).mean() < 3
    assert np.abs(plain - turned).mean() > 15


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("derived_odd_size_321x181_yuv444_96k.mp4", 19),
        ("h264_10bit_noaudio.mp4", 8),
        ("transparent_vp9_vorbis.webm", 40),
        ("tiny_1x1_1fps_noaudio.mp4", 40),
        ("derived_0.4s.mp4", 4),
        ("rotate_flag_180_3frames.mov", 1),
        ("cover_art_in_mp4.mp4", 16),
    ],
)
def test_odd_pictures_decode_to_the_right_number(name: str, count: int, clips: Path) -> None:
    assert frames(clips / name, 8).shape == (count, 8, 8, 3)


def test_a_single_picture_is_one_frame(ffmpeg: Maker) -> None:
    path = ffmpeg("one.mkv", "-f", "lavfi", "-i", "color=white:s=64x64", "-frames:v", "1")
    assert [len(frames(path, fps)) for fps in (0.5, 1, 16)] == [1, 1, 1]
    assert probe(path).video and probe(path).video.fps is None  # type: ignore[union-attr]


# Sound


def test_blocks_are_full_but_for_the_last(flash_and_beep: Maker) -> None:
    blocks = list(read_audio(probe(flash_and_beep("film.mkv")), RATE, block_seconds=1.5))
    assert [len(block) for block in blocks[:-1]] == [24000, 24000]
    assert 0 < len(blocks[-1]) < 24000
    assert blocks[0].dtype == np.float32
    assert blocks[0].flags.writeable


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6), ("7.1", 8)])
def test_full_scale_on_all_channels_is_full_scale_in_the_mix(layout: str, channels: int, ffmpeg: Maker) -> None:
    tone = "|".join(["0.9*sin(2*PI*440*t)"] * channels)
    path = ffmpeg("loud.wav", "-f", "lavfi", "-i", f"aevalsrc={tone}:s=48000:d=1:c={layout}", "-c:a", "pcm_f32le")
    assert np.abs(sound(path)).max() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("channel", [0, 2, 3, 5])
def test_no_channel_of_a_surround_track_is_lost(channel: int, ffmpeg: Maker) -> None:
    """The mean of six is 15 dB below one that sounds alone, so that one is heard, and that is said."""
    tone = "|".join("sin(2*PI*440*t)" if index == channel else "0" for index in range(6))
    path = ffmpeg("one.wav", "-f", "lavfi", "-i", f"aevalsrc={tone}:s=48000:d=0.5:c=5.1")
    reading = read_audio(probe(path), RATE)
    assert np.abs(np.concatenate(list(reading))).max() > 0.9
    assert f"channel {channel}; that one is heard alone" in reading.notes[0]


def test_samples_stay_in_range_whatever_the_file_says(ffmpeg: Maker) -> None:
    path = ffmpeg("odd.wav", "-f", "lavfi", "-i", "aevalsrc='9*sin(2*PI*440*t)':s=16000:d=1", "-c:a", "pcm_f32le")
    data = bytearray(path.read_bytes())
    data[20000:20004] = np.float32(np.nan).tobytes()
    data[30000:30004] = np.float32(np.inf).tobytes()
    path.write_bytes(data)
    samples = sound(path)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() == 1


def test_the_default_track_is_heard_unless_another_is_chosen(ffmpeg: Maker) -> None:
    tones = [part for hz in (500, 2000) for part in ("-f", "lavfi", "-i", f"sine={hz}:d=1")]
    maps = ["-map", "0", "-map", "1", "-disposition:a:0", "0", "-disposition:a:1", "default"]
    path = ffmpeg("two.mkv", *tones, *maps)

    def pitch(track: int | None) -> int:
        return int(np.argmax(np.abs(np.fft.rfft(sound(path, track)[:RATE]))))

    assert [pitch(None), pitch(0), pitch(1)] == [2000, 500, 2000]
    for wrong in (2, -1):
        with pytest.raises(InputError, match=f"no audio track {wrong}; it has 2"):
            read_audio(probe(path), RATE, track=wrong)


# What is not there, and what is damaged


@pytest.mark.shared
def test_a_stream_that_is_not_there_is_said_at_once(clips: Path) -> None:
    with pytest.raises(MediaError, match="has no audio track"):
        read_audio(probe(clips / "derived_video_only.mp4"), RATE)
    with pytest.raises(MediaError, match="has no video stream"):
        read_frames(probe(clips / "derived_audio_with_cover.mp3"), 1, (8, 8))


def exhaust(reading: Iterable[object]) -> None:
    for _ in reading:
        pass


@pytest.mark.shared
def test_a_cut_file_is_decoded_as_far_as_it_goes_and_says_so(clips: Path) -> None:
    """FFmpeg itself ends with 0 on it."""
    media = probe(clips / "derived_truncated_faststart_55pct.mp4")
    for reading, what in ((read_audio(media, RATE), "sound"), (read_frames(media, 8, (8, 8)), "pictures")):
        exhaust(reading)
        assert reading.decoded_seconds == pytest.approx(3, abs=0.15)
        assert reading.shortfall == pytest.approx(3, abs=0.15)
        assert f"s of the {what} could be decoded; the file is cut off" in reading.warnings[0]


@pytest.mark.shared
def test_flipped_bytes_are_survived_and_reported(clips: Path) -> None:
    media = probe(clips / "derived_flipped_bytes.mp4")
    reading = read_frames(media, 8, (8, 8))
    exhaust(reading)
    assert reading.shortfall == 0
    assert len(reading.warnings) == 1
    assert reading.warnings[0].startswith("FFmpeg's complaints about the pictures: ")


def test_a_sound_file_is_complete_and_without_warnings(flash_and_beep: Maker) -> None:
    media = probe(flash_and_beep("film.mp4"))
    for reading in (read_audio(media, RATE), read_frames(media, 8, (8, 8))):
        exhaust(reading)
        assert reading.decoded_seconds == pytest.approx(4, abs=0.05)
        assert reading.warnings == ()


def test_a_stream_of_which_nothing_can_be_decoded_is_an_error(ffmpeg: Maker, counting: Path) -> None:
    """The header is whole, and every picture is nonsense."""
    path = ffmpeg("nonsense.avi", "-i", str(counting), "-c:v", "mpeg4", "-g", "1")
    data = path.read_bytes()
    content = data.find(b"movi")
    path.write_bytes(data[:content] + data[content:].replace(b"\x00\x00\x01", b"\xff\xff\xff"))
    with pytest.raises(MediaError) as caught:
        exhaust(read_frames(probe(path), 8, (8, 8)))
    assert "nonsense.avi" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frame_batches_know_their_length() -> None:
    assert len(FrameBatch(np.zeros(3), np.zeros((3, 1, 1, 3), np.uint8))) == 3
