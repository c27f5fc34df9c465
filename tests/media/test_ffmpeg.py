"""Finding FFmpeg, and the runner: nothing leaks, nothing hangs, nothing is read that should not be."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avel_cli.errors import MediaError, SetupError
from avel_cli.media import ffmpeg as runner
from avel_cli.media import ffmpeg_version, find_ffmpeg, probe, read_audio, read_frames
from tests.conftest import Maker


def script(path: Path, *lines: str) -> Path:
    """A program that stands in for FFmpeg."""
    path.write_text("\n".join([f"#!{sys.executable}", "import sys, time", *lines]))
    path.chmod(0o755)
    return path


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of all FFmpeg children that the test starts."""
    pids: list[int] = []
    start = runner.Run._start

    def remember(self: runner.Run) -> "subprocess.Popen[bytes]":
        process = start(self)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(runner.Run, "_start", remember)
    return pids


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


def test_an_ffmpeg_that_is_too_old_is_no_fault_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counting: Path
) -> None:
    media = probe(counting)
    old = script(tmp_path / "old", "sys.exit(\"Unrecognized option 'fps_mode'.\")")
    monkeypatch.setenv("AVEL_FFMPEG", str(old))
    with pytest.raises(SetupError, match=r"too old \(Unrecognized option 'fps_mode'\)"):
        list(read_frames(media, 1, (8, 8)))


def test_a_hung_child_is_killed_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counting: Path, children: list[int]
) -> None:
    monkeypatch.setenv("AVEL_FFMPEG", str(script(tmp_path / "hung", "time.sleep(60)")))
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.3)
    begin = time.monotonic()
    with pytest.raises(MediaError, match=r"counting\.mkv.*stood still for 0\.3 s"):
        probe(counting)
    assert time.monotonic() - begin < 10
    assert children and not any(map(alive, children))


def test_the_deadline_counts_silence_and_not_the_whole_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counting: Path
) -> None:
    media = probe(counting)
    slow = ["for _ in range(8):", "    time.sleep(0.15)", "    sys.stdout.write('x' * 192)", "    sys.stdout.flush()"]
    monkeypatch.setenv("AVEL_FFMPEG", str(script(tmp_path / "slow", *slow)))
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.8)
    assert sum(map(len, read_frames(media, 1, (8, 8)))) == 8


def test_time_that_the_reader_takes_is_not_held_against_ffmpeg(monkeypatch: pytest.MonkeyPatch, counting: Path) -> None:
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.5)
    frames = read_frames(probe(counting), 25, (64, 64), batch=4)
    total = len(next(frames))
    time.sleep(1)
    assert total + sum(map(len, frames)) == 100


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_leaving_early_kills_the_child(leave: str, counting: Path, children: list[int]) -> None:
    frames = read_frames(probe(counting), 1000, (256, 256), batch=1)
    next(frames)
    assert alive(children[-1])
    if leave == "close":
        frames.close()
    else:
        del frames
    assert not alive(children[-1])


def test_an_exception_in_the_loop_kills_the_child(counting: Path, children: list[int]) -> None:
    frames = read_frames(probe(counting), 1000, (256, 256), batch=1)

    def interrupted() -> None:
        for _ in frames:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    frames.close()
    assert not alive(children[-1])


def test_no_child_is_started_before_the_first_block_is_wanted(counting: Path, children: list[int]) -> None:
    media = probe(counting)
    before = len(children)
    read_frames(media, 1, (8, 8)).close()
    assert len(children) == before


def test_stdin_is_left_to_the_caller(flash_and_beep: Maker) -> None:
    program = (
        "import sys; from avel_cli.media import *; media = probe(sys.argv[1]);"
        "sum(map(len, read_audio(media, 8000))); sum(map(len, read_frames(media, 1, (8, 8)))); print(sys.stdin.read())"
    )
    command = [sys.executable, "-c", program, str(flash_and_beep("sync.mp4"))]
    answer = subprocess.run(command, input="q\nnext file\n", capture_output=True, text=True, check=True)
    assert answer.stdout == "q\nnext file\n\n"


def test_a_flood_of_complaints_neither_hangs_nor_fills_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flash_and_beep: Maker
) -> None:
    media = probe(flash_and_beep("sync.mp4"))
    flood = ["sys.stderr.write('[aac @ 0x1] bad\\n' * 200_000)", "sys.stdout.buffer.write(bytes(4 * 32000))"]
    monkeypatch.setenv("AVEL_FFMPEG", str(script(tmp_path / "flood", *flood)))
    sound = read_audio(media, 8000)
    assert sum(map(len, sound)) == 32000
    assert sound.warnings == ("FFmpeg's complaints about the sound: 200000, the first: bad",)
    assert len(sound._run.log.text) <= 2 * runner.LOG_BYTES


def test_importing_media_loads_no_torch() -> None:
    program = "import sys, avel_cli.media; print('torch' in sys.modules, 'ffmpeg' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
