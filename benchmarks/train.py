"""Cost of a training step of CACE-Net on AVE, beside a plain float64 one, and of reading its batch.

    python benchmarks/train.py [--batch 64] [--steps 3] [--threads 1] [--device cpu]

The plain step computes the guidance and the losses formula by formula, in float64 as the published code does; both
have the same weights, clips and noise, without dropout, and must give equal losses. Each runs in a process of its own.
Seconds are CPU time on a CPU, which other work on the machine hardly changes, and wall time on a GPU. The features are
read from a file as large as the published one, 8.3 GB, but sparse: what is measured is all but the disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avel_cli import localizers, recipes
from avel_cli.datasets.ave import AVE
from avel_cli.localizers.base import ClipBatch
from avel_cli.localizers.cace_net.network import CACENet, CoGuidance, Projections
from avel_cli.training.recipe import Recipe
from avel_cli.training.train import Learner, moved

CLIPS = 4143
KINDS = ("cace-net, plain float64", "cace-net", "cace-net, bf16", "ccln")


class PlainGuidance(nn.Module):
    """Co-guidance (paper eqs. 1 to 5) one formula after the other, with the weights of ours."""

    def __init__(self, ours: CoGuidance) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """As `CoGuidance`."""
        attention, seen, heard = self.ours.attention, self.ours.visual, self.ours.audio
        g1, g2 = (
            attention.norm(visual + self.attend(*(part(attention.project, 3 * n + i, visual) for i in range(3))))
            for n in range(2)
        )
        m = seen.from_mean(g1.mean(2)).relu().unsqueeze(2) * part(seen.from_attended, 1, g1)
        s = (seen.salient.score(m).tanh().softmax(2) * g1).sum(2)
        u = (part(seen.from_audio, 0, audio).unsqueeze(2) * part(seen.from_attended, 0, g1)).mean(2)
        visual = visual * (1 + seen.excite(seen.squeeze(u).relu()).sigmoid().unsqueeze(2))
        r = seen.from_channels(visual).relu() * part(seen.from_audio, 1, audio).unsqueeze(2)
        v = (seen.heard.score(r).tanh().softmax(2) * visual).sum(2)
        a = heard.norm(audio + self.attend(*(part(heard.project, i, audio) for i in range(3))))
        t = self.attend(heard.query(g2.mean(2)), part(heard.key_value, 0, a), part(heard.key_value, 1, a))
        return audio + heard.psi * t.sigmoid() * audio, v + seen.beta * s.sigmoid() * v

    @staticmethod
    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention without scale."""
        return (query @ key.transpose(-1, -2)).softmax(-1) @ value


def part(maps: Projections, number: int, x: Tensor) -> Tensor:
    """One of several linear maps by itself."""
    weight, bias = maps.weight.split(maps.widths)[number], maps.bias.split(maps.widths)[number]
    y = F.linear(x, weight, bias)
    return y.relu() if maps.relu else y


