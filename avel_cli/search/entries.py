"""What an index holds of a film: how likely every known name is heard and seen, second by second. numpy only.

An index is the folder `.avel-index` beside the films, with a file for each, which is there whole or not at all:
safetensors with `heard` `[527, T]` and `seen` `[1000 + P, T]`, float16 in 0..1, a row for each name. A film that has
changed since is known by its size and time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from avel_cli.encoders.classes import audioset, imagenet
from avel_cli.encoders.vocabulary import picture_classes
from avel_cli.errors import InputError
from avel_cli.writers.files import atomic_path

FOLDER = ".avel-index"
FORMAT = "avel.index/1"
SUFFIX = ".safetensors"

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Facts:
    """What an entry says of itself.

    Attributes:
        film: path of the film from the folder of the index on, with slashes.
        size_bytes: of the film when it was indexed.
        modified_ns: its time then.
        duration: in seconds.
        made_by: what decides the values: names and hashes of weights, and settings.
        format: of the entry.
    """

    film: str
    size_bytes: int
    modified_ns: int
    duration: float
    made_by: dict[str, Any]
    format: str = FORMAT

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.film).parts
        if not parts or self.film.startswith("/") or ".." in parts:
            raise ValueError(f"{self.film!r} is no path inside of the folder")
        if self.format != FORMAT or not 0 < self.duration < float("inf"):
            raise ValueError("its format or its duration is wrong")


@dataclass(frozen=True)
class Entry:
    """One film of an index.

    Attributes:
        root: folder that holds the films and the index.
        path: of the entry.
        facts: what it says of itself.
    """

    root: Path
    path: Path
    facts: Facts

    @property
    def film(self) -> Path:
        """Where the film lies."""
        return self.root / self.facts.film

    @property
    def problem(self) -> str | None:
        """Why the entry is of no use: the film is gone, or has changed; None if it is."""
        if not self.film.is_file():
            return "is gone"
        return None if stamp(self.film) == (self.facts.size_bytes, self.facts.modified_ns) else "has changed"

    def rows(self, name: str, places: Sequence[int]) -> Scores:
        """Some rows of `heard` or `seen`, float32 `[len(places), T]`; nothing else of the file is read.

        Raises:
            InputError: if the entry is damaged.
        """
        try:
            with safe_open(self.path, "numpy") as stream:
                table = stream.get_slice(name)
                return np.nan_to_num(np.stack([table[place] for place in places]).astype(np.float32)).clip(0, 1)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path}: damaged ({error}); remove it and run avel index again") from None


def stamp(film: Path) -> tuple[int, int]:
    """Size and time of a film, which tell whether it has changed."""
    facts = film.stat()
    return facts.st_size, facts.st_mtime_ns


def entry_path(root: Path, film: str) -> Path:
    """Where the entry of a film lies."""
    return root / FOLDER / (hashlib.sha256(os.fsencode(film)).hexdigest()[:32] + SUFFIX)


def write(root: Path, facts: Facts, heard: Scores, seen: Scores) -> None:
    """Put a film into the index, whole or not at all.

    Args:
        root: folder of the films.
        facts: of the film.
        heard: `[T, 527]` in 0..1.
        seen: `[T, 1000 + P]` in 0..1.

    Raises:
        InputError: if it cannot be written.
    """
    columns = {"heard": heard, "seen": seen}
    tables = {name: np.ascontiguousarray(values.T.astype(np.float16)) for name, values in columns.items()}
    data = save(tables, metadata={"avel": json.dumps(asdict(facts))})
    with atomic_path(entry_path(root, facts.film)) as part, part.open("xb") as stream:
        stream.write(data)


def read(root: Path, path: Path) -> Entry:
    """An entry of the index of `root`; its tables are yet to be read.

    Raises:
        InputError: if it is none, or does not fit this version.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        with safe_open(path, "numpy") as stream:
            facts = Facts(**json.loads(stream.metadata()["avel"]))
            heard, seen = (stream.get_slice(name) for name in ("heard", "seen"))
            sizes, types = (heard.get_shape(), seen.get_shape()), {heard.get_dtype(), seen.get_dtype()}
        steps = sizes[0][-1]
        wanted = [len(audioset()), steps], [len(imagenet()) + len(picture_classes()), steps]
        if sizes != wanted or types != {"F16"} or not 0 < steps <= facts.duration + 1:
            raise ValueError("its tables have other sizes")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"{path}: no entry of an index of this version ({error}); remove it") from None
    return Entry(root, path, facts)


def paths(root: Path) -> Iterator[Path]:
    """The entries that there are, in the order of their names."""
    yield from sorted((root / FOLDER).glob(f"*{SUFFIX}"))
