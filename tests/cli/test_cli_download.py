"""`avel download` and what `avel models` says of published weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.models import resnet50

from avel_cli.cli.main import COMMANDS, run
from avel_cli.hub import registry
from tests.hub_server import Hub, environment, hub_server  # noqa: F401

Avel = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
REPOSITORY, FILE = "timm/resnet50.tv2_in1k", "model.safetensors"


@pytest.fixture
def avel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Avel:
    """Runs the command line with an empty cache: exit code, stdout, stderr."""
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path / "avel"))

    def call(*args: str) -> tuple[int, str, str]:
        code = run(args)
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)


def table(text: str) -> list[dict[str, str]]:
    header, *rows = (line.split("\t") for line in text.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_download_is_a_command() -> None:
    assert COMMANDS["download"] == "avel_cli.cli.download:download"


@pytest.mark.usefixtures("no_connection")
def test_a_dry_run_says_what_from_where_how_large_and_opens_no_connection(avel: Avel) -> None:
    code, out, _ = avel("download", "cace-net", "vggish-unav", "starter-sound", "--dry-run")
    assert code == 0
    rows = {row["part"]: row for row in table(out)}
    assert list(rows) == ["starter-sound", "cace-net.ave", "vggish", "vgg19"]
    assert rows["starter-sound"]["at hand"] == "yes"
    assert rows["cace-net.ave"] == {
        "part": "cace-net.ave",
        "from": "huggingface.co/xianghe/cace-net",
        "size": "about 105 MB",
        "licence": "none stated",
        "at hand": "no",
    }
    assert rows["vgg19"]["from"].startswith("huggingface.co/spaces/AfrodreamsAI/afrodreams, or web.eecs.umich.edu/")
    assert not registry.cache().exists()


def test_an_encoder_is_fetched_with_its_licence_and_whom_to_cite(hub_server: Hub, avel: Avel) -> None:  # noqa: F811
    hub_server.put(REPOSITORY, FILE, safetensors.torch.save(resnet50().state_dict()))
    code, out, err = avel("download", "resnet50")
    assert (code, out) == (0, "")
    first, licence, ready = err.splitlines()
    assert first.startswith("fetching resnet50 (about 102 MB, licence: BSD-3-Clause, from huggingface.co/timm/resnet50")
    assert licence.startswith("resnet50: licence BSD-3-Clause; please cite He et al. 2016")
    assert ready == "ready: resnet50"
    assert table(avel("download", "resnet50", "--dry-run")[1])[0]["at hand"] == "yes"
    asked = len(hub_server.requests)
    assert avel("download", "resnet50", "-q") == (0, "", "")
    assert len(hub_server.requests) == asked


def test_what_cannot_be_had_ends_with_code_4_and_one_line(hub_server: Hub, avel: Avel) -> None:  # noqa: F811
    hub_server.put("xianghe/cace-net", "x", b"y")
    code, out, err = avel("download", "cace-net", "-q")
    assert (code, out) == (4, "")
    assert err.startswith("error: cace-net.ave cannot be fetched; huggingface.co/xianghe/cace-net: ")
    assert "add --weights cace-net.ave=FILE" in err
    assert len(err.splitlines()) == 1


def test_a_file_at_hand_takes_the_place_of_a_download(avel: Avel, tmp_path: Path, no_connection: None) -> None:
    path = tmp_path / "mine.pth"
    torch.save(resnet50().state_dict(), path)
    assert avel("download", "resnet50", "--weights", str(path))[0] == 0
    assert len(list((registry.cache() / "weights").glob("resnet50-*.safetensors"))) == 1
    code, _, err = avel("download", "resnet50", "--weights", f"vgg19={path}")
    assert code == 2 and "vgg19 is not needed here" in err


@pytest.mark.usefixtures("no_connection")
def test_unknown_names_are_answered_with_the_closest(avel: Avel) -> None:
    code, _, err = avel("download", "vgg91")
    assert code == 4
    assert "unknown model or encoder" in err and "did you mean" in err
    assert avel("download")[0] == 2


def test_offline_is_respected_by_the_real_program(hub_server: Hub, tmp_path: Path) -> None:  # noqa: F811
    variables = {**os.environ, **environment(hub_server, tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "avel_cli", "download", "resnet50"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 4
    assert "HF_HUB_OFFLINE" in done.stderr.splitlines()[-1]
    assert hub_server.requests == []


def test_the_list_says_what_is_at_hand(avel: Avel) -> None:
    code, out, _ = avel("models")
    assert code == 0
    rows = {row["model"]: row for row in table(out)}
    assert rows["cace-net.starter"]["at hand"] == "yes"
    assert (rows["cace-net.ave"]["at hand"], rows["cace-net.ave"]["size"]) == ("no", "about 968 MB")
    assert "unmeasured" in rows["cace-net.ave-torchvision"]["description"]


def test_a_published_model_is_shown_with_sources_and_figures_that_are_not_ours(avel: Avel) -> None:
    code, out, _ = avel("models", "show", "cace-net.ave")
    assert code == 0
    facts = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in out.splitlines()}
    assert facts["at hand"].startswith("no, cace-net.ave, vggish, vgg19 (about 968 MB) are missing: avel download")
    assert facts["published, not measured by us"].startswith("80.796 %")
    for needed, told in (("vggish", "Apache-2.0"), ("vgg19", "about 575 MB"), ("cace-net.ave", "none stated")):
        assert told in facts[f"needs {needed}"]
    assert Path(facts["card"]).read_text(encoding="utf-8").startswith("# cace-net.ave")


def test_listing_models_loads_neither_torch_nor_the_client_of_the_hub() -> None:
    code = (
        "import sys; from avel_cli.cli.main import run; "
        "assert run(['models']) == run(['models', 'show', 'cace-net.ave']) == 0;"
        "assert run(['download', 'cace-net', '--dry-run']) == 0;"
        "assert not {'torch', 'huggingface_hub', 'httpx2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
