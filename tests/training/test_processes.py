"""Two processes come to the loss, the gradients and the weights of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avel_cli import recipes
from avel_cli.datasets.ave_clips import of_clips
from avel_cli.training import processes
from avel_cli.training.recipe import Recipe
from avel_cli.training.record import read
from avel_cli.training.train import train
from tests.training.made_clips import NO_DROPOUT, NO_DROPOUT_CCLN, SMALL, MadeClips

RUNS = {
    "cace-net.ave": ("loss.contrastive_from=0", *NO_DROPOUT),
    "cace-net.ave-weak": NO_DROPOUT,
    "ccln.ave": NO_DROPOUT_CCLN,
    "ccln.ave-weak": ("loss.fee_from=0", *NO_DROPOUT_CCLN),
}
CLIPS = 9  # of which the last batch has one: less than a clip for each process


def train_all(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    weights = {}
    for name, changes in RUNS.items():
        recipe = recipes.load(Recipe, name, (*SMALL, *changes, "schedule.precision=fp64"))
        data = of_clips({"train": MadeClips(CLIPS)}, MadeClips.names, ("vggish", "vgg19"))
        weights[name] = train(recipe, data, out, score=lambda found: 0.0).network.state_dict()
    return weights


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by two processes."""
    out = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from pathlib import Path; from tests.training.test_processes import main; main(Path({str(out)!r}))"
    running = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{key: str(value) for key, value in place.items()}}
        environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        root = Path(__file__).parents[2]
        running.append(subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=root))
    try:
        assert [process.wait(timeout=300) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    return out


def main(out: Path) -> None:
    """What each of the two processes does."""
    here = processes.accelerator()
    assert here.num_processes == 2
    rows = torch.arange(5)
    assert processes.shard(rows).tolist() == [[0, 1, 2], [3, 4, 0]][here.process_index]
    weights = train_all(out)
    torch.save(weights, out / f"weights{here.process_index}.pt")
    here.end_training()


def test_two_processes_come_to_the_weights_of_one(two, tmp_path):
    alone = train_all(tmp_path)
    together = [torch.load(two / f"weights{rank}.pt", weights_only=True) for rank in range(2)]
    for name, weights in alone.items():
        for key, value in weights.items():
            assert torch.equal(together[0][name][key], together[1][name][key])
            torch.testing.assert_close(together[0][name][key], value, rtol=1e-7, atol=1e-9, msg=f"{name} {key}")


def test_the_tables_of_two_processes_are_those_of_one(two, tmp_path):
    train_all(tmp_path)
    for path in tmp_path.glob("*.csv"):
        ours, theirs = read(path), read(two / path.name)
        assert len(theirs) == 12
        for row, other in zip(ours, theirs, strict=True):
            assert {k: float(v or 0) for k, v in row.items() if k != "seconds"} == pytest.approx(
                {k: float(v or 0) for k, v in other.items() if k != "seconds"}, abs=2e-5
            )


def test_a_process_on_its_own_has_the_whole_batch():
    rows = torch.arange(5)
    assert torch.equal(processes.shard(rows), rows)
    assert processes.gather(rows, 5) is rows
