"""Time, memory and size of the dense localizers, UnAV and LoCo, each measurement in a process of its own.

    python benchmarks/dense_networks.py            all of it
    python benchmarks/dense_networks.py sizes      one part: sizes, networks or attention

Sizes: parameters, and operations of one video (2 for each multiplication with its addition), beside published ones.
Networks: a forward pass, and a training step with loss, AdamW and moving average, at the lengths of the recipes. UnAV
at its batch of 16 is extrapolated from batches of 1, 2 and 4 by a straight line, and its dependency block is also run
plain: all classes at once, everything kept for the backward pass. Attention: a cross block that looks at everything
beside one that looks into adaptive windows. In CPU seconds of one thread, which other work on the machine hardly
changes, and the most memory that the process ever held, with Python, torch, weights and optimizer. Random data.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avel_cli import localizers, recipes
from avel_cli.datasets.dense import Sample, collate
from avel_cli.localizers.dense.blocks import Block
from avel_cli.localizers.loco.network import LocalBlock
from avel_cli.training.recipe import Recipe
from avel_cli.training.train import Learner

WIDTHS = {"i3d": (128, 2048), "onepeace": (1536, 1536)}  # of sound and of pictures
CLASSES = 100
GIGABYTES_16, BATCHES = 12.0, (1, 2, 4)  # the goal of UnAV's training, and what it is extrapolated from
LENGTHS = (256, 1024, 4096)
PLAIN = ["model.chunk_classes=0", "model.checkpoint=false"]
PUBLISHED = [  # parameters in millions, operations in billions
    ("UnAV, I3D, 224 steps", "139.54", "111.2", "counted on the authors' code"),
    ("UnAV, ONE-PEACE, 256 steps", "140.92", "128.5", "counted on the authors' code"),
    ("UniAV, three tasks", "130.75", "23.0", "counted on the authors' code, 256 steps"),
    ("CCNet", "238.8", "72.1", "PreFM, arXiv 2505.23155"),
    ("LoCo", "-", "-", "its paper: less than UnAV and UniAV in both; no number could be read"),
]


def network(recipe: Recipe, features: str, device: str = "cpu") -> Any:
    """The network of a recipe with fresh weights."""
    with torch.device(device):
        audio, visual = WIDTHS[features]
        sizes = {"audio_dim": audio, "visual_dim": visual, "num_classes": CLASSES}
        return localizers.localizer_class(recipe.network)(recipe.config(sizes))


def samples(steps: int, features: str, count: int) -> list[Sample]:
    """Videos of full length with three events each."""
    audio, visual = (torch.randn(count, steps, width) for width in WIDTHS[features])
    events = torch.tensor([[10.3, 14.8], [30.2, 90.7], [60.1, 200.4]])
    labels = torch.tensor([3, 50, 7])
    return [Sample(str(i), 60.0, audio[i], visual[i], events, labels) for i in range(count)]


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Of one call."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def measure(name: str, changes: list[str], batch: int, train: bool) -> dict[str, float]:
    """Seconds of a pass, and most gigabytes of the process."""
    recipe = recipes.load(Recipe, name, changes)
    features, steps = recipe.data_options().features, recipe.model["max_seq_len"]
    given = collate(samples(steps, features, batch), steps)
    learner = Learner(network(recipe, features), recipe.loss_weights())
    if not train:
        learner.eval()
        with torch.inference_mode():
            seconds = cpu_seconds(lambda: learner.network(given.audio, given.visual, given.mask))
    else:
        learner.train()
        seconds = cpu_seconds(lambda: step(learner, given, *optimizer_of(learner)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": seconds, "gigabytes": peak}


def optimizer_of(learner: nn.Module) -> tuple[torch.optim.Optimizer, nn.Module]:
    """What a run holds besides: the optimizer and the moving average."""
    return torch.optim.AdamW(learner.parameters(), lr=1e-4), copy.deepcopy(learner).requires_grad_(False)


def step(learner: Learner, batch: Any, optimizer: torch.optim.Optimizer, average: nn.Module) -> None:
    """One step of training."""
    learner.terms(batch)["total"].backward()
    optimizer.step()
    for kept, new in zip(average.parameters(), learner.parameters(), strict=True):
        kept.lerp_(new.detach(), 0.001)


def apart(*arguments: Any) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", json.dumps(arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def line(*cells: Any) -> None:
    """A row of a table."""
    print(*cells, sep="\t", flush=True)


def print_sizes() -> None:
    """Parameters and operations of our code, and published ones."""
    line("size", "parameters, M", "operations, G", "source")
    for name, changes, features, steps in (
        ("unav.unav100-i3d", [], "i3d", 224),
        ("unav.unav100-i3d", ["model.dependency_dim=0"], "i3d", 224),
        ("unav.unav100-i3d", [], "onepeace", 256),
        ("loco.unav100-i3d", [], "i3d", 224),
        ("loco.unav100-onepeace", [], "onepeace", 256),
        ("loco.unav100-onepeace", ["model.perception=global"], "onepeace", 256),
    ):
        recipe = recipes.load(Recipe, name, [*changes, f"model.max_seq_len={steps}"])
        model = network(recipe, features, "meta").eval()
        widths = WIDTHS[features]
        given = [torch.empty(1, steps, width, device="meta") for width in widths]
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(*given, torch.ones(1, steps, dtype=torch.bool, device="meta"))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        what = ", ".join([recipe.network, features, *changes, f"{steps} steps"])
        line(what, f"{parameters / 1e6:.2f}", f"{counter.get_total_flops() / 1e9:.1f}", "counted here")
    for row in PUBLISHED:
        line(*row)


def print_networks() -> None:
    """Forward passes and training steps; what UnAV's training takes at its batch of 16."""
    line("network", "batch", "pass", "CPU seconds", "most memory, GB", "goal")
    unav, loco = "unav.unav100-i3d", "loco.unav100-onepeace"
    print_passes("UnAV, 224 steps", unav, [], (1,), train=False)
    print_passes("LoCo, 256 steps", loco, [], (1,), train=False)
    print_passes("LoCo, 256 steps, attention to everything", loco, ["model.perception=global"], (1,), train=False)
    print_passes("LoCo, 256 steps", loco, [], (1,), train=True)
    print_passes("LoCo, 256 steps, attention to everything", loco, ["model.perception=global"], (1,), train=True)
    for what, changes, batches in (("in chunks, checkpointed", [], BATCHES), ("plain", PLAIN, BATCHES[:2])):
        found = print_passes(f"UnAV, dependencies {what}", unav, changes, batches, train=True)
        slope, base = np.polyfit(batches, found, 1)
        goal = "" if changes else f"at most {GIGABYTES_16:g} GB"
        line(f"UnAV, dependencies {what}", "16, extrapolated", "training", "", f"{base + 16 * slope:.1f}", goal)


