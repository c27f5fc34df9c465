"""AVE's two feature files, put together from features of its videos: row `i` is line `i` of `Annotations.txt`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from avel_cli.datasets.ave import read_annotations
from avel_cli.datasets.ave_files import AUDIO_FEATURES, SEGMENTS, VISUAL_FEATURES
from avel_cli.errors import InputError, UsageError
from avel_cli.writers.files import atomic_path

FILES = {"picture": VISUAL_FEATURES, "sound": AUDIO_FEATURES}


def videos(annotations: Path, inputs: Sequence[Path]) -> list[Path]:
    """The inputs that the annotations name, each once, in the order of the annotations.

    Raises:
        SetupError: if the annotations cannot be read.
        UsageError: if a video is not among the inputs; the text counts them and names the first.
    """
    named = {path.stem: path for path in inputs}
    wanted = dict.fromkeys(clip.video for clip in read_annotations(annotations))
    missing = [video for video in wanted if video not in named]
    if missing:
        raise UsageError(f"{len(missing)} of the {len(wanted)} videos in {annotations} are not there, as {missing[0]}")
    return [named[video] for video in wanted]


def check_absent(folder: Path, modalities: Iterable[str]) -> None:
    """Whether none of the files that `assemble` would write for these modalities is in the folder.

    Raises:
        UsageError: if one is.
    """
    for path in (folder / FILES[modality].name for modality in modalities):
        if path.exists():
            raise UsageError(f"{path} is there already; use another folder with -o, or replace it with --overwrite")


def assemble(annotations: Path, features: dict[str, Path], encoder: str, modality: str, folder: Path) -> Path:
    """Write `visual_feature.h5` or `audio_feature.h5`, `[clips, 10, ...]` float32, and return its path.

    Args:
        annotations: `Annotations.txt`; a video in several of its lines fills several rows.
        features: file of features of each video, by its name.
        encoder: that made them, kept as an attribute.
        modality: `picture` or `sound`.
        folder: where the file goes; one that is there is replaced.

    Raises:
        InputError: if features of a video are missing or not of ten segments, or the file cannot be written.
    """
    file = FILES[modality]
    clips = read_annotations(annotations)
    shape = _read(features[clips[0].video]).shape
    path = folder / file.name
    with atomic_path(path) as part, h5py.File(part, "x") as store:
        rows = store.create_dataset(file.key, (len(clips), *shape), np.float32)
        rows.attrs["encoder"] = encoder
        for row, clip in enumerate(clips):
            values = _read(features[clip.video])
            if values.shape != shape:
                raise InputError(
                    f"{features[clip.video]}: features {values.shape}, not {shape}; delete it and try again"
                )
            rows[row] = values
    return path


def _read(path: Path) -> NDArray[np.float32]:
    """Features `[10, ...]` of a video."""
    try:
        with safe_open(path, "np") as stream:
            values: NDArray[np.float32] = stream.get_tensor("features")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no features in it ({error}); delete it and try again") from None
    if len(values) != SEGMENTS:
        raise InputError(f"{path}: features of {len(values)} segments, not {SEGMENTS}; use another folder with -o")
    return values
