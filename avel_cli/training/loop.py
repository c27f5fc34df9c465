"""The one training loop: optimiser, schedule, moving average, checkpoints. It knows nothing of data or losses."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from avel_cli.errors import SetupError, UsageError
from avel_cli.training import state_file
from avel_cli.training.processes import accelerator, average_gradients
from avel_cli.training.record import Record

log = logging.getLogger("avel")


@dataclass(frozen=True)
class Schedule:
    """Optimiser, learning rate and moving average of a run.

    Attributes:
        steps: how many; where the recipe counts in epochs 0, see `in_steps`.
        epochs: how often the data is gone through; 0 where the recipe counts in steps.
        batch: clips or files in a step, of all processes together.
        lr: highest learning rate.
        optimizer: `adamw` takes weight decay apart from the gradient, `adam` as a part of it.
        weight_decay: of matrices and kernels.
        decay: after the warm-up `cosine` falls to zero, `steps` halves at each of `halve_at`.
        halve_at: in epochs where the recipe counts in these, else in steps.
        warmup: steps of linear rise.
        every: steps between two scores and checkpoints; 0 for once an epoch.
        ema: decay per step of the moving average of the weights; 0 takes the weights as they are.
        clip: largest L2 norm of the gradient.
        precision: float32, float32 with `bf16` autocast, or float64.
    """

    steps: int = 0
    epochs: int = 0
    batch: int = 64
    lr: float = 1e-3
    optimizer: Literal["adamw", "adam"] = "adamw"
    weight_decay: float = 0.02
    decay: Literal["cosine", "steps"] = "cosine"
    halve_at: tuple[int, ...] = ()
    warmup: int = 100
    every: int = 0
    ema: float = 0.998
    clip: float = 5.0
    precision: Literal["fp32", "bf16", "fp64"] = "bf16"

    def __post_init__(self) -> None:
        if bool(self.steps) == bool(self.epochs) or min(self.steps, self.epochs, self.batch - 1) < 0:
            raise ValueError("a schedule needs either steps or epochs, and a batch of 1 or more")

    def in_steps(self, epoch: int) -> Schedule:
        """The same counted in steps, for an epoch of so many."""
        halve_at = tuple(at * epoch for at in self.halve_at)
        return replace(self, steps=self.epochs * epoch, epochs=0, halve_at=halve_at) if self.epochs else self

    def rate(self, step: int) -> float:
        """Learning rate at `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.decay == "steps":
            return self.lr * 0.5 ** sum(step >= at for at in self.halve_at)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))


def fit(
    model: nn.Module,
    loss_at: Callable[[int], Tensor | Mapping[str, Tensor]],
    schedule: Schedule,
    folder: Path,
    *,
    name: str,
    recipe: dict[str, Any],
    data: str = "",
    resume: bool = False,
    every: int = 500,
    score: Callable[[nn.Module], float] | None = None,
    scored: str = "score",
) -> nn.Module:
    """Train `model` in place, on the device that is there, and return the moving average of it on the CPU.

    `loss_at(step)` draws the batch of that step by itself, from a generator seeded with the step, so that a run
    that was killed and resumed sees the same batches as one that was not. With a `score` of the average, taken `every`
    so many steps, the average that had the highest is returned.

    Of several processes each calls this; the gradients that their losses give are averaged, see `processes`. Only the
    first writes and takes scores.

    Args:
        model: what to train; in float64 afterwards where the schedule says so.
        loss_at: the loss of a step, or its terms by name with their sum as `total`.
        schedule: in steps.
        folder: for checkpoints and tables.
        name: what their files begin with.
        recipe: must be the same for a run to be resumed.
        data: a digest of what is learnt from, which must be the same too.
        resume: go on from the last checkpoint, if there is one.
        every: steps between two checkpoints.
        score: of the average, in evaluation mode; higher is better.
        scored: what the score is called in the table and in TensorBoard; it begins with `score`.

    Raises:
        UsageError: if there is a checkpoint that is not to be resumed or of another recipe or other data, or the
            loss is no longer finite.
        SetupError: if the packages for training are not installed, or the checkpoint is damaged.
    """
    checkpoint, best = folder / f"{name}.checkpoint.pt", best_file(folder, name)
    if checkpoint.is_file() and not resume:
        raise UsageError(f"{checkpoint} is there; --resume goes on with it, another folder with -o begins anew")
    here = accelerator()
    folder.mkdir(parents=True, exist_ok=True)
    model.to(here.device, torch.float64 if schedule.precision == "fp64" else None)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.AdamW
    optimizer = kind(_groups(model, schedule.weight_decay), lr=schedule.lr)
    first = _restore(checkpoint, recipe, data, model, average, optimizer) if checkpoint.is_file() else 0
    if here.process_index:  # dropout is to differ from that of the first process
        torch.manual_seed(torch.initial_seed() + here.process_index + 1000 * first)
    if not first and here.is_main_process:
        best.unlink(missing_ok=True)
    record = Record(folder, name, first, scored=scored if score else "") if here.is_main_process else None
    for step in range(first, schedule.steps):
        terms = _step(model, loss_at, step, schedule, optimizer)
        _update(average, model, min(schedule.ema, (step + 1) / (step + 10)))
        if record is None:
            continue
        record.add(step + 1, terms, schedule.rate(step))
        if (step + 1) % every == 0 or step + 1 == schedule.steps:
            _check_finite(record, name, step + 1)
            value = None if score is None else score(average)
            log.info("%s step %d of %d, loss %.4f", name, step + 1, schedule.steps, record.flush(value))
            if value is not None:
                _keep_best(best, step + 1, value, average)
            _save(checkpoint, step + 1, recipe, data, model, average, optimizer)
    if record is not None:
        record.close()
    here.wait_for_everyone()
    if score is not None:
        average.load_state_dict(state_file.read(best, average=dict)["average"])
    return average.cpu()


def best_file(folder: Path, name: str) -> Path:
    """Where `fit` keeps the average with the highest score: a dict of `average`, `score` and its `step`."""
    return folder / f"{name}.best.pt"


def _step(
    model: nn.Module,
    loss_at: Callable[[int], Tensor | Mapping[str, Tensor]],
    step: int,
    schedule: Schedule,
    optimizer: torch.optim.Optimizer,
) -> Mapping[str, Tensor]:
    """One step of the optimiser; gives the terms of the loss."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate(step)
    with torch.autocast(accelerator().device.type, torch.bfloat16, enabled=schedule.precision == "bf16"):
        loss = loss_at(step)
    terms = {"total": loss} if isinstance(loss, Tensor) else loss
    optimizer.zero_grad(set_to_none=True)
    terms["total"].backward()
    average_gradients(model.parameters())
    nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
    optimizer.step()
    return terms


def _check_finite(record: Record, name: str, step: int) -> None:
    """Stop a run that has diverged before anything of it is scored or kept; its table shows where."""
    if not math.isfinite(loss := record.mean()):
        record.flush(None)
        raise UsageError(
            f"{name}: loss {loss} by step {step}; try a lower rate with --set schedule.lr=, or mend the data"
        )


def _keep_best(path: Path, step: int, score: float, average: nn.Module) -> None:
    """Write the average with its score if no earlier one has as high a score."""
    log.info("score %.4f at step %d", score, step)
    if not path.is_file() or state_file.read(path, score=float)["score"] < score:
        state_file.write(path, {"step": step, "score": score, "average": average.state_dict()})


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels only, not for norms and biases."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    heavy = [p for p in parameters if p.ndim > 1]
    light = [p for p in parameters if p.ndim <= 1]
    return [{"params": heavy, "weight_decay": weight_decay}, {"params": light, "weight_decay": 0.0}]


@torch.no_grad()
def _update(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def _save(
    path: Path,
    step: int,
    recipe: dict[str, Any],
    data: str,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    state = {
        "step": step,
        "recipe": json.dumps(recipe),
        "data": data,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": torch.get_rng_state(),
    }
    state_file.write(path, state)


def _restore(
    path: Path,
    recipe: dict[str, Any],
    data: str,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> int:
    kinds = {"model": dict, "average": dict, "optimizer": dict, "generator": Tensor}
    state = state_file.read(path, step=int, recipe=str, **kinds)
    if state["recipe"] != json.dumps(recipe):
        raise UsageError(f"{path}: made by another recipe; choose another folder with -o")
    if state.get("data", data) != data:  # earlier checkpoints do not say
        raise UsageError(f"{path}: made of other data; choose another folder with -o")
    try:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError):
        raise SetupError(f"{path}: does not fit this run; delete it to begin anew without --resume") from None
    return int(state["step"])
