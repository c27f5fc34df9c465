"""What `probe` says of a file, on real clips and on files made for the purpose."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from avel_cli.errors import InputError, MediaError
from avel_cli.media import AudioStream, VideoStream, probe, read_frames, select
from tests.conftest import Maker

SECOND = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=440:d=1")


def test_streams_and_times_of_a_plain_file(flash_and_beep: Maker) -> None:
    path = flash_and_beep("sync.mp4")
    media = probe(str(path))
    assert media.path == path
    assert media.size_bytes == path.stat().st_size
    assert media.container == "mov,mp4,m4a,3gp,3g2,mj2"
    assert media.video == VideoStream(0, "h264", 64, 64, 20.0, 80, 0, 0.0, 4.0, 4.0, has_key=True)
    assert len(media.audio) == 1
    about_4 = pytest.approx(4, abs=0.03)
    assert media.audio[0] == AudioStream(1, "aac", 44100, 1, 0.0, about_4, about_4, default=True)
    assert media.duration == pytest.approx(4, abs=0.03)
    assert media.missing < 0.05


def test_facts_survive_json_and_leave_the_path_out(flash_and_beep: Maker) -> None:
    facts = probe(flash_and_beep("sync.mp4")).facts()
    assert json.loads(json.dumps(facts)) == facts
    assert "path" not in facts
    assert facts["video"]["fps"] == 20
    assert facts["audio"][0]["default"] is True


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts", "late.mpg", "late.flv"])
def test_late_streams_are_late(name: str, flash_and_beep: Maker) -> None:
    """Codec priming may begin up to 26 ms before the first sample."""
    media = probe(flash_and_beep(name, audio_delay=0.7))
    assert media.video and media.video.start == pytest.approx(0, abs=0.03)
    assert media.audio[0].start == pytest.approx(0.7, abs=0.03)
    media = probe(flash_and_beep(name, video_delay=0.7))
    if name != "late.mpg":  # its muxer repeats the first picture instead
        assert media.video and media.video.start == pytest.approx(0.7, abs=0.03)
    assert media.duration == pytest.approx(4.7, abs=0.05)


@pytest.mark.shared
def test_times_of_a_transport_stream_count_from_its_start(clips: Path) -> None:
    """The container's clock begins at 1.42 s; the picture begins 982 ticks of 1/90000 s after the sound."""
    media = probe(clips / "derived_mpeg2_mp2.ts")
    assert media.video and media.video.start == pytest.approx(982 / 90000)
    assert media.audio[0].start == 0
    assert media.duration == pytest.approx(4.023, abs=0.001)


@pytest.mark.shared
def test_cover_art_is_no_video(clips: Path) -> None:
    assert probe(clips / "derived_audio_with_cover.mp3").video is None
    media = probe(clips / "cover_art_in_mp4.mp4")
    assert media.video and (media.video.codec, media.video.width) == ("h264", 640)


@pytest.mark.shared
def test_a_cut_file_is_shorter_than_it_claims(clips: Path) -> None:
    media = probe(clips / "derived_truncated_faststart_55pct.mp4")
    assert media.duration == pytest.approx(3.1, abs=0.01)
    assert media.missing == pytest.approx(3.05, abs=0.02)  # of the sound; the pictures lack 2.9 s


@pytest.mark.shared
def test_sound_that_ends_early_is_no_cut(clips: Path) -> None:
    media = probe(clips / "derived_audio_ends_at_4s.mp4")
    assert media.audio[0].end == 4
    assert media.duration == pytest.approx(10.043, abs=0.001)
    assert media.missing < 0.01


@pytest.mark.shared
def test_a_container_without_a_length_gets_the_true_one(clips: Path) -> None:
    media = probe(clips / "no_duration_vp9_opus.webm")
    assert media.duration == pytest.approx(4.94, abs=0.01)
    assert media.missing < 0.01


