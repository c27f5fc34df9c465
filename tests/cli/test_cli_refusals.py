"""What `avel train` and `avel eval` refuse on clips, each in one line."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from avel_cli.cli.main import run
from avel_cli.hub import weights_file
from avel_cli.localizers.ccln.network import CCLN, CCLNConfig
from tests.datasets.ave_folder import made_up, write_ave_folder


def refused(capsys: pytest.CaptureFixture[str], *command: str | Path) -> str:
    """The one line that such a command is answered with."""
    assert run([str(part) for part in command]) == 2
    note, _, error = capsys.readouterr().err.rpartition("error: ")
    assert error.count("\n") == 1 and (not note or "not the published file" in note)
    return error


def test_ones_own_videos_have_no_lists_for_cross_modal_localization(tmp_path, capsys):
    command = ("eval", "--dataset", tmp_path, "--model", "ccln.starter", "--task", "cross-modal", "-o", tmp_path)
    assert "--task cross-modal is for AVE" in refused(capsys, *command)


@pytest.mark.parametrize("option", [("--seeds", "2"), ("--encoder", "cnn14"), ("--in-memory",)])
def test_options_that_tuning_has_no_use_for_are_refused(option, tmp_path, capsys):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text("file,start,end,label,split\na.mp4,0,1,dog,train\n")
    command = ("train", "--dataset", tmp_path, "--model", "resnet50", "-o", tmp_path, *option)
    assert f"{option[0]} is not for resnet50" in refused(capsys, *command)


def test_weights_for_other_labels_are_not_evaluated(tmp_path, capsys):
    folder = write_ave_folder(tmp_path / "ave", made_up(5, 3))
    network = CCLN(CCLNConfig(num_classes=3, d_model=16))
    header = {"kind": "localizer", "name": "ccln.ave", "network": "ccln", "config": asdict(network.config)}
    header |= {"labels": ["x", "y", "z"], "encoders": [], "threshold": 0.5, "min_score": 0, "description": ""}
    header |= {"grid": {"start": 0, "stride": 1, "window": 1}, "licence": "", "figures": {}}
    weights = tmp_path / "x.safetensors"
    weights_file.save(weights, network.state_dict(), header)
    command = ("eval", "--dataset", "ave", "-m", weights, "--data", folder, "-o", tmp_path)
    assert "knows other labels than the data: label 1 is 'x' there" in refused(capsys, *command)
