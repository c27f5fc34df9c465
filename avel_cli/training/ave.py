"""Training on clips of ten segments with one category each: AVE, and one's own videos cut like it.

The schedule of CACE-Net is that of its published code. One thing differs on purpose: the order of the clips follows
from the seed and the epoch alone, so that a resumed run sees the same batches; the published order cannot be had
without the published code's way through the random generator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from avel_cli import localizers, recipes
from avel_cli.datasets.ave import AVESample
from avel_cli.hub import weights_file
from avel_cli.localizers.cace_net.loss import cace_net_loss, labels_from_one_hot
from avel_cli.localizers.cace_net.network import CACENet
from avel_cli.localizers.ccln.loss import CCLNWeights, bag_loss, ccln_loss, weak_ccln_loss
from avel_cli.timeline.grid import Grid
from avel_cli.training.loop import Schedule, best_file, fit
from avel_cli.training.processes import share, team, whole
from avel_cli.training.seeds import seeded

Output = TypeVar("Output", bound=tuple[Any, ...])
Forward = Callable[[Tensor, Tensor], Any]  # features of clips → the output of a network
Terms = dict[str, Tensor]


class Clips(Protocol):
    """Clips with their features; attributes as those of `datasets.ave.AVE`."""

    names: tuple[str, ...]
    labels: Tensor
    bags: Tensor
    videos: Tensor

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, index: Tensor) -> AVESample:
        """Some of them, stacked."""
        ...


@dataclass(frozen=True)
class AVERecipe:
    """How a localizer of clips is trained.

    Attributes:
        network: which one.
        task: `weak` knows the category of a clip only, not its segments.
        model: sizes and switches of the network; the feature and class counts are filled in.
        encoders: that made the features of sound and picture, for those who use the weights.
        select: the split that chooses the epoch: `val`, or `test`, which is what the literature does.
        contrastive_weight: of CACE-Net's contrastive term.
        contrastive_from: part of the run after which contrast and the enhanced event head of CACE-Net begin, and with
            weak supervision FEE of CCLN (published: 1/8).
        skip_empty: leave clips without an event out of the losses of clips; as published they count as category 0.
        ccln: weights of CCLN's terms.
        threshold: event probability, and `min_score`: event times class probability, that a segment must exceed in
            `avel detect`.
    """

    name: str
    description: str
    licence: str
    schedule: Schedule
    network: Literal["cace-net", "ccln"] = "cace-net"
    task: Literal["full", "weak"] = "full"
    seed: int = 3917
    select: Literal["val", "test"] = "val"
    encoders: tuple[str, ...] = ("vggish", "vgg19")
    contrastive_weight: float = 1.0
    contrastive_from: float = 0.125
    skip_empty: bool = False
    ccln: CCLNWeights = field(default_factory=CCLNWeights)
    threshold: float = 0.5
    min_score: float = 0.0
    model: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config(128, 512, 28)  # a wrong switch should be said before data is read
        if len(self.encoders) != 2:
            raise ValueError("encoders are two, of sound and of picture")

    @property
    def localizer(self) -> str:
        """The network's name in `localizers`."""
        return "cace-net-weak" if (self.network, self.task) == ("cace-net", "weak") else self.network

    def config(self, audio_dim: int, visual_dim: int, num_classes: int) -> Any:
        """The network's configuration for these features and so many categories."""
        values = {**self.model, "audio_dim": audio_dim, "visual_dim": visual_dim, "num_classes": num_classes}
        if self.network == "ccln":
            values["task"] = self.task
        kind = localizers.localizer_class(self.localizer)
        return recipes.build(getattr(kind, "Config"), values, "model.")  # noqa: B009

    @property
    def selection(self) -> str:
        """How the epoch is chosen, in words that go with every figure."""
        if self.select == "val":
            return "epoch chosen on val"
        return "epoch chosen on TEST, as in the literature: figures on test are those of the luckiest epoch"


class Batch(NamedTuple):
    """A batch, of which this process has the features of its share only.

    Attributes:
        audio: `[b, 10, D]`.
        visual: `[b, 10, H, W, D]`.
        noise: `[b, 10, d_model]`, standard normal.
        labels: `[B, 10]` class indices.
        categories: `[B]`, the number of categories for none.
        videos: `[B]`.
    """

    audio: Tensor
    visual: Tensor
    noise: Tensor
    labels: Tensor
    categories: Tensor
    videos: Tensor


