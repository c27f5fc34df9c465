"""Training of CCLN's branch by itself, for cross-modal localization on AVE. How the paper does it is not known.

Pairs of segments are drawn together or apart as AVE-ECCV18 does it; the contrast of clips across modalities is added.
Frames come as means over their positions, as there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avel_cli import recipes
from avel_cli.datasets.ave import Annotations, read_annotations
from avel_cli.datasets.ave_files import ANNOTATIONS, AUDIO_FEATURES, VISUAL_FEATURES, Rows, require
from avel_cli.hub import weights_file
from avel_cli.localizers.ccln.branch import BRANCH, CrossModalBranch, CrossModalConfig, CrossModalOutput, pooled
from avel_cli.localizers.ccln.loss import CCLNWeights, cross_modal_loss
from avel_cli.timeline.grid import Grid
from avel_cli.training.loop import Schedule, fit
from avel_cli.training.processes import team
from avel_cli.training.seeds import seeded

TOGETHER = 64  # clips whose maps are in memory at once


@dataclass(frozen=True)
class CrossModalRecipe:
    """How the branch is trained.

    Attributes:
        encoders: that made the features of sound and picture.
        ccln: weights of the loss's terms; `matching_wccl`, `tau` and `scale_by_tau` are used.
        model: sizes of the network; the feature widths are filled in.
    """

    name: str
    description: str
    licence: str
    schedule: Schedule
    seed: int = 1
    encoders: tuple[str, ...] = ("vggish", "vgg19")
    ccln: CCLNWeights = field(default_factory=CCLNWeights)
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config(128, 512)  # a wrong switch should be said before data is read

    def config(self, audio_dim: int, visual_dim: int) -> CrossModalConfig:
        """The network's configuration for features of these widths."""
        values = {**self.model, "audio_dim": audio_dim, "visual_dim": visual_dim}
        return recipes.build(CrossModalConfig, values, "model.")


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


def read_pairs(folder: Path, rows: Tensor) -> Pairs:
    """Some clips of AVE, by their row.

    Raises:
        SetupError: if the annotations or features are missing or wrong.
    """
    annotations = Annotations(read_annotations(folder / ANNOTATIONS.name))
    count = len(annotations.clips)
    audio, visual = (Rows([(require(folder, file, count), file.key)]) for file in (AUDIO_FEATURES, VISUAL_FEATURES))
    means = torch.cat([pooled(visual.read(some)) for some in rows.split(TOGETHER)])
    of_rows = annotations.segments[rows], annotations.videos[rows]
    return Pairs(audio.read(rows), means, *of_rows, len(annotations.labels))


def train(recipe: CrossModalRecipe, pairs: Pairs, out: Path, *, resume: bool = False) -> CrossModalBranch:
    """Train the branch; the last weights count, as in AVE-ECCV18.

    Args:
        recipe: what to train, and how.
        pairs: what to learn from.
        out: folder for checkpoints and tables.
        resume: go on from the last checkpoint in `out`.
    """
    torch.manual_seed(recipe.seed)
    model = CrossModalBranch(recipe.config(pairs.audio.shape[-1], pairs.visual.shape[-1]))
    device = team().device
    batch = recipe.schedule.batch
    epoch = -(-len(pairs.labels) // batch)

    def loss_at(step: int) -> Tensor:
        number, place = divmod(step, epoch)
        order = torch.randperm(len(pairs.labels), generator=seeded(recipe.seed, number))
        rows = order.split(batch)[place]
        audio, visual, labels, videos = (part[rows].to(device) for part in pairs[:4])
        output = CrossModalOutput(*(part.float() for part in model(audio, visual)))
        return cross_modal_loss(output, labels, pairs.num_classes, videos, recipe.ccln)

    schedule = recipe.schedule.in_steps(epoch)
    name = f"{recipe.name}-seed{recipe.seed}"
    average = fit(model, loss_at, schedule, out, name=name, recipe=asdict(recipe), resume=resume)
    assert isinstance(average, CrossModalBranch)
    return average


def save(model: CrossModalBranch, recipe: CrossModalRecipe, path: Path, figures: dict[str, Any]) -> None:
    """Write the weights in float32; they are no localizer by themselves and have no labels."""
    header = {
        "kind": "localizer",
        "name": recipe.name,
        "network": BRANCH,
        "description": recipe.description,
        "licence": recipe.licence,
        "config": asdict(model.config),
        "labels": [],
        "grid": asdict(Grid()),
        "encoders": list(recipe.encoders),
        "threshold": 0.5,
        "min_score": 0.0,
        "recipe": asdict(recipe),
        "figures": figures,
    }
    weights_file.save(path, model.state_dict(), header, torch.float32)
