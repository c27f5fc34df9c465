"""What `avel train` and `avel eval` hand to whoever knows the data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from avel_cli.errors import UsageError


@dataclass(frozen=True)
class TrainJob:
    """A run of `avel train`.

    Attributes:
        model: what to train.
        recipe: a file or the name of one that ships; `recipes.load` reads it, with `changes`.
        data: folders; for one's own videos the data set itself.
        output: folder for weights, checkpoints and tables.
        seeds: how many runs, with seeds from the recipe's on.
        resume: go on from the last checkpoints.
        in_memory: read all features at the start.
        encoders: names for sound and picture; empty takes the recipe's.
        weights: files of the weights that a run starts from or is taught by, see `options.named`.
    """

    model: str
    recipe: str
    changes: tuple[str, ...]
    data: tuple[Path, ...]
    output: Path
    seeds: int = 1
    resume: bool = False
    in_memory: bool = False
    encoders: tuple[str, ...] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)

    def require(self, network: str) -> None:
        """Make sure that the recipe trains what was asked for.

        Raises:
            UsageError: if it trains another network.
        """
        if network != self.model:
            raise UsageError(f"recipe {self.recipe} trains {network}, not {self.model}")


@dataclass(frozen=True)
class EvalJob:
    """A run of `avel eval`.

    Attributes:
        model: weights by name, or a weights file.
        data: as in `TrainJob`.
        output: folder for pictures and what is kept between runs.
        weights: files to use in place of what is published, see `options.named`.
        task: supervision whose protocol and published figures apply; None takes that of the weights.
        as_json: write figures as JSON.
        offline: open no connection.
    """

    model: str
    data: tuple[Path, ...]
    output: Path
    weights: Mapping[str, Path] = field(default_factory=dict)
    task: str | None = None
    as_json: bool = False
    offline: bool = False


def only_folder(data: tuple[Path, ...], what: str) -> Path:
    """The folder of a data set that has one.

    Raises:
        UsageError: if several were given, or none.
    """
    if len(data) != 1:
        raise UsageError(f"{what} wants one folder with --data, not {len(data)}")
    return data[0]
