"""Batches of real clips by real processes: two at once, one killed in the middle; each file once, results equal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avel_cli.batch.journal import NAME, rows
from avel_cli.cli.main import run
from avel_cli.hub import registry
from tests.conftest import run_ffmpeg

pytestmark = pytest.mark.skipif(not registry.models(), reason="the weights that ship are not here")
COUNT = 8


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for number in range(COUNT):
        picture = ["-f", "lavfi", "-i", f"testsrc2=s=96x64:r=10:d={2 + number % 3}"]
        sound = ["-f", "lavfi", "-i", f"sine={300 + 100 * number}:d={2 + number % 3}"]
        run_ffmpeg(folder / f"{number}.mp4", *picture, *sound, "-c:v", "mpeg4", "-c:a", "aac")
    return folder


def detecting(films: Path, folder: Path) -> list[str]:
    return ["detect", str(films), "-o", str(folder), "-f", "csv", "-f", "json", "--device", "cpu", "--show", "all"]


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.avel.*")}


def has_done(folder: Path) -> bool:
    return any(row.state == "done" for row in rows(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_of_two_processes_one_is_killed_and_the_other_does_the_rest(films: Path, tmp_path: Path) -> None:
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    command = [sys.executable, "-m", "avel_cli", *detecting(films, shared)]
    first, second = (subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2))
    try:
        ends = time.monotonic() + 120
        while time.monotonic() < ends and not ((shared / NAME).exists() and has_done(shared)):
            time.sleep(0.05)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    _, told = second.communicate(timeout=120)
    assert second.returncode == 0, told
    assert [(row.state, row.times) for row in rows(shared)] == [("done", 1)] * COUNT
    assert run(detecting(films, alone)) == 0
    assert results(shared) == results(alone) and len(results(alone)) == 2 * COUNT
    assert not list(shared.glob(".avel-*.lock"))


def test_a_broken_file_is_told_and_done_once_it_is_mended(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    out, summary = tmp_path / "out", tmp_path / "summary.json"
    command = ["detect", str(films / "0.mp4"), str(broken), "-o", str(out), "--device", "cpu"]
    assert run([*command, "--summary", str(summary)]) == 3
    first, second = json.loads(summary.read_text())["inputs"]
    assert (first["state"], second["state"]) == ("done", "failed") and first["duration"] == pytest.approx(2, abs=0.1)
    assert {Path(row.path).name: row.state for row in rows(out)} == {"0.mp4": "done", "broken.mp4": "failed"}
    broken.write_bytes((films / "1.mp4").read_bytes())
    capsys.readouterr()
    assert run([*command, "--summary", str(summary)]) == 0
    assert "2 inputs: 1 done; 1 skipped, done before and unchanged" in capsys.readouterr().err
