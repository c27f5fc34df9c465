"""`avel download unav100`: annotations from the Hub or from where they were published, and what is still missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from avel_cli.cli.main import run
from avel_cli.datasets import unav100
from avel_cli.hub import registry
from tests.hub_server import Hub, hub_server  # noqa: F401

Avel = Callable[..., tuple[int, str, str]]
REPOSITORY = "ttgeng233/UnAV-100"
EVENT = {"segment": [0, 3], "label": "dog", "label_id": 0}
CONTENT = json.dumps(
    {"database": {"-a": {"duration": 10, "subset": "test", "annotations": [EVENT]}}, "version": "test"}
).encode()


@pytest.fixture
def avel(hub_server: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Avel:  # noqa: F811
    """Runs the command line with `CONTENT` for the published file, and the Hub and all URLs on this machine."""
    catalogue = registry.catalogue()
    known = {"size": len(CONTENT), "sha256": sha256(CONTENT).hexdigest()}
    there, elsewhere = catalogue.assets["unav100"].sources
    sources = (replace(there, **known), replace(elsewhere, **known, url=f"{hub_server.url}/raw/annotations.json"))
    assets = {**catalogue.assets, "unav100": replace(catalogue.assets["unav100"], sources=sources)}
    monkeypatch.setattr(registry, "catalogue", lambda: replace(catalogue, assets=assets))

    def call(*args: str) -> tuple[int, str, str]:
        code = run(args)
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def test_annotations_come_from_the_hub_and_what_is_missing_is_said(
    avel: Avel,
    hub_server: Hub,  # noqa: F811
    tmp_path: Path,
) -> None:
    hub_server.put(REPOSITORY, "annotations/unav100_annotations.json", CONTENT, kind="dataset")
    hub_server.put(REPOSITORY, "README.md", b"# UnAV-100", kind="dataset")
    folder = tmp_path / "data" / "unav100"
    code, out, err = avel("download", "unav100", "--to", str(folder))
    assert code == 0, err
    assert (folder / unav100.ANNOTATIONS).read_bytes() == CONTENT
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in out.splitlines()[1:])}
    assert rows[unav100.ANNOTATIONS][:2] == ["ok", "1 videos, 1 events, 1 classes, not the published file"]
    assert rows["*_rgb.npy"][0] == "missing" and "Google Drive" in rows["*_rgb.npy"][2]
    assert "licence CC BY 4.0; please cite Geng et al. 2023" in err
    assert "holds 2 files, of which avel uses the annotations alone: README.md, annotations/unav100_annot" in err
    assert f"avel data check unav100 {folder}" in err
    assert not hub_server.asked("HEAD")[0].startswith("/raw")


def test_where_the_hub_has_another_file_the_published_one_is_taken(
    avel: Avel,
    hub_server: Hub,  # noqa: F811
    tmp_path: Path,
) -> None:
    hub_server.put(REPOSITORY, "unav100_annotations.json", CONTENT.replace(b"dog", b"cat"), kind="dataset")
    hub_server.put_plain("/raw/annotations.json", CONTENT)
    code, _, err = avel("download", "unav100", "-o", str(tmp_path / "here"))
    assert code == 0, err
    assert (tmp_path / "here" / unav100.ANNOTATIONS).read_bytes() == CONTENT


def test_without_a_folder_it_lies_in_the_cache_and_a_dry_run_sees_it(avel: Avel, hub_server: Hub) -> None:  # noqa: F811
    hub_server.put(REPOSITORY, "unav100_annotations.json", CONTENT, kind="dataset")
    code, out, _ = avel("download", "unav100", "--dry-run")
    assert code == 0 and not hub_server.requests
    name, places, _, licence, at_hand = out.splitlines()[1].split("\t")
    assert (name, licence, at_hand) == ("unav100", "CC BY 4.0", "no")
    assert places.startswith("huggingface.co/datasets/ttgeng233/UnAV-100, or ")
    assert avel("download", "unav100", "-q")[0] == 0
    assert (registry.cache() / "datasets" / "unav100" / unav100.ANNOTATIONS).is_file()
    assert avel("download", "unav100", "--dry-run")[1].splitlines()[1].endswith("\tyes")


def test_what_cannot_be_had_is_told_with_where_to_put_it(avel: Avel, tmp_path: Path) -> None:
    code, out, err = avel("download", "unav100", "-o", str(tmp_path / "here"), "-q")
    assert (code, out) == (4, "")
    assert f"get it from https://unav100.github.io and put {unav100.ANNOTATIONS} into {tmp_path / 'here'}" in err
    assert err.count("\n") == 1


def test_a_folder_for_weights_is_refused(avel: Avel) -> None:
    code, _, err = avel("download", "resnet50", "--to", "x", "--dry-run")
    assert code == 2 and "--to is for data sets" in err


def test_the_catalogue_knows_the_published_file() -> None:
    for source in registry.catalogue().assets["unav100"].sources:
        assert (source.sha256, source.exact) == (unav100._DIGEST, True)
