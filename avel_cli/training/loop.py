"""The one training loop: optimiser, schedule, moving average, checkpoints. It knows nothing of data or losses."""

from __future__ import annotations

import copy
import csv
import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from avel_cli.errors import UsageError

log = logging.getLogger("avel")


@dataclass(frozen=True)
class Schedule:
    """AdamW with linear warm-up and cosine decay to zero, and an exponential moving average of the weights.

    `ema` is the decay per step; `clip` the largest L2 norm of the gradient; `precision` `fp32` or `bf16` autocast.
    """

    steps: int
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.02
    warmup: int = 100
    ema: float = 0.998
    clip: float = 5.0
    precision: Literal["fp32", "bf16"] = "bf16"

    def rate(self, step: int) -> float:
        """Learning rate at `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))


def fit(
    model: nn.Module,
    loss_at: Callable[[int], Tensor],
    schedule: Schedule,
    folder: Path,
    *,
    name: str,
    recipe: dict[str, Any],
    resume: bool = False,
    every: int = 500,
    score: Callable[[nn.Module], float] | None = None,
) -> nn.Module:
    """Train `model` in place and return the moving average of it.

    `loss_at(step)` draws the batch of that step by itself, from a generator seeded with the step, so that a run
    that was killed and resumed sees the same batches as one that was not. With a `score` of the average, taken `every`
    so many steps, the average that had the highest is returned.

    Raises:
        UsageError: if there is a checkpoint to resume from, but of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(_groups(model, schedule.weight_decay), lr=schedule.lr)
    checkpoint = folder / f"{name}.checkpoint.pt"
    first = _restore(checkpoint, recipe, model, average, optimizer) if resume and checkpoint.is_file() else 0
    best = folder / f"{name}.best.pt"
    if not first:
        (folder / f"{name}.csv").unlink(missing_ok=True)
        best.unlink(missing_ok=True)
    recent, began = 0.0, time.monotonic()
    for step in range(first, schedule.steps):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
            loss = loss_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        optimizer.step()
        _update(average, model, min(schedule.ema, (step + 1) / (step + 10)))
        recent += loss.item()
        if (step + 1) % every == 0 or step + 1 == schedule.steps:
            since = (step % every) + 1
            _record(folder / f"{name}.csv", step + 1, recent / since, schedule.rate(step), time.monotonic() - began)
            log.info("%s step %d of %d, loss %.4f", name, step + 1, schedule.steps, recent / since)
            if score is not None:
                _keep_best(best, step + 1, score(average), average)
            _save(checkpoint, step + 1, recipe, model, average, optimizer)
            recent = 0.0
    if score is not None:
        average.load_state_dict(torch.load(best, weights_only=True)["average"])
    return average


def _keep_best(path: Path, step: int, score: float, average: nn.Module) -> None:
    """Write the average with its score if no earlier one has as high a score."""
    log.info("score %.4f at step %d", score, step)
    if not path.is_file() or torch.load(path, weights_only=True)["score"] < score:
        _write(path, {"step": step, "score": score, "average": average.state_dict()})


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels only: decaying norms and biases helps nobody."""
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
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    state = {
        "step": step,
        "recipe": json.dumps(recipe),
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": torch.get_rng_state(),
    }
    _write(path, state)


def _write(path: Path, state: dict[str, Any]) -> None:
    """The file appears whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def _restore(
    path: Path, recipe: dict[str, Any], model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    state = torch.load(path, weights_only=True)
    if state["recipe"] != json.dumps(recipe):
        raise UsageError(f"{path}: made by another recipe; leave out --resume, or choose another folder with -o")
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["generator"])
    return int(state["step"])


def _record(path: Path, step: int, loss: float, rate: float, seconds: float) -> None:
    new = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if new:
            writer.writerow(["step", "loss", "lr", "seconds"])
        writer.writerow([step, f"{loss:.5f}", f"{rate:.3g}", f"{seconds:.1f}"])
