"""UnAV-100 as a data set to train on and to measure on: its parts, features and reported figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from avel_cli.datasets.base import DataSet, Part, Request
from avel_cli.datasets.dense import Cropping
from avel_cli.datasets.unav100 import (
    ANNOTATIONS,
    I3D,
    ONE_PEACE,
    Features,
    Split,
    check,
    find_annotations,
    is_published,
    read_annotations,
)
from avel_cli.datasets.unav100_reported import REPORTED
from avel_cli.errors import UsageError
from avel_cli.localizers.base import Localizer
from avel_cli.metrics import detection
from avel_cli.tasks.base import Data

FEATURES = {"i3d": I3D, "onepeace": ONE_PEACE}
SPLITS: dict[Part, Split] = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Options(Cropping):
    """How UnAV-100 is used.

    Attributes:
        features: which published set.
    """

    features: Literal["i3d", "onepeace"] = "onepeace"


def open_unav100(request: Request) -> Data:
    """Videos of UnAV-100 with published features.

    Raises:
        SetupError: if the annotations or features are missing or wrong.
    """
    folder, features = request.folder(), FEATURES[request.options.features]
    path = find_annotations(folder)
    annotations = read_annotations(path)
    videos = {part: annotations.of(SPLITS[part]) for part in request.parts}
    parts: dict[str, Any] = {part: Features(some, folder, features) for part, some in videos.items()}
    if request.in_memory:
        parts = {name: [part[index] for index in range(len(part))] for name, part in parts.items()}
    sizes = {
        "audio_dim": sum(width for _, width in features.audio),
        "visual_dim": sum(width for _, width in features.visual),
    }
    theirs = is_published(path)
    note = f"{path}: not the published file, so reported figures, which are of other videos, are left out"
    return Data(
        parts,
        annotations.classes,
        sizes,
        features.encoders,
        features.grid,
        truth={part: detection.annotated(some) for part, some in videos.items()},
        reported=REPORTED if theirs else (),
        baselines=detection.reference_points(videos["test"]) if request.parts == ("test",) else {},
        note="" if theirs else note,
    )


def options_for(localizer: Localizer, options: dict[str, Any]) -> dict[str, Any]:
    """The features that a network takes.

    Raises:
        UsageError: if there are none of its widths.
    """
    config = localizer.config
    for name, features in FEATURES.items():
        widths = [sum(width for _, width in parts) for parts in (features.audio, features.visual)]
        if widths == [config.audio_dim, config.visual_dim]:
            return {"features": name}
    raise UsageError(
        f"the weights take sound {config.audio_dim} and pictures {config.visual_dim} wide; no features of UnAV-100 are"
    )


DATASET = DataSet(open_unav100, ("dense",), Options, check, options_for=options_for, asset="unav100", file=ANNOTATIONS)