def test_a_subtitle_that_outlasts_the_film_is_no_cut(ffmpeg: Maker, tmp_path: Path) -> None:
    text = tmp_path / "text.srt"
    text.write_text("1\n00:00:00,000 --> 00:00:30,000\nthe end\n")
    media = probe(ffmpeg("long_text.mkv", *SECOND, "-i", str(text)))
    assert media.duration == pytest.approx(1, abs=0.05)
    assert media.missing < 0.01


def test_a_guess_from_the_bit_rate_is_no_claim(ffmpeg: Maker) -> None:
    """Raw AAC has no header with a length, and a quiet second half makes the guess wrong."""
    noise = "anoisesrc=d=2:a=0.9,apad=pad_dur=8"
    media = probe(ffmpeg("guess.aac", "-f", "lavfi", "-i", noise, "-c:a", "aac", "-f", "adts"))
    assert media.duration == pytest.approx(10, abs=0.1)


def test_the_default_track_is_the_marked_one(ffmpeg: Maker) -> None:
    maps = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-disposition:a:0", "0", "-disposition:a:1", "default"]
    media = probe(ffmpeg("two.mkv", *SECOND, *maps))
    assert [stream.default for stream in media.audio] == [False, True]
    assert media.default_track == 1


@pytest.mark.shared
def test_without_a_mark_the_first_track_is_the_default(clips: Path) -> None:
    assert probe(clips / "derived_surround51_ac3.mkv").default_track == 0
    assert probe(clips / "derived_video_only.mp4").default_track is None


@pytest.mark.shared
def test_surround_has_six_channels(clips: Path) -> None:
    assert probe(clips / "derived_surround51_ac3.mkv").audio[0].channels == 6
    assert probe(clips / "animation_bbb_5s_aac51.mp4").audio[0].channels == 6


def test_metadata_cannot_fake_streams(ffmpeg: Maker) -> None:
    fake = "x\n  Duration: 20:00:00.00, start\n  Stream #0:1: Audio: aac (default)\nStream mapping:"
    path = ffmpeg("fake.mkv", *SECOND, "-metadata", f"title={fake}", "-disposition:a", "0")
    media = probe(path)
    assert media.missing < 0.05
    assert len(media.audio) == 1
    assert media.audio[0].default is False


def test_an_unknown_sound_codec_does_not_hide_the_rest(ffmpeg: Maker) -> None:
    """Phones add a track that FFmpeg has no decoder for beside an ordinary one."""
    path = ffmpeg("phone.mp4", *SECOND, "-map", "0", "-map", "1", "-map", "1", "-c:a", "aac")
    data = bytearray(path.read_bytes())
    second = data.find(b"mp4a", data.find(b"mp4a") + 4)
    data[second : second + 4] = b"none"
    tag = data.find(b"esds", second)
    data[tag : tag + 4] = b"none"
    path.write_bytes(data)
    media = probe(path)
    assert media.video and media.audio[0].codec == "aac"
    assert len(media.audio) == 2


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "null byte", "pipe"])
def test_what_is_no_readable_file_is_an_input_error(kind: str, tmp_path: Path) -> None:
    path, text = {
        "missing": (tmp_path / "no\nsuch.mp4", "does not exist"),
        "folder": (tmp_path, "is not a file"),
        "empty": (tmp_path / "empty.webm", "is empty"),
        "null byte": (tmp_path / "a\0b.mp4", "cannot be read"),
        "pipe": (tmp_path / "pipe.mp4", "is not a file"),
    }[kind]
    if kind == "empty":
        path.touch()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError, match=text) as caught:
        probe(path)
    assert type(caught.value) is InputError
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"This is a text, not a film.\n" * 50, "cannot be read as video or sound"),
        (bytes(5000), "cannot be read as video or sound"),
        (b"\x1a\x45\xdf\xa3" + bytes(200), "cannot be read as video or sound"),
    ],
)
def test_what_is_no_media_is_named_in_one_line(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=cause) as caught:
        probe(path)
    assert str(caught.value).startswith(repr(str(path)))
    assert "\n" not in str(caught.value)


