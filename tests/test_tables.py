"""What README calls "to add": a part that is only registered works wherever its name is offered."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import avel_cli
from avel_cli import recipes
from avel_cli.cli.main import run
from avel_cli.datasets import DATASETS
from avel_cli.encoders import ENCODERS
from avel_cli.hub import weights_file
from avel_cli.localizers import LOCALIZERS
from avel_cli.training import defaults
from avel_cli.writers import WRITERS
from tests.made_up_parts import Joint, Loudness, LoudnessConfig, write_count

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "speakers_and_helicopter.mp4")
RECIPE = """
name = "joint.made-up"
description = "for tests"
licence = "CC0"
dataset = "made-up"
network = "joint"
encoders = ["starter-sound", "efficientnet-lite0"]

[loss]
category = 0.5

[schedule]
epochs = 2
batch = 8
precision = "fp32"
"""


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One row in each table, and a recipe beside those that ship."""
    monkeypatch.setitem(ENCODERS, "loudness", "tests.made_up_parts:Loudness")
    monkeypatch.setitem(LOCALIZERS, "joint", "tests.made_up_parts:Joint")
    monkeypatch.setitem(DATASETS, "made-up", "tests.made_up_parts:DATASET")
    monkeypatch.setitem(WRITERS, "count", write_count)
    monkeypatch.setattr(recipes, "FOLDER", shutil.copytree(recipes.FOLDER, tmp_path / "recipes"))
    (tmp_path / "recipes" / "joint.made-up.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def weights(registered: Path) -> str:
    """Weights of the encoder, as training would write them."""
    torch.manual_seed(0)
    encoder, path = Loudness(LoudnessConfig()), registered / "loudness.safetensors"
    header = {"kind": "encoder", "name": "loudness", "network": "loudness", "config": asdict(encoder.config)}
    weights_file.save(path, encoder.state_dict(), header)
    return str(path)


def test_a_localizer_and_a_data_set_are_trained_measured_and_listed(registered: Path, capsys) -> None:
    assert defaults.default("made-up", "joint") == "joint.made-up"
    report = avel_cli.train("made-up", "joint", [registered], output="runs", device="cpu")
    assert report is not None and report.rows[0][0] == "joint.made-up, seed 1"
    assert report.values["recipe"]["loss"] == {"category": 0.5}
    again = avel_cli.evaluate("made-up", "runs/joint.made-up.safetensors", [registered], output="runs", device="cpu")
    assert again.values["segment accuracy" if "segment accuracy" in again.values else "accuracy"] == pytest.approx(
        report.values["test"]["accuracy"]
    )
    assert run(["models", "show", "runs/joint.made-up.safetensors"]) == 0
    assert run(["recipes"]) == 0 and run(["recipes", "show", "joint.made-up"]) == 0
    assert run(["data", "check", "ave", "."]) == 4
    told = capsys.readouterr().out
    assert "anvil" in told and "joint.made-up\tlocalizer\tmade-up joint" in told and "category = 0.5" in told


def test_an_encoder_makes_features(registered: Path, weights: str) -> None:
    (made,) = avel_cli.extract(EXAMPLE, ["loudness"], "features", weights={"": Path(weights)}, device="cpu")
    from safetensors import safe_open

    with safe_open(made, "pt") as stream:
        features = stream.get_tensor("features")
    assert features.shape[1] == 6 and features.std() > 0


def test_a_format_is_written(registered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "avel_cli.cli.detect", raising=False)  # choices are read from the table on import
    assert run(["detect", EXAMPLE, "-f", "count", "-q", "--device", "cpu"]) == 0
    assert (registered / "speakers_and_helicopter.avel.count").read_text() == "3 events\n"


@pytest.mark.parametrize("name", LOCALIZERS)
def test_every_localizer_says_what_training_has_to_know(name: str) -> None:
    from avel_cli.localizers import localizer_class
    from avel_cli.tasks import TASKS
    from avel_cli.training.batches import BATCHES

    kind = localizer_class(name)
    assert issubclass(kind, torch.nn.Module) and kind.task in TASKS and kind.task in BATCHES
    assert kind.Loss() == kind.Loss()
    assert kind is not Joint


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_can_be_opened_or_says_what_is_missing(name: str, tmp_path: Path) -> None:
    from avel_cli.datasets import dataset
    from avel_cli.tasks import TASKS

    row = dataset(name)
    assert set(row.tasks) <= TASKS.keys()
    if row.check:
        assert any(finding.state == "missing" for finding in row.check(tmp_path))
