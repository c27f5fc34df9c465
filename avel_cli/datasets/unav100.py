"""UnAV-100: 10,790 untrimmed videos with events of 100 classes, which may overlap; annotations and published features.

Geng, Wang, Duan, Cong and Zheng, "Dense-Localizing Audio-Visual Events in Untrimmed Videos", CVPR 2023.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from avel_cli.datasets.dense import Sample
from avel_cli.datasets.findings import Finding, State
from avel_cli.errors import SetupError
from avel_cli.hub.weights_file import sha256
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.proposals import to_steps

ANNOTATIONS = "unav100_annotations.json"
Split = Literal["train", "validation", "test"]
Segments = NDArray[np.float64]
Labels = NDArray[np.int64]

SHORT = 0.9
_DIGEST = "2fdfc587ad36fc405496b5520d967b5df54b2d82027d16d69e968b5cf04d3dba"
_SOURCE = "copy data/unav100_annotations.json from github.com/ttgeng233/UnAV, commit 60144ed"


@dataclass(frozen=True)
class FeatureSet:
    """Features that the authors publish: one file of rows in time for each video and kind.

    Attributes:
        name: for people.
        visual: ending and width of the files that make up the visual features, joined in this order.
        audio: the same of the sound.
        grid: where the rows lie in time.
        steps: length that batches are padded to.
        reach: steps by which events may stick out of a training crop: half a window where the authors count what
            the outermost features have seen as inside.
        encoders: that make such features; of sound first, then those of pictures in the order of the files.
        source: where to get the files.
    """

    name: str
    visual: tuple[tuple[str, int], ...]
    audio: tuple[tuple[str, int], ...]
    grid: Grid
    steps: int
    reach: float
    encoders: tuple[str, ...]
    source: str

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """Ending and width of all files of a video."""
        return self.visual + self.audio


I3D = FeatureSet(
    name="I3D and VGGish",
    visual=(("_rgb.npy", 1024), ("_flow.npy", 1024)),
    audio=(("_vggish.npy", 128),),
    grid=Grid(stride=0.32, window=0.96),  # 24 and 8 frames at 25 a second
    steps=224,
    reach=0.0,
    encoders=("vggish-unav", "i3d-rgb", "i3d-flow"),
    source="download the features linked in the README of github.com/ttgeng233/UnAV (Google Drive, Baidu)",
)
ONE_PEACE = FeatureSet(
    name="ONE-PEACE",
    visual=(("_one_peace_video_finetune.npy", 1536),),
    audio=(("_one_peace_audio.npy", 1536),),
    grid=Grid(stride=0.25, window=1.0),  # 16 and 4 frames at 16 a second
    steps=256,
    reach=2.0,
    encoders=("one-peace-sound", "one-peace-picture"),
    source="download the features linked in the README of github.com/ttgeng233/UniAV (Baidu)",
)
FEATURE_SETS = (I3D, ONE_PEACE)


@dataclass(frozen=True, eq=False)
class Video:
    """An annotated video.

    Attributes:
        name: its identifier; may begin with `-`.
        duration: in seconds.
        split: the part of the data set it belongs to.
        segments: begin and end of its events in seconds, `[N, 2]`, within `[0, duration]`.
        labels: class of each event, `[N]`.
    """

    name: str
    duration: float
    split: Split
    segments: Segments
    labels: Labels


@dataclass(frozen=True)
class Annotations:
    """All videos in the order of the file, and the names of the classes, by index."""

    videos: tuple[Video, ...]
    classes: tuple[str, ...]

    def of(self, split: Split) -> tuple[Video, ...]:
        """The videos of one part."""
        return tuple(video for video in self.videos if video.split == split)


def find_annotations(folder: Path) -> Path:
    """The annotation file in the folder or its folder `annotations`.

    Raises:
        SetupError: if neither has it, with where to get it.
    """
    for path in (folder / ANNOTATIONS, folder / "annotations" / ANNOTATIONS):
        if path.is_file():
            return path
    raise SetupError(f"{folder}: no {ANNOTATIONS} there; {_SOURCE}")


def is_published(path: Path) -> bool:
    """Whether an annotation file is the one that its authors published, byte for byte."""
    return sha256(path) == _DIGEST


def read_annotations(path: Path) -> Annotations:
    """Everything in the annotation file.

    Raises:
        SetupError: if it cannot be read, or a video in it is not what it should be.
    """
    try:
        database = json.loads(path.read_bytes())["database"]
        names: dict[int, str] = {}
        videos = tuple(_video(name, entry, names) for name, entry in database.items())
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}; {_SOURCE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SetupError(f"{path}: not UnAV-100's annotations ({reason}); {_SOURCE}") from None
    if not videos or sorted(names) != list(range(len(names))) or len(set(names.values())) != len(names):
        raise SetupError(f"{path}: {len(videos)} videos, classes not numbered from 0 by names of their own; {_SOURCE}")
    return Annotations(videos, tuple(names[label] for label in range(len(names))))


def _video(name: str, entry: dict[str, Any], names: dict[int, str]) -> Video:
    """One video of the file; `names` collects the classes. ValueError, KeyError or TypeError if it is not right."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):  # it becomes part of file names
        raise ValueError(f'"{name}" is no video identifier')
    rows, duration = entry["annotations"], entry["duration"]
    segments = np.array([row["segment"] for row in rows], dtype=np.float64).reshape(len(rows), 2)
    if not (0 < duration < math.inf and np.all((segments[:, 0] >= 0) & (segments[:, 0] < segments[:, 1]))):
        raise ValueError(f"{name}: an event or the video is empty")
    if not np.all(segments[:, 1] <= duration):
        raise ValueError(f"{name}: an event ends after the video")
    if entry["subset"] not in get_args(Split):
        raise ValueError(f'{name}: no split is called "{entry["subset"]}"')
    for row in rows:
        number, label = row["label_id"], row["label"]
        if type(number) is not int or type(label) is not str or names.setdefault(number, label) != label:
            raise ValueError(f"{name}: label {label!r} has the number {number!r}")
    labels = np.array([row["label_id"] for row in rows], dtype=np.int64)
    return Video(name, float(duration), entry["subset"], segments, labels)


