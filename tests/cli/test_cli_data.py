"""`avel data check`: the table, JSON, and when the exit code is 4."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from avel_cli.cli.data import CHECKED
from tests.datasets.ave_folder import made_up, write_ave_folder

Avel = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ave_folder(tmp_path / "AVE", made_up(1, categories=5), noisy=1)


def test_a_complete_folder_is_a_table_without_fault(avel: Avel, folder: Path) -> None:
    code, out, err = avel("data", "check", "ave", str(folder))
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert rows[0] == ["what", "state", "detail", "what to do"]
    assert {row[1] for row in rows[1:]} == {"ok"}
    assert ["visual_feature.h5", "ok", "(5, 10, 7, 7, 512) float64", ""] in rows


def test_something_needed_that_is_missing_ends_with_4_and_the_way_to_get_it(avel: Avel, folder: Path) -> None:
    (folder / "audio_feature.h5").unlink()
    code, out, err = avel("data", "check", "ave", str(folder))
    assert code == 4
    assert "audio_feature.h5\tmissing\t\tdownload drive.google.com/" in out
    assert err == f"error: {folder}: not ready for ave: audio_feature.h5 (missing); see what to do above\n"


def test_files_of_the_weak_setting_may_be_missing(avel: Avel, folder: Path) -> None:
    (folder / "visual_feature_noisy.h5").unlink()
    code, out, _ = avel("data", "check", "ave", str(folder), "--json")
    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 0
    assert findings["visual_feature_noisy.h5"]["state"] == "missing"
    assert findings["visual_feature_noisy.h5"]["needed"] is False
    assert findings["Annotations.txt"]["state"] == "ok"


@pytest.mark.parametrize("dataset", CHECKED)
def test_an_empty_folder_is_no_data_set(avel: Avel, tmp_path: Path, dataset: str) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = avel("data", "check", dataset, "empty")
    assert code == 4 and "missing" in out and err.count("\n") == 1


def test_unknown_data_sets_and_folders_are_refused(avel: Avel) -> None:
    assert avel("data", "check", "imagenet", ".")[0] == 2
    assert avel("data", "check", "ave", "nowhere")[0] == 2