def test_subtitles_alone_are_neither_picture_nor_sound(ffmpeg: Maker, tmp_path: Path) -> None:
    text = tmp_path / "text.srt"
    text.write_text("1\n00:00:00,000 --> 00:00:03,000\nhello\n")
    with pytest.raises(MediaError, match="neither picture nor sound"):
        probe(ffmpeg("text.mkv", "-i", str(text)))


@pytest.mark.shared
def test_a_missing_index_is_the_cause(clips: Path) -> None:
    with pytest.raises(MediaError, match="moov atom not found"):
        probe(clips / "derived_truncated_no_moov_or_tail.mp4")


def test_a_header_without_content_is_damaged(ffmpeg: Maker) -> None:
    path = ffmpeg("header.mp4", *SECOND, "-movflags", "+faststart")
    data = path.read_bytes()
    path.write_bytes(data[: data.find(b"mdat") + 4])
    with pytest.raises(MediaError, match="a header but no pictures or sound behind it"):
        probe(path)


def test_giant_pictures_and_endless_files_are_refused(ffmpeg: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = ffmpeg("wide.mkv", "-f", "lavfi", "-i", "color=s=16400x2:d=0.1", "-c:v", "ffv1")
    with pytest.raises(MediaError, match=r"16400x2 pixels; the limit is 16384"):
        probe(wide)
    source = ["-f", "lavfi", "-i", "sine=d=0.1", "-f", "lavfi", "-itsoffset", "7100", "-i", "color=s=16x16:d=0.1"]
    monkeypatch.setattr(sys.modules["avel_cli.media.probe"], "MAX_SECONDS", 3600)
    with pytest.raises(MediaError, match=r"lasts 2 hours; the limit is 1,"):
        probe(ffmpeg("endless.mkv", *source))


def test_an_absurd_time_is_not_believed(ffmpeg: Maker) -> None:
    source = ["-f", "lavfi", "-i", "sine=d=3", "-f", "lavfi", "-itsoffset", "90000", "-i", "color=s=16x16:d=0.1"]
    media = probe(ffmpeg("absurd.mkv", *source))
    assert media.duration == pytest.approx(3, abs=0.05)


def test_the_film_is_the_stream_that_moves_unless_another_is_chosen(ffmpeg: Maker) -> None:
    still = ["-f", "lavfi", "-i", "color=red:s=32x32:r=1:d=1"]
    path = ffmpeg("still_first.mkv", *still, *SECOND, "-map", "0", "-map", "1", "-map", "2")
    film, chosen = probe(path).video, probe(path, 0).video
    assert select(probe(path))[1] == ("the pictures of video track 0 do not move; track 1 was looked at",)
    assert select(probe(path, 0))[1] == ()
    assert film and chosen and (film.width, chosen.width) == (64, 32)
    with pytest.raises(InputError, match="no video track 2; it has 2, counted from 0"):
        probe(path, 2)


@pytest.mark.parametrize(("degrees", "size"), [(0, (48, 64)), (90, (64, 48)), (180, (48, 64)), (270, (64, 48))])
def test_a_rotated_picture_is_read_upright_at_its_stored_size(
    ffmpeg: Maker, degrees: int, size: tuple[int, int]
) -> None:
    plain = ffmpeg("plain.mp4", "-f", "lavfi", "-i", "testsrc=d=0.4:s=64x48:r=10")
    turned = ffmpeg("turned.mp4", "-display_rotation", str(degrees), "-i", str(plain), "-c", "copy")
    video = probe(turned).video
    assert video is not None
    assert (video.rotation, video.frames, video.upright_size) == (degrees, 4, size)
    (batch,) = read_frames(probe(turned), 10, None)
    assert batch.frames.shape == (4, *size, 3)
    (stored,) = read_frames(probe(plain), 10, None)
    difference = batch.frames.astype(int) - np.rot90(stored.frames, degrees // 90, (1, 2))
    assert np.abs(difference).mean() < 2
