"""However it ends, and wherever its lines go: one line, the right code, nothing that steers a terminal."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from avel_cli.cli.main import run
from avel_cli.errors import InputError
from avel_cli.text import printable
from avel_cli.writers import files

AVEL = [sys.executable, "-m", "avel_cli"]


@pytest.fixture(autouse=True)
def signals_are_heard():
    """A shell's background jobs ignore SIGINT, and what nohup runs SIGHUP; so would tests there."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGTERM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "a\x9b31m", "a\u202eb", "a\u2066b", "\x7f", "\udc80"])
def test_what_steers_a_terminal_is_escaped(text):
    shown = printable(f"name {text}.mp4")
    assert shown.isprintable() and "\\" in shown


def test_a_line_break_in_a_name_begins_no_line_of_its_own():
    assert printable("a\nerror: b\u2028c") == "a error: b c"


def test_a_hostile_name_reaches_stderr_escaped(capsys):
    assert run(["detect", "\x1b]52;c;aGk=\x07.mp4"]) != 0
    assert "\x1b" not in (told := capsys.readouterr().err) and "\\x1b]52" in told


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_closed_and_full_streams_are_borne(redirection, tmp_path):
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("/dev/full is not here")
    command = f"{' '.join(AVEL)} models {redirection}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_full_stdout_is_one_line(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is not here")
    with open("/dev/full", "w") as full:
        done = subprocess.run([*AVEL, "models"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_like_an_interrupt(number, monkeypatch, capsys):
    from avel_cli.hub import registry

    def models():
        signal.raise_signal(number)

    monkeypatch.setattr(registry, "models", models)
    before = signal.getsignal(number)
    assert run(["models"]) == 130
    told = capsys.readouterr().err.strip()  # click ends the line in which a terminal shows ^C
    assert told.splitlines() == ["error: interrupted; results written so far are complete"]
    assert signal.getsignal(number) is before


def test_a_second_interrupt_does_not_disturb_the_tidying_up(monkeypatch, capsys):
    from avel_cli.hub import registry

    tidied = []

    def models():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            tidied.append(True)

    monkeypatch.setattr(registry, "models", models)
    assert (run(["models"]), tidied) == (130, [True])


def test_it_runs_in_a_thread_too(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(run(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_a_name_that_no_system_takes_fails_alone_and_before_the_work(tmp_path):
    writer = getattr(files, "atomic_path", None) or files.whole_path
    with pytest.raises(InputError, match="longer than 255 bytes"), writer(tmp_path / ("x" * 300)):
        raise AssertionError("the work has begun")
    assert os.listdir(tmp_path) == []
