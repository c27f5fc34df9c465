"""Cross-modal localization of weights on AVE: each on its own lists, position alone beside."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import h5py
import pytest
import torch

from avel_cli.datasets.ave import Annotations
from avel_cli.errors import UsageError
from avel_cli.evaluation.cross_modal_ave import check_lists, evaluate_cross_modal, lists_of
from avel_cli.hub import registry, weights_file
from avel_cli.localizers.ccln.branch import BRANCH, CrossModalBranch, CrossModalConfig
from avel_cli.localizers.ccln.network import CCLN, CCLNConfig
from avel_cli.metrics.matching import CrossModalAccuracy, cross_modal_accuracy, position_baselines
from tests.datasets.ave_folder import made_up, split_evenly, write_ave_folder

CLIPS = made_up(2, categories=7)
MATCH = {"train": [0, 4, 9], "val": [1], "test": [2, 3, 5, 6, 7, 8, 10, 11, 12, 13]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = write_ave_folder(tmp_path_factory.mktemp("AVE"), CLIPS)
    for split, rows in MATCH.items():
        with h5py.File(folder / f"{split}_order_match.h5", "w") as stream:
            stream["order"] = rows
    return folder


def write(path: Path, network: CCLN | CrossModalBranch, name: str) -> Path:
    header = {
        "kind": "localizer",
        "name": f"{name}.ave",
        "network": name,
        "config": asdict(network.config),
        "encoders": [],
    }
    header |= {"labels": [str(label) for label in range(3)] if name == "ccln" else [], "grid": {}, "threshold": 0.5}
    weights_file.save(
        path, network.state_dict(), {**header, "min_score": 0, "description": "", "licence": "", "figures": {}}
    )
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = CCLN(CCLNConfig(num_classes=3, d_model=16))
    return write(tmp_path_factory.mktemp("weights") / "ccln.safetensors", network, "ccln")


@pytest.fixture(scope="module")
def branch(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = CrossModalBranch(CrossModalConfig(d_model=16))
    return write(tmp_path_factory.mktemp("weights") / "branch.safetensors", network, BRANCH)


def test_the_branch_is_scored_on_the_lists_of_its_task_with_position_beside(folder, branch):
    figures = evaluate_cross_modal(branch, folder, device="cpu")
    events = Annotations(tuple(CLIPS)).events[MATCH["test"]]
    assert figures.baselines == position_baselines(events)
    assert figures.accuracy.clips == int((~events.all(dim=1)).sum()) < len(events)
    names = [*figures.cells(), *figures.reference]
    assert names[:3] == ["A2V", "V2A", "mean of both"]
    assert names[3:] == [f"position alone: {name}" for name in ("random", "first", "last")]
    assert figures.to_dict()["note"].startswith("CCLN as reconstructed")


def test_the_whole_network_is_scored_on_the_ordinary_list(folder, whole):
    figures = evaluate_cross_modal(whole, folder, lists="localization", device="cpu")
    rows = split_evenly(len(CLIPS))["test"]
    assert figures.accuracy.clips <= len(rows)
    assert figures.baselines == position_baselines(Annotations(tuple(CLIPS)).events[rows])


def test_the_figures_are_those_of_the_metric_on_all_clips_at_once(folder, whole, monkeypatch):
    monkeypatch.setattr("avel_cli.evaluation.cross_modal_ave.TOGETHER", 2)
    in_parts = evaluate_cross_modal(whole, folder, lists="localization", alone=False, device="cpu").accuracy
    network = CCLN(CCLNConfig(num_classes=3, d_model=16)).eval()
    weights_file.load_into(network, whole)
    rows = split_evenly(len(CLIPS))["test"]
    audio, visual = (
        torch.from_numpy(h5py.File(folder / f"{name}_feature.h5")["avadataset"][rows]).float()
        for name in ("audio", "visual")
    )
    events = Annotations(tuple(CLIPS)).events[rows]
    at_once = cross_modal_accuracy(audio, visual, events, network.embed_audio, network.embed_visual)
    assert in_parts == CrossModalAccuracy(pytest.approx(at_once.a2v), pytest.approx(at_once.v2a), at_once.clips)


def test_neither_kind_of_weights_is_scored_on_the_lists_of_the_other(folder, whole, branch):
    trained = set(split_evenly(len(CLIPS))["train"])
    shared = len(trained & set(MATCH["test"]))
    text = rf"learnt from the lists of localization, which have {shared} of the 10 test clips of cross-modal"
    with pytest.raises(UsageError, match=text):
        evaluate_cross_modal(whole, folder, device="cpu")
    shared = len(set(MATCH["train"]) & set(split_evenly(len(CLIPS))["test"]))
    with pytest.raises(UsageError, match=rf"have {shared} of the \d test clips of localization; .*--task cross-modal"):
        evaluate_cross_modal(branch, folder, lists="localization", device="cpu")


def test_weights_that_did_not_learn_from_ave_are_told_from_those_that_did(folder):
    starter = registry.model("ccln.starter").path
    with pytest.raises(UsageError, match=r"did not learn from AVE; train ccln-branch with avel train --dataset ave$"):
        evaluate_cross_modal(starter, folder, device="cpu")
    with pytest.raises(
        UsageError, match=r"did not learn from AVE; train cace-net or ccln with avel train --dataset ave$"
    ):
        check_lists(starter, folder, "localization")
    header = {"network": "ccln", "labels": ["bell", "horn"]}
    assert lists_of({**header, "name": "ccln.ave-weak"}, ["bark"]) == "localization"
    assert lists_of({**header, "name": "mine"}, ("bell", "horn")) == "localization"
    assert lists_of({**header, "name": "wave"}, ("horn", "bell")) is None


@pytest.mark.shared
def test_the_published_lists_share_most_of_their_clips(shared, whole, branch):
    ave = shared / "data" / "ave"
    with pytest.raises(UsageError, match="have 314 of the 402 test clips of cross-modal localization"):
        check_lists(whole, ave, "cross-modal localization")
    with pytest.raises(UsageError, match="have 323 of the 402 test clips of localization"):
        check_lists(branch, ave, "localization")
    check_lists(whole, ave, "localization")


def test_weights_for_other_features_or_without_the_branch_are_refused(folder, tmp_path):
    other = write(tmp_path / "other.safetensors", CrossModalBranch(CrossModalConfig(16, 20, 16)), BRANCH)
    with pytest.raises(
        UsageError, match="is for sound features 16 wide and pictures 20 wide; the data has 128 and 512"
    ):
        evaluate_cross_modal(other, folder, device="cpu")
    config = CCLNConfig(num_classes=3, d_model=16, wccl=False)
    without = write(tmp_path / "without.safetensors", CCLN(config), "ccln")
    with pytest.raises(UsageError, match="has no space in which sound and picture can be compared"):
        evaluate_cross_modal(without, folder, lists="localization", device="cpu")
