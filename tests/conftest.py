"""Fixtures for all tests: the real clips beside the project, and FFmpeg to make odd files with."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

Maker = Callable[..., Path]

if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several workers would wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and annotation files; tests that need it carry the mark `shared`."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with real clips and annotations is not here")
    return folder


@pytest.fixture(scope="session")
def clips(shared: Path) -> Path:
    """The folder of real clips; its `manifest.json` tells what they are."""
    return shared / "data" / "clips"


def run_ffmpeg(path: Path, *arguments: str) -> Path:
    """Write `path` with FFmpeg, of one version on every machine, and hand it back."""
    command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments, f"file:{path}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture
def ffmpeg(tmp_path: Path) -> Maker:
    """`ffmpeg(name, *arguments)` makes a file of that name in `tmp_path`."""
    return lambda name, *arguments: run_ffmpeg(tmp_path / name, *arguments)


@pytest.fixture(scope="session")
def flash_and_beep(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """`flash_and_beep(name, audio_delay=0, video_delay=0)`: 4 s at 20 fps, white and 1 kHz from 1.5 s to 1.8 s."""
    folder = tmp_path_factory.mktemp("flash_and_beep")
    codecs = {".mpg": ("mpeg2video", "mp2"), ".ogv": ("libtheora", "libvorbis"), ".flv": ("flv1", "aac")}
    codecs[".webm"] = ("libvpx", "libopus")

    def make(name: str, audio_delay: float = 0, video_delay: float = 0) -> Path:
        path = folder / f"{audio_delay}_{video_delay}_{name}"
        if path.exists():
            return path
        picture = "color=black:s=64x64:r=20:d=4,drawbox=c=white:t=fill:enable='between(t,1.5,1.79)'"
        sound = "aevalsrc='if(between(t,1.5,1.8),0.5*sin(2*PI*1000*t),0)':s=44100:d=4"
        video_codec, audio_codec = codecs.get(path.suffix, ("libx264", "aac"))
        inputs = ["-itsoffset", str(video_delay), "-f", "lavfi", "-i", picture]
        inputs += ["-itsoffset", str(audio_delay), "-f", "lavfi", "-i", sound]
        rate = ["-r", "25"] if path.suffix == ".mpg" else ["-fps_mode", "passthrough"]
        return run_ffmpeg(path, *inputs, "-c:v", video_codec, "-c:a", audio_codec, *rate)

    return make


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s at 25 fps without sound or loss; picture `n` is a plain grey of `2 * n`."""
    grey = "color=black:s=64x64:r=25:d=4,format=gray,geq=lum='2*N'"
    return run_ffmpeg(tmp_path_factory.mktemp("counting") / "counting.mkv", "-f", "lavfi", "-i", grey, "-c:v", "ffv1")
