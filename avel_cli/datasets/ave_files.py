"""The files of AVE's features folder: what each must hold, where it comes from, and reading rows of the large ones.

Row `i` of every array is line `i` of `Annotations.txt`; the arrays of the background clips are by themselves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from avel_cli.datasets.findings import Finding
from avel_cli.errors import SetupError
from avel_cli.hub.weights_file import sha256

SEGMENTS = 10
AUDIO = (SEGMENTS, None)  # published: 128, VGGish
VISUAL = (SEGMENTS, 7, 7, None)  # published: 512, VGG-19
BAG = (None,)  # published: 29, 28 categories and background

_REPOSITORY = "github.com/YapengTian/AVE-ECCV18"
_IN_GIT = f"copy data/{{}} from {_REPOSITORY}"
_AUDIO = "download drive.google.com/file/d/1F6p4BAOY-i0fDXUOhG7xHuw_fnO5exBS (40 MB)"
_VISUAL = "download drive.google.com/file/d/1hQwbhutA3fQturduRnHMyfRqdrRHgmC9 (7.7 GB)"
_NOISY = "download drive.google.com/file/d/1I3OtOHJ8G1-v5G2dHIGCfevHQPn-QyLh"


@dataclass(frozen=True)
class File:
    """An array in an HDF5 file of the folder.

    Attributes:
        name: of the file.
        row: shape of one row; None where any number will do, as other encoders have other widths.
        source: how to get it; `{}` stands for the name.
        key: of the array in the file.
        kind: of numbers, as numpy calls it: `f` or `i`.
        purpose: what it is needed for; empty if nothing works without it.
        digest: SHA-256 of the published file, where it is small enough to be in the authors' repository.
    """

    name: str
    row: tuple[int | None, ...]
    source: str = _IN_GIT
    key: str = "avadataset"
    kind: str = "f"
    purpose: str = ""
    digest: str | None = None

    @property
    def remedy(self) -> str:
        """How to get the file."""
        return self.source.format(self.name)


_CHECK, _WEAK = "only compared with Annotations.txt", "only for weak supervision"
ANNOTATIONS = File("Annotations.txt", (), digest="0d24a9ec5cd4ceb779ebd83d74e83ec8e55c5e468cede3f320fb57346c9dd321")
ORDERS = {
    split: File(f"{split}_order.h5", (), key="order", kind="i", digest=digest)
    for split, digest in {
        "train": "a216fcdd02782ba9d10c9ea79116120eb3be467740e58290e1b340d42a590456",
        "val": "5692aec0efb30e4efa49a867a902c1993b4c88a7d3ec19879349e540e7a5d9ca",
        "test": "f9bb79defc1f784ca5dda9cdd3ee52af6d24ccb399a1cfab6bf0d373f5681076",
    }.items()
}
AUDIO_FEATURES = File("audio_feature.h5", AUDIO, _AUDIO)
VISUAL_FEATURES = File("visual_feature.h5", VISUAL, _VISUAL)
EVENT_LABELS = File(
    "labels_closs.h5",
    (SEGMENTS,),
    purpose=_CHECK,
    digest="97676082eb1fc9a7a29255032391871c74f00cd74a5eddc57d9aed14ec52acc9",
)
BAG_LABELS = File(
    "mil_labels.h5", BAG, purpose=_CHECK, digest="63c1886c78289bcf7e748fa0fe5c18d568dac75a1f015ac41860a78f598c2bd5"
)
NOISY_LABELS = File(
    "labels_noisy.h5", BAG, purpose=_WEAK, digest="1cc2b29e7104d4da26be06b6ff2260d9392cd1d93a096c77efd938843b4ebde1"
)
NOISY_AUDIO = File(
    "audio_feature_noisy.h5",
    AUDIO,
    purpose=_WEAK,
    digest="d29b6efa4c985746a1d5205423c6f01bf02cf475af40c2620e4df9260d84c5f4",
)
NOISY_VISUAL = File("visual_feature_noisy.h5", VISUAL, _NOISY, purpose=_WEAK)


def inspect(folder: Path, file: File, rows: int | None) -> Finding:
    """Whether the array is there with the key, numbers and shape it must have; its values are not read.

    Args:
        folder: where the file should be.
        file: what it should be.
        rows: how many there must be; None if that is not known.
    """
    path = folder / file.name
    found = Finding(file.name, "ok", "", file.remedy, needed=not file.purpose)
    if not path.is_file():
        return replace(found, state="missing", detail=file.purpose)
    try:
        with h5py.File(path, "r") as stream:
            array = stream.get(file.key)
            if not isinstance(array, h5py.Dataset):
                return replace(found, state="wrong", detail=f'no array "{file.key}", but {sorted(stream)}')
            shape, dtype = array.shape, array.dtype
    except OSError as error:
        if "truncated" in str(error):
            return replace(found, state="short", detail="the file ends too early")
        return replace(found, state="wrong", detail=f"not readable as HDF5: {error}")
    detail = f"{shape} {dtype}"
    fits = len(shape) == 1 + len(file.row) and all(b in (a, None) for a, b in zip(shape[1:], file.row, strict=True))
    if dtype.kind != file.kind or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in ("rows", *file.row))
        return replace(found, state="wrong", detail=f"{detail}, not ({wanted}) of kind {file.kind}")
    if rows is not None and shape[0] != rows:
        return replace(found, state="short" if shape[0] < rows else "wrong", detail=f"{detail}, not {rows} rows")
    return replace(found, detail=detail + as_published(path, file), remedy="")


def as_published(path: Path, file: File) -> str:
    """A remark on whether the file is the authors', for the small ones whose hash is known."""
    if file.digest is None:
        return ""
    return ", as published" if sha256(path) == file.digest else ", not the published file"


