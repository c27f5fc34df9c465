"""AVE for cross-modal localization: lists of its own, which split the clips anew; see `metrics.matching`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from avel_cli.datasets.ave import Annotations, Split, check, read_annotations, read_split
from avel_cli.datasets.ave_files import ANNOTATIONS, AUDIO_FEATURES, VISUAL_FEATURES, File, Rows, inspect, require
from avel_cli.datasets.base import DataSet, Request
from avel_cli.datasets.findings import Finding
from avel_cli.localizers.ccln.branch import pooled
from avel_cli.tasks.base import Data

TOGETHER = 64  # clips whose maps are in memory at once

MATCH_ORDERS = {
    split: File(f"{split}_order_match.h5", (), key="order", kind="i", digest=digest)
    for split, digest in {
        "train": "82dc6e59d79179e62e7df8dcb0f648c5003d5dda13262ef10bcb74acc8016bb2",
        "val": "ad336b6302cbace06c0ff4434112abb1b0353cb12f246d81ea94b7cbbfbc648d",
        "test": "5c9258d60d0fd6e177c50dfaa5813cf8b91748787703a522d8082d90bf1f453c",
    }.items()
}


def read_match_split(folder: Path, split: Split, clips: int) -> Tensor:
    """Which of the clips of AVE are in the split of cross-modal localization, `[n]` int64, in the published order.

    Raises:
        SetupError: if the file is missing or names a clip twice or one that does not exist.
    """
    return read_split(folder, split, clips, MATCH_ORDERS)


class Pairs(NamedTuple):
    """Clips whose sound and picture go together.

    Attributes:
        audio: `[N, T, D]`.
        visual: `[N, T, C]`, means over positions.
        labels: class indices `[N, T]`, `num_classes` for background.
        videos: `[N]`, a number for each video.
        num_classes: categories.
    """

    audio: Tensor
    visual: Tensor
    labels: Tensor
    videos: Tensor
    num_classes: int


def read_pairs(folder: Path, annotations: Annotations, rows: Tensor) -> Pairs:
    """Some clips of AVE, by their row.

    Raises:
        SetupError: if the features are missing or wrong.
    """
    count = len(annotations.clips)
    audio, visual = (Rows([(require(folder, file, count), file.key)]) for file in (AUDIO_FEATURES, VISUAL_FEATURES))
    means = torch.cat([pooled(visual.read(some)) for some in rows.split(TOGETHER)])
    of_rows = annotations.segments[rows], annotations.videos[rows]
    return Pairs(audio.read(rows), means, *of_rows, len(annotations.labels))


def open_pairs(request: Request) -> Data:
    """The clips of the lists for cross-modal localization.

    Raises:
        SetupError: if a file is missing or wrong.
    """
    folder = request.folder()
    annotations = Annotations(read_annotations(folder / ANNOTATIONS.name))
    rows = {part: read_match_split(folder, part, len(annotations.clips)) for part in request.parts}
    parts = {part: read_pairs(folder, annotations, some) for part, some in rows.items()}
    first = next(iter(parts.values()))
    sizes = {"audio_dim": first.audio.shape[-1], "visual_dim": first.visual.shape[-1]}
    return Data(parts, (), sizes, request.encoders)


def check_lists(folder: Path) -> list[Finding]:
    """What is in the features folder, the lists for this task among it."""
    return check(folder) + [inspect(folder, file, None) for file in MATCH_ORDERS.values()]


DATASET = DataSet(open_pairs, ("matching",), check=check_lists)
