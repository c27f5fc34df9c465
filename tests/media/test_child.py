"""The decoder's process: nothing leaks, nothing hangs, and what it does to itself becomes one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avel_cli.errors import MediaError
from avel_cli.media import child as runner
from avel_cli.media import probe, read_audio, read_frames
from tests.conftest import Maker


def stand_in(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Another program in place of the decoder."""
    program = "\n".join(["import os, signal, sys, time", *lines])
    monkeypatch.setattr(runner, "command", lambda job: [sys.executable, "-c", program])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Process ids of all children that the test starts."""
    pids: list[int] = []
    start = runner.Run._start

    def remember(self: runner.Run) -> "subprocess.Popen[bytes]":
        process = start(self)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(runner.Run, "_start", remember)
    return pids


def test_a_hung_child_is_killed_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, counting: Path, children: list[int]
) -> None:
    stand_in(monkeypatch, "time.sleep(60)")
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.3)
    begin = time.monotonic()
    with pytest.raises(MediaError, match=r"counting\.mkv.*stood still for 0\.3 s"):
        probe(counting)
    assert time.monotonic() - begin < 10
    assert children and not any(map(alive, children))


def test_the_deadline_counts_silence_and_not_the_whole_run(monkeypatch: pytest.MonkeyPatch, counting: Path) -> None:
    media = probe(counting)
    slow = ["for _ in range(8):", "    time.sleep(0.15)", "    sys.stdout.write('x' * 192)", "    sys.stdout.flush()"]
    stand_in(monkeypatch, *slow)
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.8)
    assert sum(map(len, read_frames(media, 1, (8, 8)))) == 8


def test_time_that_the_reader_takes_is_not_held_against_the_decoder(
    monkeypatch: pytest.MonkeyPatch, counting: Path
) -> None:
    frames = read_frames(probe(counting), 25, (64, 64), batch=4)
    total = len(next(frames))
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.5)
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
    monkeypatch: pytest.MonkeyPatch, flash_and_beep: Maker
) -> None:
    media = probe(flash_and_beep("sync.mp4"))
    flood = ["sys.stderr.write('[aac @ 0x1] bad\\n' * 200_000)", "sys.stdout.buffer.write(bytes(4 * 32000))"]
    stand_in(monkeypatch, *flood)
    sound = read_audio(media, 8000)
    assert sum(map(len, sound)) == 32000
    assert sound.warnings == ("FFmpeg's complaints about the sound: 200000, the first: bad",)


def test_importing_media_loads_no_torch() -> None:
    program = "import sys, avel_cli.media; print('torch' in sys.modules, 'av' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_a_crash_is_one_line(monkeypatch: pytest.MonkeyPatch, counting: Path) -> None:
    media = probe(counting)
    stand_in(monkeypatch, "os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(MediaError, match=r"counting\.mkv.*the decoder crashed \(11\)"):
        list(read_frames(media, 1, (8, 8)))


def test_a_crash_in_the_middle_keeps_what_there_was_and_is_told(
    monkeypatch: pytest.MonkeyPatch, counting: Path
) -> None:
    media = probe(counting)
    stand_in(monkeypatch, "sys.stdout.buffer.write(bytes(192))", "sys.stdout.flush()", "os.abort()")
    frames = read_frames(media, 1, (8, 8))
    assert sum(map(len, frames)) == 1
    assert "only 1.0 s of 4.0 s" in frames.warnings[0]
    assert frames.warnings[1] == "the decoder crashed (6) in the middle of the pictures"


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set on Linux")
def test_memory_and_computing_time_are_bounded(monkeypatch: pytest.MonkeyPatch, counting: Path) -> None:
    media = probe(counting)
    stand_in(monkeypatch, "try: bytearray(3 << 30)", "except MemoryError: sys.exit('too much memory')")
    with pytest.raises(MediaError, match="too much memory"):
        list(read_frames(media, 1, (8, 8)))
    monkeypatch.setattr(runner, "CPU_SECONDS", 1)
    monkeypatch.setattr(runner, "CPU_RATIO", 0)
    stand_in(monkeypatch, "while True: pass")
    with pytest.raises(MediaError, match="more than the 1 s of computing"):
        list(read_frames(media, 1, (8, 8)))


def test_the_child_goes_when_the_parent_does(tmp_path: Path, counting: Path) -> None:
    program = (
        "import os, sys, signal; from avel_cli.media import *; from avel_cli.media import child\n"
        "start = child.Run._start\n"
        "def remember(self):\n"
        "    process = start(self); print(process.pid, flush=True); return process\n"
        "frames = read_frames(probe(sys.argv[1]), 1000, (256, 256), batch=1)\n"
        "child.Run._start = remember\n"
        "next(frames); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(counting)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while alive(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(done.stdout))


def test_secrets_are_kept_from_it(monkeypatch: pytest.MonkeyPatch, counting: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    stand_in(monkeypatch, "sys.exit(os.environ.get('HF_TOKEN', 'no token'))")
    with pytest.raises(MediaError, match="no token"):
        probe(counting)