def print_passes(what: str, name: str, changes: list[str], batches: tuple[int, ...], *, train: bool) -> list[float]:
    """A row for each batch; gives the gigabytes."""
    gigabytes = []
    for batch in batches:
        found = apart(name, changes, batch, train)
        kind = "training" if train else "forward"
        line(what, batch, kind, f"{found['seconds']:.2f}", f"{found['gigabytes']:.2f}")
        gigabytes.append(found["gigabytes"])
    return gigabytes


def block_seconds(block: nn.Module, given: tuple[torch.Tensor, ...]) -> float:
    """The least of a few calls, after one that warms up; fewer where they are long."""
    block(*given)
    return min(cpu_seconds(lambda: block(*given)) for _ in range(max(1, 2048 // given[0].shape[1])))


def print_attention() -> None:
    """One cross block of LoCo's width at growing lengths."""
    line("cross block", "dense, s", "in windows, s", "ratio", "goal")
    goals = {256: "windows no slower", 4096: "windows at least 2 times as fast"}
    dense = Block(512, 4, 2048).eval()
    local = LocalBlock(512, 4, 2048, stride=1, drop_path=0.0, window=8, adaptive=True).eval()
    for length in LENGTHS:
        own, other, mask = torch.randn(1, length, 512), torch.randn(1, length, 512), torch.ones(1, length).bool()
        with torch.inference_mode():
            times = [block_seconds(block, (own, other, mask)) for block in (dense, local)]
        line(f"{length} steps", *(f"{t:.4f}" for t in times), f"{times[0] / times[1]:.2f}", goals.get(length, ""))


PARTS = {"sizes": print_sizes, "networks": print_networks, "attention": print_attention}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], metavar="PART")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return
    for part in arguments.parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
