"""Targeted fine-tuning (CACE-Net, arXiv 2408.01952, §3.4): a picture encoder learns to match a frozen sound encoder.

Pictures and sound of one video belong together, those of different videos of a batch do not (InfoNCE, eq. 9). The
paper tunes ResNet-50 against Cnn14. The authors' code, at its only release, tunes VGG19 with batch normalisation
against VGGish; our `vgg19`, like AVE's features, has no batch normalisation, so that pair is near to their code and
not the same. Where paper and code differ, the code is followed: see `FinetuneRecipe`.

Under `torchrun` or `accelerate launch` the batch is shared out to the processes and the features are gathered, so
every video is held against the whole batch; the authors held it against those on the same GPU. Batch normalisation,
which is in training mode as in their code, keeps to what is on one GPU.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from avel_cli import encoders, published, recipes
from avel_cli.encoders.frame_maps import FrameMaps
from avel_cli.errors import UsageError
from avel_cli.hub import weights_file
from avel_cli.training import state_file
from avel_cli.training.finetune_data import PairMaker, Pairs, collect
from avel_cli.training.processes import accelerator, average_gradients, gather, shard
from avel_cli.training.record import Record
from avel_cli.training.seeds import seeded
from avel_cli.writers.files import make_folder

log = logging.getLogger("avel")
WORKERS = 4  # processes that read ahead for a GPU


@dataclass(frozen=True)
class FinetuneRecipe:
    """How a picture encoder is tuned.

    Attributes:
        picture: the encoder that learns.
        sound: the frozen encoder that it learns from.
        direction: `both` also looks for the picture of each sound, as the authors' code does; `one` only for the sound
            of each picture, which is the paper's eq. 9.
        dim: width of the joint space.
        tau: temperature; the code's value (its help text names 0.07).
        batch: videos, in all processes together.
        drops: epochs from which the rate is a tenth of what it was.
        precision: of the encoder; the loss is always computed in float32.
    """

    picture: Literal["resnet50", "vgg19"]
    sound: Literal["cnn14", "vggish"]
    direction: Literal["both", "one"] = "both"
    dim: int = 128
    tau: float = 0.2
    epochs: int = 50
    batch: int = 128
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    drops: tuple[int, ...] = (15, 30)
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 1

    def __post_init__(self) -> None:
        if self.batch < 2 or self.epochs < 1:
            raise ValueError("a batch has at least 2 videos, and there is at least 1 epoch")

    def rate(self, epoch: int) -> float:
        """Learning rate in `epoch`, counted from 0."""
        return self.lr * 0.1 ** sum(epoch >= drop for drop in self.drops)


class Matcher(nn.Module):
    """Pictures and sound in a joint space of unit vectors: one linear layer each, without bias."""

    def __init__(self, encoder: FrameMaps, sound_dim: int, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.seen = nn.Linear(encoder.shape[-1], dim, bias=False)
        self.heard = nn.Linear(sound_dim, dim, bias=False)

    def forward(self, frames: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures and sound as float32 `[B, dim]` each.

        Args:
            frames: uint8 `[B, n, H, W, 3]`; their maps are averaged, over frames and places.
            sound: features `[B, D]`.
        """
        maps = self.encoder.features(self.encoder.picture(frames.flatten(0, 1)))
        seen = maps.unflatten(0, frames.shape[:2]).mean(dim=(1, 3, 4))
        return F.normalize(self.seen(seen).float(), dim=1), F.normalize(self.heard(sound).float(), dim=1)


def info_nce(seen: Tensor, heard: Tensor, tau: float, direction: Literal["both", "one"] = "both") -> Tensor:
    """InfoNCE of unit vectors `[B, dim]`, row by row a pair: a scalar from 0 up, `log(B)` where nothing is learnt.

    Paper, eq. 9, is direction `one`: each picture among all sounds. `both` is the mean with each sound among all
    pictures.
    """
    logits = seen @ heard.mT / tau
    own = torch.arange(len(logits), device=logits.device)
    loss = F.cross_entropy(logits, own)
    return (loss + F.cross_entropy(logits.mT, own)) / 2 if direction == "both" else loss


@torch.no_grad()
def matching_accuracy(seen: Tensor, heard: Tensor) -> Tensor:
    """Share of the pictures `[B, dim]` to which their own sound is nearest, 0..1; `1 / B` by chance."""
    nearest = (seen @ heard.mT).argmax(dim=1)
    return (nearest == torch.arange(len(seen), device=seen.device)).float().mean()


