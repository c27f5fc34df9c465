"""What a data set is to training and evaluation: how its folder is opened and checked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from avel_cli.datasets.findings import Finding
from avel_cli.errors import UsageError
from avel_cli.localizers.base import Localizer, TaskName
from avel_cli.tasks.base import Data

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
Listener = Callable[[float, float], None]  # (seconds of media done, and in all)


def _silent(_: str) -> AbstractContextManager[Listener | None]:
    return nullcontext()


@dataclass(frozen=True)
class Request:
    """What of a data set is wanted.

    Attributes:
        folders: where it lies; the starter packs are several.
        encoders: that made, or are to make, the features: of sound, then of pictures.
        options: an instance of the data set's `Options`.
        parts: which are needed.
        cache: folder for what is made of the data.
        seed: of the run, for networks that are built of the data.
        in_memory: read all features now.
        offline: open no connection.
        weights: files to use in place of what is published, by encoder.
        say: is told what is being done, a line at a time.
        watch: gives a listener for the progress of one file.
    """

    folders: Sequence[Path]
    encoders: tuple[str, ...]
    options: Any
    cache: Path
    parts: tuple[Part, ...] = PARTS
    in_memory: bool = False
    offline: bool = False
    weights: dict[str, Path] = field(default_factory=dict)
    say: Callable[[str], None] = logging.getLogger("avel").info
    watch: Callable[[str], AbstractContextManager[Listener | None]] = _silent

    def folder(self) -> Path:
        """The folder of a data set that has one.

        Raises:
            UsageError: if several were given, or none.
        """
        if len(self.folders) != 1:
            raise UsageError(f"this data set wants one folder, not {len(self.folders)}")
        return self.folders[0]


@dataclass(frozen=True)
class NoOptions:
    """Of a data set that has none."""


@dataclass(frozen=True)
class DataSet:
    """A row of the table of data sets.

    Attributes:
        open: reads what is wanted of it.
        tasks: of the localizers that can be measured on it.
        Options: frozen dataclass: the table `data` of a recipe.
        check: looks into its folder; None where there is nothing to look for.
        options_for: from a localizer, and options that its weights name, to those that it is measured with.
        asset: name in the catalogue of what `avel download` fetches of it; empty for nothing.
        file: name in its folder of what is fetched.
    """

    open: Callable[[Request], Data]
    tasks: tuple[TaskName, ...]
    Options: type = NoOptions
    check: Callable[[Path], list[Finding]] | None = None
    options_for: Callable[[Localizer, dict[str, Any]], dict[str, Any]] = lambda localizer, options: options
    asset: str = ""
    file: str = ""
