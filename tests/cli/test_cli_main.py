"""The program as a whole: help, version, wrong commands, models, doctor, pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import avel_cli
from avel_cli.cli.main import COMMANDS, Commands
from avel_cli.cli.main import avel as program
from avel_cli.hub import registry

Avel = Callable[..., tuple[int, str, str]]
ROOT = Path(avel_cli.__file__).parent.parent


def test_version_and_help(avel: Avel) -> None:
    assert avel("--version") == (0, f"avel {avel_cli.__version__}\n", "")
    code, out, _ = avel("--help")
    assert code == 0 and all(f"\n  {name} " in out for name in COMMANDS)
    assert avel() == (0, out, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    assert isinstance(program, Commands)
    command = program.get_command(click.Context(program), name)
    assert command is not None and command.help and command.short_help
    assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_a_bare_file_is_answered_with_the_right_command_line(avel: Avel) -> None:
    Path("my clip.mp4").touch()
    assert avel("my clip.mp4", "-f", "srt") == (
        2,
        "",
        "error: my clip.mp4 is no command. To find its events: avel detect 'my clip.mp4' -f srt\n",
    )


def test_a_misspelt_command_names_the_closest(avel: Avel) -> None:
    assert avel("detct", "x")[2] == 'error: no command "detct". Did you mean detect?\n'
    assert avel("xyzzy")[2] == 'error: no command "xyzzy". See: avel --help\n'


def test_models_lists_each_with_its_licence(avel: Avel) -> None:
    code, out, _ = avel("models")
    assert code == 0
    header, row = (line.split("\t") for line in out.splitlines())
    assert dict(zip(header, row, strict=True)) == {
        "model": "cace-net.test",
        "labels": "3",
        "size": "2.5 MB",
        "at hand": "yes",
        "licence": "CC0-1.0",
        "description": "knows three labels",
    }


def test_models_show_tells_the_facts_of_the_card(avel: Avel) -> None:
    code, out, _ = avel("models", "show", "cace-net.test")
    assert code == 0
    for line in ("dog; drum; speech", "CC0-1.0", "sound.test, picture.test", "accuracy     0.5", "cace-net.test.md"):
        assert line in out
    code, _, err = avel("models", "show", "cace-net.tset")
    assert code == 4 and "cace-net.test" in err


def test_doctor_tells_versions_and_weights(avel: Avel) -> None:
    code, out, _ = avel("doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["avel"] == avel_cli.__version__
    assert facts["models"] == ["cace-net.test"]
    assert "cpu" in facts["devices"] and facts["ffmpeg"] and Path(facts["ffmpeg path"]).is_file()


def test_doctor_without_ffmpeg_ends_with_4_and_still_tells_the_rest(
    avel: Avel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVEL_FFMPEG", "/nowhere/ffmpeg")
    code, out, err = avel("doctor")
    assert code == 4
    assert "ffmpeg       none\n" in out and "cace-net.test" in out
    assert err.startswith("error: AVEL_FFMPEG=") and err.count("\n") == 1


def test_a_log_record_of_the_library_is_a_line_if_it_is_loud_enough(
    avel: Avel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    def models() -> list[registry.ModelCard]:
        logging.getLogger("avel").info("looking\naround")
        logging.getLogger("avel").warning("nothing here")
        return []

    monkeypatch.setattr(registry, "models", models)
    assert avel("models")[2] == "warning: nothing here\n"
    assert avel("doctor", "--json")[2] == "warning: nothing here\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; sys.stdin.read(); from avel_cli.cli.main import run; sys.exit(run(['models']))"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout and process.stdin and process.stderr
        process.stdout.close()
        process.stdin.close()  # only now does it begin to write
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_no_bug_of_ours() -> None:
    code = "import sys; from avel_cli.cli.main import run; sys.exit(run(['models']))"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 4
    assert done.stderr.startswith("error: the system refused: ") and done.stderr.count("\n") == 1


def test_the_module_is_the_program() -> None:
    done = subprocess.run([sys.executable, "-m", "avel_cli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"avel {avel_cli.__version__}\n")
