"""A folder like AVE's: same files, keys and kinds of numbers, with features that only both modalities together explain.

Each category is a pair of a heard and a seen mark, and no mark belongs to one category alone: `marks` gives the pair. A
segment is an event where both marks are present; elsewhere there is one of them, or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avel_cli.datasets.ave import Annotations, Clip

Array = NDArray[np.float64]
HEARD = 4  # different marks in the sound; the pictures have as many as are needed, 7 for 28 categories
SPLITS = ("train", "val", "test")


def marks(category: int) -> tuple[int, int]:
    """Heard and seen mark of a category."""
    return category % HEARD, category // HEARD


def made_up(per_category: int, categories: int = 28, seed: int = 0) -> list[Clip]:
    """Clips in runs of one category, as in AVE; four of five seconds hold the event."""
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(categories * per_category):
        length = int(rng.integers(6, 11))
        start = int(rng.integers(0, 11 - length))
        clips.append(Clip(f"Sound {number // per_category}, of a kind", f"video{number:05}", start, start + length))
    return clips


def split_evenly(clips: int) -> dict[str, list[int]]:
    """Of five clips in a row, three train, one val, one test."""
    parts = {"train": (0, 1, 2), "val": (3,), "test": (4,)}
    return {split: [row for row in range(clips) if row % 5 in places] for split, places in parts.items()}


def write_ave_folder(
    folder: Path,
    clips: Sequence[Clip],
    orders: Mapping[str, Sequence[int]] | None = None,
    *,
    noisy: int = 4,
    strength: float = 2.0,
    seed: int = 0,
) -> Path:
    """Write every file of the folder for these clips, and `noisy` clips without an event; 4 MB a clip.

    Args:
        folder: made if need be.
        clips: lines of Annotations.txt, in its order: the first clip of each category decides its number.
        orders: rows of each split; by default `split_evenly`.
        noisy: background clips of the weak setting.
        strength: of the marks; the noise around them is about 1.
        seed: of the features.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = [f"{clip.category}&{clip.video}&good&{clip.start}&{clip.end}\n" for clip in clips]
    (folder / "Annotations.txt").write_text("".join(lines), encoding="ascii", newline="\n")
    for split, rows in (orders or split_evenly(len(clips))).items():
        _write(folder / f"{split}_order.h5", np.asarray(rows, np.int64), key="order")
    annotations = Annotations(tuple(clips))
    categories, events = annotations.categories.numpy(), annotations.events.numpy()
    audio, visual = _features(categories, events, strength, rng)
    _write(folder / "audio_feature.h5", audio)
    _write(folder / "visual_feature.h5", visual)
    _write(folder / "labels_closs.h5", events.astype(np.float32))
    _write(folder / "mil_labels.h5", annotations.bags.numpy())
    some = rng.integers(0, len(annotations.labels), noisy)
    audio, visual = _features(some, np.zeros((noisy, 10), bool), strength, rng)
    _write(folder / "audio_feature_noisy.h5", audio)
    _write(folder / "visual_feature_noisy.h5", visual)
    background = np.zeros((noisy, len(annotations.labels) + 1), np.float32)
    background[:, -1] = 1
    _write(folder / "labels_noisy.h5", background)
    return folder


def one_modality_at_most(clips: Sequence[Clip], rows: Sequence[int]) -> float:
    """Segment accuracy in percent that no use of one modality alone can exceed on these rows.

    It would have to know all background and guess among the categories of the mark that it hears or sees. That the
    lengths of events say nothing of their category is true of `made_up`, and nearly so of the published clips.
    """
    annotations = Annotations(tuple(clips))
    categories, events = annotations.categories[rows].numpy(), annotations.events[rows].numpy()
    best = 0
    for which in (0, 1):
        seconds: dict[int, dict[int, int]] = {}
        for category, count in zip(categories.tolist(), events.sum(1).tolist(), strict=True):
            of_mark = seconds.setdefault(marks(category)[which], {})
            of_mark[category] = of_mark.get(category, 0) + count
        best = max(best, sum(max(of_mark.values()) for of_mark in seconds.values()))
    return 100 * float((~events).sum() + best) / events.size


def templates() -> tuple[Tensor, Tensor]:
    """The channels of each heard mark `[4, 128]` and seen mark `[7, 512]`, 0 or 1; the same in every folder."""
    rng = np.random.default_rng(2018)
    return tuple(torch.from_numpy(rng.random(shape) < 0.1).float() for shape in ((HEARD, 128), (7, 512)))


def _features(categories: NDArray[np.int64], events: NDArray[np.bool_], strength: float, rng: np.random.Generator):
    """Sound `[N, 10, 128]` and pictures `[N, 10, 7, 7, 512]`, never negative, as after a rectifier."""
    heard, seen = np.array([marks(category) for category in categories.tolist()], int).reshape(-1, 2).T
    kind = rng.integers(0, 3, events.shape)  # outside events: heard only, seen only, neither
    audio_marks, visual_marks = (part.numpy() for part in templates())
    audio = rng.standard_normal((*events.shape, 128), dtype=np.float32)
    visual = rng.standard_normal((*events.shape, 7, 7, 512), dtype=np.float32)
    audio += strength * audio_marks[heard][:, None] * (events | (kind == 0))[..., None]
    corner = rng.integers(0, 5, (len(events), 2))
    for clip, (row, column) in enumerate(corner):  # the mark is in a square of 3 x 3 of the 7 x 7 positions
        shown = (events | (kind == 1))[clip][:, None, None, None]
        visual[clip, :, row : row + 3, column : column + 3] += strength * shown * visual_marks[seen[clip]]
    return audio.clip(0), visual.clip(0)


def _write(path: Path, values: NDArray, key: str = "avadataset") -> None:
    """As the published files: one array, features as float64, in one piece."""
    with h5py.File(path, "w") as stream:
        wide = "feature" in path.name
        stream.create_dataset(key, data=values.astype(np.float64) if wide else values)


def write_empty_features(folder: Path, clips: int) -> None:
    """Both feature files in the published layout, as long as the published ones but empty: they take no room."""
    for name, row in (("visual_feature.h5", (10, 7, 7, 512)), ("audio_feature.h5", (10, 128))):
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        with h5py.File(folder / name, "w") as stream:
            space = h5py.h5s.create_simple((clips, *row))
            h5py.h5d.create(stream.id, b"avadataset", h5py.h5t.IEEE_F64LE, space, layout)