def run(
    recipe: FinetuneRecipe,
    videos: Sequence[Path],
    out: Path,
    *,
    offline: bool = False,
    weights: Mapping[str, Path] | None = None,
    resume: bool = False,
    say: Callable[[str], None] = log.info,
) -> Path:
    """Tune the picture encoder of the recipe on videos, and return the weights file that `avel extract` takes.

    Args:
        recipe: how.
        videos: each is one example; see `finetune_data.ave_videos` and `own_videos`.
        out: folder for pairs, checkpoint, log (`*.csv`) and weights.
        offline: open no connection.
        weights: files to use in place of what the catalogue names, by encoder.
        resume: go on from the last whole epoch in `out`.
        say: is told what is being done, a line at a time.

    Raises:
        ModelError: if weights are missing or damaged, or cannot be fetched.
        SetupError: if the packages for training are not installed.
        UsageError: if the videos do not fill a batch, or the checkpoint is of another recipe.
    """
    here = accelerator()
    files = published.prepare([recipe.picture, recipe.sound], offline=offline, files=weights or {}, say=say)
    maker = PairMaker(recipe.picture, recipe.sound, files[recipe.sound], recipe.seed, str(here.device))
    say(f"frames and sound of {len(videos)} videos")
    made = collect(maker, videos, out / "pairs", here.process_index, here.num_processes, say)
    pairs = Pairs(_of_all(made))
    encoder: FrameMaps = encoders.load(recipe.picture, files[recipe.picture])
    tune(encoder, pairs, recipe, out, resume=resume, say=say)
    path = out / f"{recipe.picture}.finetuned.safetensors"
    if here.is_main_process:
        header = {
            "kind": "encoder",
            "name": path.stem,
            "network": recipe.picture,
            "config": asdict(encoder.config),
            "licence": weights_file.read_header(files[recipe.picture]).get("licence", ""),
            "recipe": recipes.to_dict(recipe),
            "made_from": {name: weights_file.sha256(files[name]) for name in (recipe.picture, recipe.sound)},
            "videos": len(pairs),
        }
        weights_file.save(path, encoder.state_dict(), header, torch.float32)
        say(f"weights written to {path}")
    here.wait_for_everyone()
    return path


def tune(
    encoder: FrameMaps,
    pairs: Pairs,
    recipe: FinetuneRecipe,
    out: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] = log.info,
) -> Matcher:
    """Tune `encoder` in place; returns it with its joint space, on the device that is there, in evaluation mode.

    What is drawn in an epoch depends on its number and the seed alone, so a run that was killed and resumed ends
    with the same weights as one that was not.

    Raises:
        UsageError: if the pairs do not fill a batch, the checkpoint is of another recipe, or the loss is not finite.
    """
    steps = len(pairs) // recipe.batch
    if not steps:
        raise UsageError(f"{len(pairs)} videos do not fill a batch of {recipe.batch}; --set batch to less")
    here = accelerator()
    torch.manual_seed(recipe.seed)
    model = Matcher(encoder.requires_grad_(True), len(pairs[0][1]), recipe.dim).to(here.device)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    make_folder(out)
    name = f"{recipe.picture}.finetune"
    state = _Checkpoint(out / f"{name}.checkpoint.pt", recipe, pairs)
    first = state.restore(model, optimizer) if resume else 0
    record = Record(out, name, first * steps) if here.is_main_process else None
    for epoch in range(first, recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(epoch)
        for step, terms in enumerate(_epoch(model.train(), optimizer, pairs, recipe, epoch), start=epoch * steps + 1):
            if record is not None:
                record.add(step, terms, recipe.rate(epoch))
        if record is not None:
            say(f"epoch {epoch + 1} of {recipe.epochs}, loss {record.flush(None):.4f}")
            state.save(epoch + 1, model, optimizer)
    if record is not None:
        record.close()
    return model.eval().requires_grad_(False)


def _epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, pairs: Pairs, recipe: FinetuneRecipe, epoch: int
) -> Iterator[dict[str, Tensor]]:
    """Loss and matching accuracy of each batch, once it has been learnt from; what fills no batch is dropped.

    Raises:
        UsageError: if the loss is not finite any more.
    """
    device = accelerator().device
    order = torch.randperm(len(pairs), generator=seeded(recipe.seed, epoch))
    batches = order[: len(order) - len(order) % recipe.batch].split(recipe.batch)
    mine = [shard(batch).tolist() for batch in batches]
    for frames, sound in DataLoader(pairs, batch_sampler=mine, num_workers=WORKERS if device.type == "cuda" else 0):
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            own = model(frames.to(device), sound.to(device))
        seen, heard = (gather(part, recipe.batch) for part in own)
        loss = info_nce(seen, heard, recipe.tau, recipe.direction)
        if not loss.isfinite():
            raise UsageError(f"the loss is {loss.item()}; --set lr to less than {recipe.lr}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(model.parameters())
        optimizer.step()
        yield {"total": loss, "accuracy": matching_accuracy(seen, heard)}


class _Checkpoint:
    """The state after the last whole epoch."""

    def __init__(self, path: Path, recipe: FinetuneRecipe, pairs: Pairs) -> None:
        self.path = path
        self._run = json.dumps([recipes.to_dict(recipe), [file.name for file in pairs.files]])

    def save(self, epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        state = {"run": self._run, "epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        state_file.write(self.path, state)

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Fill in both; gives the number of epochs that are done, 0 if there is no checkpoint."""
        if not self.path.is_file():
            return 0
        state = state_file.read(self.path, run=str, epoch=int, model=dict, optimizer=dict)
        if state["run"] != self._run:
            raise UsageError(
                f"{self.path}: made by another recipe or of other videos; leave out --resume, or choose another folder"
            )
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["epoch"])


def _of_all(files: list[Path]) -> list[Path]:
    """The files of all processes, sorted."""
    parts = [files] * (world := accelerator().num_processes)
    if world > 1:
        torch.distributed.all_gather_object(parts, files)
    return sorted(file for part in parts for file in part)