def require(folder: Path, file: File, rows: int | None) -> Path:
    """The path of a file that has passed `inspect`.

    Raises:
        SetupError: if it has not, with how to get it.
    """
    finding = inspect(folder, file, rows)
    path = folder / file.name
    if finding.state != "ok":
        raise SetupError(f"{path}: {finding.state}{f' ({finding.detail})' if finding.detail else ''}; {finding.remedy}")
    return path


def read_array(folder: Path, file: File, rows: int | None = None) -> Tensor:
    """All of a small array, integers as int64 and other numbers as float32.

    Raises:
        SetupError: if the file is not what it should be.
    """
    with h5py.File(require(folder, file, rows), "r") as stream:
        values = stream[file.key][()]
    return torch.from_numpy(values.astype(np.int64 if file.kind == "i" else np.float32))


class Rows:
    """Rows of one or more arrays, one array after the other, read when asked for and as float32.

    Files are opened on first use in each process, so an instance may be handed to the workers of a loader. They are
    read, not mapped into memory: mapped rows that are not cached yet come page by page, ten times slower.
    """

    def __init__(self, parts: Sequence[tuple[Path, str]]) -> None:
        """`parts`: file and key of each array; they must have rows of one shape."""
        self._parts = list(parts)
        self._opened: tuple[int, list[Any]] | None = None
        shapes = [array.shape for array in self._arrays()]
        self.row_shape: tuple[int, ...] = shapes[0][1:]
        self._starts = np.cumsum([0, *(shape[0] for shape in shapes)])

    @property
    def encoder(self) -> str:
        """What made the rows, where the first file says so; else empty."""
        return str(self._arrays()[0].attrs.get("encoder", ""))

    def __len__(self) -> int:
        """Rows in all arrays together."""
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files: they do not travel to another process."""
        return {**self.__dict__, "_opened": None}

    def read(self, rows: Sequence[int] | Tensor) -> Tensor:
        """`[len(rows), *row_shape]`, float32, in the order asked for; the files are read from front to back."""
        wanted = np.asarray(rows, dtype=np.int64)
        values = np.empty((len(wanted), *self.row_shape), np.float32)
        arrays = self._arrays()
        for place in np.argsort(wanted, kind="stable"):
            part = int(np.searchsorted(self._starts, wanted[place], side="right")) - 1
            values[place] = arrays[part][int(wanted[place] - self._starts[part])]
        return torch.from_numpy(values)

    def _arrays(self) -> list[Any]:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), [h5py.File(path, "r")[key] for path, key in self._parts]
        return self._opened[1]
