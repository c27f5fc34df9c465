"""Whole repositories: listed, fetched, checked, and used from the cache of the Hub's client."""

from __future__ import annotations

from pathlib import Path

import pytest

from avel_cli.cli.main import run
from avel_cli.errors import ModelError
from avel_cli.hub import registry, snapshots
from avel_cli.words import understood
from tests.hub_server import Hub, hub_server  # noqa: F401

NAME = "words.pe-av-small"
FILES = {
    "config.json": b'{"model_type": "pe_audio_video"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"numbers" * 1000,
    "README.md": b"not wanted",
    "pytorch_model.bin": b"not wanted",
}


@pytest.fixture
def published(hub_server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:  # noqa: F811
    """A server with the repository."""
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path / "avel"))
    for name, content in FILES.items():
        hub_server.put(registry.catalogue().repositories[NAME].repo, name, content)
    return hub_server


def test_a_repository_is_fetched_once_and_without_what_is_not_wanted(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=f"{NAME} is not on this machine: avel download {NAME}"):
        understood(["dog"], NAME)
    assert run(["download", "words", "--dry-run"]) == 0
    assert published.requests == []
    out, said = capsys.readouterr()
    assert f"to fetch: {NAME}" in said
    row = out.splitlines()[-1].split("\t")
    assert row == [NAME, "huggingface.co/facebook/pe-av-small-16-frame", "asked when it is fetched", "Apache-2.0", "no"]
    assert run(["download", "words"]) == 0
    said = capsys.readouterr().err
    assert "fetching facebook/pe-av-small-16-frame (0.0 GB, licence: Apache-2.0) from huggingface.co" in said
    assert "please cite Vyas et al. 2025" in said
    wording = understood(["dog", "a  cat"], NAME)
    assert {path.name for path in wording.card.path.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (wording.card.name, wording.card.licence, wording.card.labels) == (NAME, "Apache-2.0", ("dog", "a cat"))
    assert wording.model == NAME
    asked = len(published.requests)
    assert run(["download", "words", "-q"]) == 0
    assert len(published.requests) == asked


def test_what_is_not_as_it_was_listed_is_refused(published: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    entry = registry.catalogue().repositories[NAME]
    published.files[f"{entry.repo}!model.safetensors"].flip = True
    assert run(["download", NAME]) == 4
    assert "cannot be fetched" in (said := capsys.readouterr().err) and "By hand: hf download" in said
    assert snapshots.folder(entry) is None


def test_weights_in_parts_are_complete_with_all_of_them(tmp_path: Path) -> None:
    for name in snapshots.NEEDED:
        (tmp_path / name).touch()
    (tmp_path / snapshots.INDEX).write_text('{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    (tmp_path / "model-1.safetensors").touch()
    assert not snapshots._is_complete(tmp_path)
    (tmp_path / "model-2.safetensors").touch()
    assert snapshots._is_complete(tmp_path)
    (tmp_path / snapshots.INDEX).write_text('{"weight_map": {"a": "../model-1.safetensors"}}')
    assert not snapshots._is_complete(tmp_path)