class Features(Dataset[Sample]):
    """Videos with their features, read when asked for; files stay closed in between, so workers may share it.

    Both modalities are cut to the shorter one; row `t` of both is taken for the same moment.
    """

    def __init__(self, videos: Sequence[Video], folder: Path, features: FeatureSet) -> None:
        """Find the files of the videos.

        Args:
            videos: of one split.
            folder: has the features, in any inner folder.
            features: which set to read.

        Raises:
            SetupError: if files are missing, with where to get them.
        """
        self.videos = tuple(videos)
        self.features = features
        self._files = find_arrays(folder)
        names = [video.name + ending for video in videos for ending, _ in features.files]
        missing = [name for name in names if name not in self._files]
        if missing:
            raise SetupError(
                f"{folder}: {len(missing)} of {len(names)} files are missing, {missing[0]} first; {features.source}"
            )

    def __len__(self) -> int:
        """How many videos."""
        return len(self.videos)

    def __getitem__(self, index: int) -> Sample:
        """Read one video.

        Raises:
            SetupError: if a file cannot be read or has another shape than the set's.
        """
        video = self.videos[index]
        visual, audio = (
            [open_array(self._files[video.name + ending], width) for ending, width in parts]
            for parts in (self.features.visual, self.features.audio)
        )
        length = min(map(len, visual + audio))
        segments = torch.from_numpy(to_steps(video.segments, self.features.grid)).float()
        rows = slice(0, length)
        labels = torch.from_numpy(video.labels)
        return Sample(video.name, video.duration, _join(audio, rows), _join(visual, rows), segments, labels)


def _join(arrays: Sequence[NDArray[np.float32]], rows: slice) -> Tensor:
    """These rows of arrays `[T, D]` side by side, read into memory."""
    return torch.from_numpy(np.concatenate([array[rows] for array in arrays], axis=1, dtype=np.float32))


def find_arrays(folder: Path) -> dict[str, Path]:
    """Path of every `.npy` file in the folder and those inside it, by name."""
    return {
        name: Path(parent, name)
        for parent, _, names in sorted(os.walk(folder), reverse=True)
        for name in names
        if name.endswith(".npy")
    }


def open_array(path: Path, width: int) -> NDArray[np.float32]:
    """The rows of a file `[T, width]`, mapped into memory: only what is used is read.

    Raises:
        SetupError: if the file is damaged, or is no such array.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SetupError(f"{path}: cannot be read ({error}); get the file again") from None
    if array.ndim != 2 or array.shape[1] != width or not len(array) or array.dtype.kind != "f":
        raise SetupError(f"{path}: {array.shape} {array.dtype} is not (rows, {width}) of floats; get the file again")
    return array


def check(folder: Path) -> list[Finding]:
    """What of the data set lies in a folder: the annotations, and each kind of feature file.

    Files are short if they have less than `SHORT` times the rows that the video's duration asks for. A feature set of
    which there is nothing is not needed if there is something of another.
    """
    try:
        path = find_annotations(folder)
        annotations = read_annotations(path)
    except SetupError as error:
        there = any((folder / inner / ANNOTATIONS).is_file() for inner in ("", "annotations"))
        return [Finding(ANNOTATIONS, "wrong" if there else "missing", str(error), _SOURCE)]
    files = find_arrays(folder)
    events = sum(len(video.labels) for video in annotations.videos)
    published = "as published" if is_published(path) else "not the published file"
    detail = f"{len(annotations.videos)} videos, {events} events, {len(annotations.classes)} classes, {published}"
    findings = [Finding(ANNOTATIONS, "ok", detail)]
    present = [features for features in FEATURE_SETS if any(_files_of(features, annotations.videos, files))]
    return findings + [
        _inspect(ending, width, features, annotations.videos, files, needed=features in present or not present)
        for features in FEATURE_SETS
        for ending, width in features.files
    ]


def _files_of(features: FeatureSet, videos: Sequence[Video], files: Mapping[str, Path]) -> Iterator[Path]:
    """Those files of the set that are there."""
    names = (video.name + ending for video in videos for ending, _ in features.files)
    return (files[name] for name in names if name in files)


def _inspect(
    ending: str, width: int, features: FeatureSet, videos: Sequence[Video], files: Mapping[str, Path], *, needed: bool
) -> Finding:
    """What there is of one kind of feature file; its worst fault names the state."""
    faults: dict[State, list[str]] = {"missing": [], "wrong": [], "short": []}
    for video in videos:
        name = video.name + ending
        if name not in files:
            faults["missing"].append(name)
            continue
        try:
            rows = len(open_array(files[name], width))
        except SetupError:
            faults["wrong"].append(name)
            continue
        if rows < SHORT * features.grid.count(video.duration):
            faults["short"].append(name)
    counts = [f"{len(names)} {state} ({names[0]} first)" for state, names in faults.items() if names]
    state: State = next((state for state, names in faults.items() if names), "ok")
    detail = ", ".join([f"{features.name}: {len(videos) - len(faults['missing'])} of {len(videos)} files", *counts])
    return Finding(f"*{ending}", state, detail, "" if state == "ok" else features.source, needed)