def plain_loss(model: nn.Module, batch: ClipBatch) -> Tensor:
    """The five terms as they are written; float64 has room for exp(100)."""
    output = model(batch.audio, batch.visual, noise=batch.noise)
    is_event = (batch.labels < 28).double()
    f = torch.cat((output.q, output.k), 1)
    size = f.shape[1]
    itself = torch.eye(size, dtype=f.dtype, device=f.device)
    event = torch.cat((is_event, is_event), 1)
    pairs = event.unsqueeze(1) * event.unsqueeze(2) + (1 - event).unsqueeze(2) * itself.roll(size // 2, 0)
    pairs = pairs * (1 - itself)
    e = (f @ f.transpose(1, 2) / 0.01).exp()
    contrast = -((e * pairs).sum(2) / (e * (1 - itself)).sum(2)).log() + pairs.sum(2).log()
    bce = F.binary_cross_entropy_with_logits
    names = F.cross_entropy(output.category_logits, batch.categories) + F.cross_entropy(
        output.av_score, batch.categories
    )
    return bce(output.event_logits, is_event) + bce(output.gate, is_event) + names + contrast.mean()


def drawn(size: int) -> ClipBatch:
    """A batch of noise with events like AVE's."""
    rng = torch.Generator().manual_seed(0)
    categories = torch.randint(28, (size,), generator=rng)
    start = torch.randint(0, 4, (size, 1), generator=rng)
    labels = categories.unsqueeze(1).where(torch.arange(10) >= start, 28)
    audio, noise = (torch.randn(size, 10, width, generator=rng) for width in (128, 256))
    visual = torch.randn(size, 10, 7, 7, 512, generator=rng).relu()
    return ClipBatch(audio, visual, noise, labels, categories, torch.arange(size))


def prepared(kind: str, device: str) -> tuple[nn.Module, Callable[[ClipBatch], Tensor]]:
    """A network without dropout, and its loss."""
    name = "ccln.ave" if kind == "ccln" else "cace-net.ave"
    recipe = recipes.load(Recipe, name)
    torch.manual_seed(0)
    model = localizers.localizer_class(recipe.network)(recipe.config({})).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    model.to(device)
    if kind.endswith("float64"):
        assert isinstance(model, CACENet)
        model.guidance = PlainGuidance(model.guidance)  # type: ignore[assignment]
        model.double()
        return model, lambda batch: plain_loss(model, batch)

    learner = Learner(model, recipe.loss_weights())

    def loss(batch: ClipBatch) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=kind.endswith("bf16")):
            return learner.terms(batch)["total"]

    return model, loss


def measure(kind: str, size: int, steps: int, device: str) -> None:
    """Print seconds of a step, peak memory in MB and the first loss as JSON; run in a process of its own."""
    model, loss_of = prepared(kind, device)
    batch = moved(drawn(size), next(model.parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=7e-4)
    on_gpu = device != "cpu"
    clock, losses, times = time.perf_counter if on_gpu else time.process_time, [], []
    for _ in range(steps):
        begin = clock()
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
        if on_gpu:
            torch.cuda.synchronize()  # the optimizer may be at work still
        times.append(clock() - begin)
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": min(times), "peak": peak / 1e6, "loss": losses[0]}))


def sparse_folder(folder: Path) -> None:
    """AVE's layout with features as large as the published ones, that take no room."""
    lines = [f"Sound {row * 28 // CLIPS}&video{row}&good&0&10\n" for row in range(CLIPS)]
    (folder / "Annotations.txt").write_text("".join(lines))
    with h5py.File(folder / "train_order.h5", "w") as stream:
        stream["order"] = np.random.default_rng(0).permutation(CLIPS)[:3339]
    for name, row in (("visual_feature.h5", (10, 7, 7, 512)), ("audio_feature.h5", (10, 128))):
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        with h5py.File(folder / name, "w") as stream:
            space = h5py.h5s.create_simple((CLIPS, *row))
            h5py.h5d.create(stream.id, b"avadataset", h5py.h5t.IEEE_F64LE, space, layout)


def reading(size: int) -> float:
    """CPU seconds to read a batch."""
    with tempfile.TemporaryDirectory() as folder:
        sparse_folder(Path(folder))
        clips = AVE(Path(folder), "train")
        times = []
        for batch in torch.randperm(len(clips)).split(size)[:6]:
            begin = time.process_time()
            clips.batch(batch)
            times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    """Measure all, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.kind:
        measure(given.kind, given.batch, given.steps, given.device)
        return
    results = {}
    for kind in KINDS:
        done = subprocess.run([sys.executable, *sys.argv, "--kind", kind], check=True, capture_output=True, text=True)
        results[kind] = json.loads(done.stdout)
    plain, ours = results[KINDS[0]], results[KINDS[1]]
    assert abs(plain["loss"] - ours["loss"]) < 1e-4 * plain["loss"], (plain, ours)
    print(f"batch {given.batch}", "seconds a step", "times as fast", "peak MB", "first loss", sep="\t")
    for kind, result in results.items():
        ratio = plain["seconds"] / result["seconds"]
        print(
            kind, f"{result['seconds']:.2f}", f"{ratio:.1f}", f"{result['peak']:.0f}", f"{result['loss']:.6f}", sep="\t"
        )
    seconds = reading(given.batch)
    print(f"reading a batch: {seconds:.3f} s, {100 * seconds / ours['seconds']:.1f} % of a step, while the step runs")


if __name__ == "__main__":
    main()
