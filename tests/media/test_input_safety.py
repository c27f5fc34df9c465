"""A file name never means anything but that file, and a file never makes FFmpeg open another one."""

import shutil
import socket
from pathlib import Path

import pytest

from avel_cli.errors import AvelError, MediaError
from avel_cli.media import probe, read_audio, read_frames
from tests.conftest import Maker

NAMES = [
    "two words.mp4",
    'it\'s "quoted".mp4',
    "ünïcode 犬.mp4",
    "-dash.mp4",
    "%03d.mp4",
    "http:x.mp4",
    "concat:a|b.mp4",
    "[a];b,c=d\\e:f.mp4",
    "pipe:0",
    "new\nline.mp4",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("relative", [False, True])
def test_any_file_name_works(
    name: str, relative: bool, flash_and_beep: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(flash_and_beep("film.mp4"), tmp_path / name)
    media = probe(name if relative else tmp_path / name)
    assert sum(map(len, read_frames(media, 1, (8, 8)))) == 4
    assert sum(map(len, read_audio(media, 8000))) == pytest.approx(32000, abs=400)


def playlists(other: Path, port: int) -> dict[str, str]:
    """Texts that make a plain FFmpeg open `other`, or connect to `port`."""
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n"
    return {
        "hls": f"{head}{other}\n#EXT-X-ENDLIST\n",
        "hls over http": f"{head}http://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {other.name}\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
        "dash": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation>'
        f"<BaseURL>{other.name}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    }


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ts"])
@pytest.mark.parametrize("kind", ["hls", "hls over http", "ffconcat", "sdp", "dash"])
def test_a_playlist_opens_nothing(kind: str, suffix: str, flash_and_beep: Maker, tmp_path: Path) -> None:
    """The other file would decode, so an error means that it was not looked at; nor is the network."""
    other = tmp_path / "other.ts"
    shutil.copy(flash_and_beep("film.ts"), other)
    disguised = tmp_path / f"disguised{suffix}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        disguised.write_text(playlists(other, server.getsockname()[1])[kind])
        with pytest.raises(MediaError) as caught:
            probe(disguised)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "\n" not in str(caught.value)
    assert str(disguised) in str(caught.value)


def test_a_file_that_turns_into_a_playlist_after_the_probe_opens_nothing(flash_and_beep: Maker, tmp_path: Path) -> None:
    """The decoding passes have the same walls as the probe."""
    path, other = tmp_path / "film.ts", tmp_path / "other.ts"
    shutil.copy(flash_and_beep("film.ts"), path)
    shutil.copy(path, other)
    media = probe(path)
    path.write_text(playlists(other, 1)["ffconcat"])
    for reading in (read_audio(media, 8000), read_frames(media, 1, (8, 8))):
        with pytest.raises(MediaError):
            next(reading)


@pytest.mark.shared
def test_every_real_clip_decodes_or_is_refused_in_one_line(clips: Path) -> None:
    refused = {}
    for path in sorted(clips.iterdir()):
        if path.suffix in {".md", ".json"}:
            continue
        try:
            media = probe(path)
        except AvelError as error:
            refused[path.name] = str(error)
            continue
        if media.audio:
            sound = read_audio(media, 8000)
            assert sum(map(len, sound)) > 0
            assert sound.decoded_seconds == pytest.approx(media.audio[0].end, abs=0.1), path.name
        if media.video:
            pictures = read_frames(media, 2, (8, 8))
            assert sum(map(len, pictures)) > 0
            assert pictures.decoded_seconds == pytest.approx(media.video.end, abs=0.51), path.name
    assert set(refused) == {"derived_text_named.mp4", "derived_truncated_no_moov_or_tail.mp4", "empty_0_bytes.webm"}
    assert not any("\n" in text for text in refused.values())
