"""AVE as a data set to train on and to measure on: its splits, features and reported figures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from avel_cli.datasets.ave import AVE, Split, check, load_splits
from avel_cli.datasets.ave_files import ANNOTATIONS
from avel_cli.datasets.ave_reported import REPORTED
from avel_cli.datasets.base import DataSet, Request
from avel_cli.errors import UsageError
from avel_cli.hub.weights_file import sha256
from avel_cli.localizers.base import Localizer, Supervision
from avel_cli.tasks.base import Data

WIDTHS = (  # of the encoders that make features like AVE's, of sound and of picture
    {"vggish": 128, "cnn14": 2048, "starter-sound": 1280},
    {"vgg19": 512, "vgg19-torchvision": 512, "resnet50": 2048, "efficientnet-lite0": 1280},
)


@dataclass(frozen=True)
class Options:
    """How AVE is used.

    Attributes:
        supervision: `weak` adds the published background clips to `train`, and stands beside weak figures.
    """

    supervision: Supervision = "full"


def open_ave(request: Request) -> Data:
    """The splits of AVE with features in the published layout.

    Raises:
        SetupError: if a file is missing or wrong.
        UsageError: if the features are not of the encoders.
    """
    folder, supervision = request.folder(), request.options.supervision
    weak = supervision == "weak"
    parts: dict[Split, AVE]
    if set(request.parts) == set(get_args(Split)):
        parts = load_splits(folder, weak=weak, in_memory=request.in_memory)
    else:
        parts = {part: AVE(folder, part, in_memory=request.in_memory) for part in request.parts}
    first = next(iter(parts.values()))
    if "train" in request.parts:
        _check_encoders(request.encoders, first, folder)
    annotations = folder / ANNOTATIONS.name
    if not is_published(annotations):
        note = f"{annotations}: not the published file, so reported figures, which are of other clips, are left out"
        return replace(of_clips(parts, first.names, request.encoders), note=note)
    reported = tuple(row for row in REPORTED if row.supervision == supervision)
    return of_clips(parts, first.names, request.encoders, reported)


def is_published(annotations: Path) -> bool:
    """Whether these are AVE's own annotations, so that figures of papers are of the same clips."""
    return sha256(annotations) == ANNOTATIONS.digest


def of_clips(parts: Any, names: tuple[str, ...], encoders: tuple[str, ...], reported: tuple[Any, ...] = ()) -> Data:
    """The data of clips with one category each; attributes of the parts as those of `AVE`."""
    first = next(iter(parts.values()))
    sample = first.batch(torch.tensor([0]))
    sizes = {"audio_dim": sample.audio.shape[-1], "visual_dim": sample.visual.shape[-1]}
    found = hashlib.sha256(json.dumps([names, sample.audio.shape[1:], sample.visual.shape[1:]]).encode())
    for part in (first.labels, first.bags, first.videos):
        found.update(part.cpu().contiguous().numpy().tobytes())
    return Data(parts, tuple(names), sizes, encoders, reported=reported, digest=found.hexdigest())


def _check_encoders(encoders: tuple[str, ...], data: AVE, folder: Path) -> None:
    """Whether the features are of these encoders, which the weights will name to those who use them.

    Raises:
        UsageError: if the files name others or the features have other widths; it says what fits.
    """
    if len(encoders) != 2:
        raise UsageError(f"encoders are two, of sound and of picture, not {len(encoders)}")
    fitting = []
    for name, said, width, known in zip(
        encoders, data.encoders, (data.audio_dim, data.visual_dim), WIDTHS, strict=True
    ):
        others = (other for other, wide in known.items() if wide == width)
        fitting.append(said or (name if known.get(name, width) == width else next(others, "NAME")))
    if fitting != list(encoders):
        raise UsageError(
            f"{folder}: features {data.audio_dim} and {data.visual_dim} wide are not of {' and '.join(encoders)}; "
            f"say what made them, as with --set 'encoders={json.dumps(fitting)}'"
        )


def options_for(localizer: Localizer, options: dict[str, Any]) -> dict[str, Any]:
    """What stands beside a localizer goes by its supervision."""
    return {"supervision": localizer.supervision}


DATASET = DataSet(open_ave, ("clips",), Options, check, options_for)