class Batches:
    """The batches of a run by step, the next one being read while the network works."""

    def __init__(self, clips: Clips, recipe: AVERecipe, width: int) -> None:
        """`width` is that of the noise."""
        self.clips, self.recipe, self.width = clips, recipe, width
        self.epoch = -(-len(clips) // recipe.schedule.batch)  # steps; the last, smaller batch is one
        self._reader = ThreadPoolExecutor(1)
        self._ahead: dict[int, Future[AVESample]] = {}

    def rows(self, step: int) -> Tensor:
        """Which clips are in the batch: each epoch goes through all, in an order of its own."""
        epoch, place = divmod(step, self.epoch)
        order = torch.randperm(len(self.clips), generator=seeded(self.recipe.seed, epoch))
        batch: Tensor = order.split(self.recipe.schedule.batch)[place]
        return batch

    def __call__(self, step: int) -> Batch:
        """The batch of this step."""
        for wanted in (step, step + 1):
            if wanted not in self._ahead:
                self._ahead[wanted] = self._reader.submit(self.clips.batch, share(self.rows(wanted)))
        sample, rows = self._ahead.pop(step).result(), self.rows(step)
        noise = torch.randn(len(rows), sample.audio.shape[1], self.width, generator=seeded(self.recipe.seed, step))
        return Batch(
            sample.audio,
            sample.visual,
            noise[share(torch.arange(len(rows)))],
            labels_from_one_hot(self.clips.labels[rows]),
            self.clips.bags[rows].argmax(dim=-1),
            self.clips.videos[rows],
        )


class Trained(NamedTuple):
    """A network on the CPU in evaluation mode, the epoch that it is from, counted from 1, and its score, if any."""

    model: nn.Module
    epoch: float
    score: float | None


def train(
    recipe: AVERecipe,
    clips: Clips,
    out: Path,
    *,
    score: Callable[[Forward], float] | None = None,
    resume: bool = False,
) -> Trained:
    """Train the recipe's network.

    Args:
        recipe: what to train, and how.
        clips: what to learn from.
        out: folder for checkpoints and tables.
        score: of a network after each epoch, higher is better; the first best epoch is returned, else the last.
        resume: go on from the last checkpoint in `out`.
    """
    torch.manual_seed(recipe.seed)
    sample = clips.batch(torch.tensor([0]))
    kind = localizers.localizer_class(recipe.localizer)
    config = recipe.config(sample.audio.shape[-1], sample.visual.shape[-1], len(clips.names))
    model = kind(config)
    batches = Batches(clips, recipe, config.d_model)
    schedule = recipe.schedule.in_steps(batches.epoch)
    begin = round(recipe.contrastive_from * schedule.steps)
    late = False

    def loss_at(step: int) -> Terms:
        nonlocal late
        late = step >= begin
        return terms(model, on_device(batches(step), model), recipe, late=late)

    name = f"{recipe.name}-seed{recipe.seed}"
    average = fit(
        model,
        loss_at,
        schedule,
        out,
        name=name,
        recipe=asdict(recipe),
        data=digest(clips, sample),
        resume=resume,
        every=batches.epoch,
        score=None if score is None else lambda network: score(forward(network, enhance=late)),
        scored=f"score_{recipe.select}",
    )
    best: dict[str, Any] = {"step": schedule.steps, "score": None}
    if score is not None:
        best = torch.load(best_file(out, name), weights_only=True, mmap=True)
    if best["step"] <= begin:
        _without_contrast(average)
    return Trained(average, best["step"] / batches.epoch, best["score"])


def digest(clips: Clips, sample: AVESample) -> str:
    """Tells data apart: names, labels, videos and order of the clips, and the widths of the features of a `sample`."""
    words = json.dumps([clips.names, sample.audio.shape[1:], sample.visual.shape[1:]])
    found = hashlib.sha256(words.encode())
    for part in (clips.labels, clips.bags, clips.videos):
        found.update(part.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def forward(network: nn.Module, *, enhance: bool = True) -> Forward:
    """The network for features on any device; without `enhance` as in the first part of CACE-Net's training."""
    like = next(network.parameters())
    switches = {"enhance": enhance} if isinstance(network, CACENet) else {}
    return lambda audio, visual: network(audio.to(like), visual.to(like), **switches)


def on_device(batch: Batch, model: nn.Module) -> Batch:
    """The batch where the model is, its features with the model's precision."""
    like = next(model.parameters())
    return Batch(*(part.to(like) if part.is_floating_point() else part.to(like.device) for part in batch))


def terms(model: nn.Module, batch: Batch, recipe: AVERecipe, *, late: bool) -> Terms:
    """The terms of the loss of a batch, and their `total`; `late` once contrast has begun."""
    if recipe.localizer == "cace-net":
        output = _whole(model(batch.audio, batch.visual, enhance=late, noise=batch.noise), batch)
        weight = recipe.contrastive_weight if late and output.q is not None else 0.0
        return cace_net_loss(output, batch.labels, weight, skip_empty=recipe.skip_empty)._asdict()
    output = _whole(model(batch.audio, batch.visual), batch)
    if recipe.localizer == "cace-net-weak":
        return {"total": bag_loss(output.clip_logits, batch.categories)}
    if recipe.task == "full":
        loss = ccln_loss(output, batch.labels, recipe.ccln, videos=batch.videos, skip_empty=recipe.skip_empty)
    else:
        weights = recipe.ccln if late else replace(recipe.ccln, fee=0.0)
        loss = weak_ccln_loss(output, batch.categories, weights, videos=batch.videos)
    return loss._asdict()


def _whole(output: Output, batch: Batch) -> Output:
    """What all processes made of their shares, at least in float32: bfloat16 will not do for losses."""

    def together(part: Tensor | None) -> Tensor | None:
        if part is None:
            return None
        return whole(part.float() if part.dtype == torch.bfloat16 else part, len(batch.labels))

    return type(output)(*map(together, output))  # type: ignore[arg-type]


def _without_contrast(model: nn.Module) -> None:
    """Take away what an early epoch has not learnt to use, so that the network answers as it did when it was chosen."""
    if isinstance(model, CACENet):
        model.contrast, model.config = None, replace(model.config, contrastive=False)


def save(trained: Trained, recipe: AVERecipe, path: Path, labels: tuple[str, ...], figures: dict[str, Any]) -> None:
    """Write the weights with everything that is needed to use them, in float32."""
    config: Any = trained.model.config
    header = {
        "kind": "localizer",
        "name": recipe.name,
        "network": recipe.localizer,
        "description": recipe.description,
        "licence": recipe.licence,
        "config": asdict(config),
        "labels": list(labels),
        "grid": asdict(Grid()),
        "encoders": list(recipe.encoders),
        "threshold": recipe.threshold,
        "min_score": recipe.min_score,
        "recipe": asdict(recipe),
        "selection": recipe.selection,
        "figures": figures,
    }
    weights_file.save(path, trained.model.state_dict(), header, torch.float32)


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    first: bool = team().is_main_process
    return first
