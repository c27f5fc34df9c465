"""Weights of CCLN on AVE, asked where in one modality the event of the other is. CCLN is a reconstruction.

AVE is split twice: once for localization, once for cross-modal localization. Weights are scored on the test clips of
the lists that they learnt from, and on no others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from avel_cli import localizers
from avel_cli.datasets.ave import Annotations, Split, read_annotations, read_split
from avel_cli.datasets.ave_files import ANNOTATIONS, AUDIO_FEATURES, VISUAL_FEATURES, Rows, require
from avel_cli.datasets.ave_matching import read_match_split
from avel_cli.errors import UsageError
from avel_cli.hub import weights_file
from avel_cli.localizers.ccln.branch import BRANCH, CrossModalBranch, CrossModalConfig
from avel_cli.localizers.ccln.network import CCLN
from avel_cli.metrics.matching import (
    CrossModalAccuracy,
    CrossModalFigures,
    Lists,
    askable,
    cross_modal_accuracy,
    overlap,
    position_baselines,
)
from avel_cli.pipeline import choose_device
from avel_cli.tasks.matching import on_cpu

TOGETHER = 64  # clips whose features are read at once


def check_lists(weights: Path, folder: Path, lists: Lists) -> None:
    """Whether these weights may be scored on the test clips of these lists.

    Raises:
        UsageError: if they learnt from the other lists, which share clips with those, or not from AVE.
        ModelError: if it is no weights file.
        SetupError: if the annotations or a list are missing.
    """
    learnt = lists_of(
        weights_file.read_header(weights), Annotations(read_annotations(folder / ANNOTATIONS.name)).labels
    )
    if learnt == lists:
        return
    if learnt is None:
        models = "ccln-branch" if lists == "cross-modal localization" else "cace-net or ccln"
        raise UsageError(f"{weights}: did not learn from AVE; train {models} with avel train --dataset ave")
    trained, scored = _read_list(folder, learnt, "train"), _read_list(folder, lists, "test")
    task = {"localization": "--task full or weak", "cross-modal localization": "--task cross-modal"}[learnt]
    raise UsageError(
        f"{weights}: learnt from the lists of {learnt}, which have {overlap(trained, scored)} of the {len(scored)} "
        f"test clips of {lists}; score it with {task}"
    )


def lists_of(header: dict[str, Any], categories: Sequence[str]) -> Lists | None:
    """The lists of AVE that weights with this header learnt from; None if they did not learn from AVE.

    CCLN's branch is trained on AVE alone. Others say so in their name, or have AVE's categories in their order.
    """
    if header["network"] == BRANCH:
        return "cross-modal localization"
    named = re.search(r"\bave\b", header["name"]) is not None
    return "localization" if named or list(header["labels"]) == list(categories) else None


def evaluate_cross_modal(
    weights: Path,
    folder: Path,
    *,
    lists: Lists = "cross-modal localization",
    alone: bool = True,
    device: str = "auto",
) -> CrossModalFigures:
    """A2V and V2A of weights on AVE's test clips, with the baselines of position.

    Args:
        weights: of CCLN's branch, trained by itself for this task; or of the whole CCLN, for `lists="localization"`:
            then on the clips of the ordinary test list that are part event, part background (published: 141).
        folder: where AVE's annotations, features and lists lie.
        lists: whose test clips.
        alone: embed each segment by itself, as figures to be reported should be; else as the network was trained.
        device: see `Detector`.

    Raises:
        UsageError: if the weights learnt from the other lists or other data, have no branch, or are for other features.
        ModelError: if it is no weights file.
        SetupError: if a file of AVE is missing or wrong, or the device is not there.
    """
    check_lists(weights, folder, lists)
    network = _network(weights)
    annotations = Annotations(read_annotations(folder / ANNOTATIONS.name))
    rows = _read_list(folder, lists, "test")
    rows = rows[askable(annotations.events[rows])]
    count = len(annotations.clips)
    audio, visual = (Rows([(require(folder, file, count), file.key)]) for file in (AUDIO_FEATURES, VISUAL_FEATURES))
    _check_widths(weights, network.config, audio, visual)
    network.to(choose_device(device))
    embeds = [on_cpu(network, embed, alone) for embed in (network.embed_audio, network.embed_visual)]
    a2v = v2a = 0.0
    for some in rows.split(TOGETHER):
        part = cross_modal_accuracy(audio.read(some), visual.read(some), annotations.events[some], *embeds)
        a2v, v2a = a2v + part.a2v * len(some), v2a + part.v2a * len(some)
    accuracy = CrossModalAccuracy(a2v / len(rows), v2a / len(rows), len(rows))
    return CrossModalFigures(lists, alone, accuracy, position_baselines(annotations.events[rows]))


def _read_list(folder: Path, lists: Lists, split: Split) -> Tensor:
    clips = len(read_annotations(folder / ANNOTATIONS.name))
    return (read_split if lists == "localization" else read_match_split)(folder, split, clips)


def _network(weights: Path) -> CCLN | CrossModalBranch:
    if weights_file.read_header(weights)["network"] == BRANCH:
        branch = CrossModalBranch(weights_file.config(CrossModalConfig, weights))
        weights_file.load_into(branch, weights)
        return branch.eval().requires_grad_(False)
    network = localizers.load(weights)
    if not isinstance(network, CCLN) or not network.config.wccl:
        raise UsageError(
            f"{weights}: has no space in which sound and picture can be compared; that needs CCLN's branch"
        )
    return network


def _check_widths(weights: Path, config: Any, audio: Rows, visual: Rows) -> None:
    here, wanted = (audio.row_shape[-1], visual.row_shape[-1]), (config.audio_dim, config.visual_dim)
    if here != wanted:
        raise UsageError(
            f"{weights}: is for sound features {wanted[0]} wide and pictures {wanted[1]} wide; "
            f"the data has {here[0]} and {here[1]}"
        )
