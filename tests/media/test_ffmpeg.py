"""Finding FFmpeg, the program, which writes media."""

import sys
from pathlib import Path

import pytest

from avel_cli.errors import SetupError
from avel_cli.media import ffmpeg_version, find_ffmpeg


def script(path: Path, *lines: str) -> Path:
    """A program that stands in for FFmpeg."""
    path.write_text("\n".join([f"#!{sys.executable}", "import sys, time", *lines]))
    path.chmod(0o755)
    return path


def test_the_variable_comes_before_everything_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = script(tmp_path / "my-ffmpeg", "print('ffmpeg version 42.0-mine Copyright')")
    monkeypatch.setenv("AVEL_FFMPEG", str(program))
    assert find_ffmpeg() == str(program)
    assert ffmpeg_version() == "42.0-mine"


def test_path_comes_before_the_bundled_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = script(tmp_path / "ffmpeg")
    monkeypatch.delenv("AVEL_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == str(program)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVEL_FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(SetupError, match=r"AVEL_FFMPEG='/nowhere/ffmpeg' .* correct or unset"):
        find_ffmpeg()


def test_a_missing_ffmpeg_comes_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AVEL_FFMPEG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(SetupError, match=r"not found; install FFmpeg 5\.1 or newer, or set AVEL_FFMPEG"):
        find_ffmpeg()


def test_a_program_that_is_not_ffmpeg_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AVEL_FFMPEG", str(script(tmp_path / "other", "print('hello')")))
    with pytest.raises(SetupError, match="does not answer like FFmpeg"):
        ffmpeg_version()
