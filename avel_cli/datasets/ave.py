"""AVE: 4143 clips of 10 s with one category each, and the seconds in which its event is both seen and heard.

Labels are made from `Annotations.txt` alone. The splits overlap: 8 videos of test and 10 of val are in train as well,
under another category; the published figures count them, and so does this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from avel_cli.datasets import ave_files
from avel_cli.datasets.ave_files import SEGMENTS, File, Rows, inspect, read_array, require
from avel_cli.datasets.findings import Finding
from avel_cli.errors import SetupError

Split = Literal["train", "val", "test"]


class Clip(NamedTuple):
    """A line of the annotations; the event lasts from `start` to `end`, whole seconds, `end` not included."""

    category: str
    video: str
    start: int
    end: int


@dataclass(frozen=True)
class Annotations:
    """All clips in the order of the file, and the labels that follow from them. `N` clips, `K` categories."""

    clips: tuple[Clip, ...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The categories in the order of their first appearance, which is the published numbering."""
        return tuple(dict.fromkeys(clip.category for clip in self.clips))

    @cached_property
    def categories(self) -> Tensor:
        """Category of each clip, `[N]` int64."""
        number = {name: index for index, name in enumerate(self.labels)}
        return torch.tensor([number[clip.category] for clip in self.clips])

    @cached_property
    def videos(self) -> Tensor:
        """For each clip the first clip of the same video, `[N]` int64."""
        first: dict[str, int] = {}
        return torch.tensor([first.setdefault(clip.video, row) for row, clip in enumerate(self.clips)])

    @cached_property
    def events(self) -> Tensor:
        """Which segments hold the event, `[N, 10]` bool."""
        seconds = range(SEGMENTS)
        return torch.tensor([[clip.start <= second < clip.end for second in seconds] for clip in self.clips])

    @cached_property
    def segments(self) -> Tensor:
        """Class index of each segment, `[N, 10]` int64; `K` is background."""
        return self.categories.unsqueeze(1).where(self.events, len(self.labels))

    @cached_property
    def one_hot(self) -> Tensor:
        """`segments` as `[N, 10, K + 1]` float32, the last column being background."""
        return F.one_hot(self.segments, len(self.labels) + 1).float()

    @cached_property
    def bags(self) -> Tensor:
        """Category of each clip as `[N, K + 1]` float32: all that weak supervision knows.

        As published, the one clip without an event has its category too.
        """
        return F.one_hot(self.categories, len(self.labels) + 1).float()


def read_annotations(path: Path) -> tuple[Clip, ...]:
    """The clips that an `Annotations.txt` lists.

    Raises:
        SetupError: if the file is missing, or a line is not `Category&VideoId&quality&start&end`.
    """
    if not path.is_file():
        raise SetupError(f"{path}: missing; {ave_files.ANNOTATIONS.remedy}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise SetupError(f"{path}: not a text file; {ave_files.ANNOTATIONS.remedy}") from None
    clips = []
    for number, line in enumerate(lines, start=1):
        if number == 1 and line.lower().startswith("category&videoid&"):
            continue  # some copies have a line of titles
        try:
            category, video, _, start, end = line.split("&")
            clips.append(Clip(category, video, int(start), int(end)))
        except ValueError:
            raise SetupError(f"{path} line {number}: not category&video&quality&start&end, but {line!r}") from None
        if not 0 <= clips[-1].start <= clips[-1].end <= SEGMENTS:
            raise SetupError(f"{path} line {number}: no event within 0 to {SEGMENTS} s: {start} to {end}")
    if not clips:
        raise SetupError(f"{path}: lists no clips; {ave_files.ANNOTATIONS.remedy}")
    return tuple(clips)


def read_split(folder: Path, split: Split, clips: int, orders: Mapping[str, File] = ave_files.ORDERS) -> Tensor:
    """Which of the clips are in the split, `[n]` int64, in the published order.

    Args:
        folder: of the data set.
        split: which.
        clips: how many there are in all.
        orders: the file of each split; cross-modal localization has others.

    Raises:
        SetupError: if the file is missing or names a clip twice or one that does not exist.
    """
    file = orders[split]
    rows = read_array(folder, file)
    if len(rows.unique()) != len(rows) or not len(rows) or rows.min() < 0 or rows.max() >= clips:
        raise SetupError(f"{folder / file.name}: not {len(rows)} different rows of {clips} clips; {file.remedy}")
    return rows


class AVESample(NamedTuple):
    """One clip, or with a first dimension `B` several, all float32.

    Attributes:
        audio: features `[10, D]`; published: VGGish, 128.
        visual: features `[10, 7, 7, D]`, channels last; published: VGG-19, 512.
        labels: one-hot of each segment `[10, K + 1]`, the last column being background.
        bag: one-hot of the clip `[K + 1]`; the background column is for the clips without an event of weak training.
    """

    audio: Tensor
    visual: Tensor
    labels: Tensor
    bag: Tensor


class AVE(Dataset[AVESample]):
    """A split of AVE with features in the layout of the published ones, read row by row from files of 7.7 GB.

    A stock `DataLoader` reads a whole batch at once, front to back, through `__getitems__`; workers are welcome.

    Attributes:
        names: category names, `K` of them.
        rows: `[n]` int64, which rows of the features the clips are.
        labels: `[n, 10, K + 1]` float32.
        bags: `[n, K + 1]` float32.
        videos: `[n]` int64, a number for each video: some are in several clips.
        audio_dim: width of the audio features.
        visual_dim: channels of the visual features.
        encoders: that made the audio and the visual features; empty where the files do not say.
    """

    def __init__(self, folder: Path, split: Split, *, weak: bool = False, in_memory: bool = False) -> None:
        """Check the files and read the labels.

        Args:
            folder: where the published files lie.
            split: which clips.
            weak: add the background clips that weakly supervised training has beside the split (published: 178).
            in_memory: read the features of the split now; train takes 3.4 GB.

        Raises:
            ValueError: if there is no such split.
            SetupError: if a file that is needed is missing or is not what it should be.
        """
        if split not in get_args(Split):
            raise ValueError(f"split is {split!r}; it must be one of {', '.join(get_args(Split))}")
        annotations = Annotations(read_annotations(folder / ave_files.ANNOTATIONS.name))
        clips = len(annotations.clips)
        self.names = annotations.labels
        self.rows = read_split(folder, split, clips)
        self.labels, self.bags = annotations.one_hot[self.rows], annotations.bags[self.rows]
        self.videos = annotations.videos[self.rows]
        audio, visual = [(ave_files.AUDIO_FEATURES, clips)], [(ave_files.VISUAL_FEATURES, clips)]
        if weak:
            background = self._add_background(folder, clips)
            audio.append((ave_files.NOISY_AUDIO, background))
            visual.append((ave_files.NOISY_VISUAL, background))
        features = _rows(folder, audio), _rows(folder, visual)
        self.audio_dim, self.visual_dim = (rows.row_shape[-1] for rows in features)
        self.encoders = tuple(rows.encoder for rows in features)
        self._features = tuple(rows.read(self.rows) for rows in features) if in_memory else features

    def _add_background(self, folder: Path, clips: int) -> int:
        """Take in the clips without an event, whose rows come after all others; returns how many there are."""
        file = ave_files.NOISY_LABELS
        bags = read_array(folder, file)
        background = F.one_hot(torch.full((len(bags),), len(self.names)), len(self.names) + 1).float()
        if not torch.equal(bags, background):
            raise SetupError(f"{folder / file.name}: holds labels other than background; {file.remedy}")
        rows = torch.arange(clips, clips + len(bags))
        self.rows, self.videos = torch.cat((self.rows, rows)), torch.cat((self.videos, rows))
        self.bags = torch.cat((self.bags, background))
        self.labels = torch.cat((self.labels, background.unsqueeze(1).expand(-1, SEGMENTS, -1)))
        return len(bags)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.rows)

    def batch(self, index: Sequence[int] | Tensor) -> AVESample:
        """The clips at these places, stacked."""
        chosen = torch.as_tensor(index)
        audio, visual = (
            features[chosen] if isinstance(features, Tensor) else features.read(self.rows[chosen])
            for features in self._features
        )
        return AVESample(audio, visual, self.labels[chosen], self.bags[chosen])

    def __getitem__(self, index: int) -> AVESample:
        """The clip at this place."""
        return self.__getitems__([index])[0]

    def __getitems__(self, index: Sequence[int]) -> list[AVESample]:
        """The clips at these places; this is what a `DataLoader` asks for."""
        return [AVESample(*parts) for parts in zip(*self.batch(index), strict=True)]


def load_splits(folder: Path, *, weak: bool = False, in_memory: bool = False) -> dict[Split, AVE]:
    """All splits, for training: with `weak` the background clips are in train.

    Raises:
        SetupError: if a file is missing or is not what it should be, or a clip is in two splits.
    """
    splits = {
        split: AVE(folder, split, weak=weak and split == "train", in_memory=in_memory) for split in get_args(Split)
    }
    for one, other in combinations(splits, 2):
        if shared := set(splits[one].rows.tolist()) & set(splits[other].rows.tolist()):
            files = " and ".join(ave_files.ORDERS[split].name for split in (one, other))
            remedy = ave_files.ORDERS[other].remedy
            raise SetupError(f"{folder}: {files} share clips ({len(shared)}, first row {min(shared)}); {remedy}")
    return splits


def _rows(folder: Path, files: Sequence[tuple[File, int]]) -> Rows:
    """The features in one or two files of the folder, which must be of one encoder."""
    rows = [Rows([(require(folder, file, count), file.key)]) for file, count in files]
    if len({part.row_shape for part in rows}) > 1:
        names = " and ".join(file.name for file, _ in files)
        raise SetupError(f"{folder}: {names} hold features of different widths; make both with the same encoder")
    return Rows([(folder / file.name, file.key) for file, _ in files])


def check(folder: Path) -> list[Finding]:
    """What is in the features folder: each file, whether the labels agree, the splits, and videos that are repeated."""
    source = ave_files.ANNOTATIONS
    annotations, path = None, folder / source.name
    try:
        annotations = Annotations(read_annotations(path))
        detail = f"{len(annotations.clips)} clips, {len(annotations.labels)} categories"
        findings = [Finding(source.name, "ok", detail + ave_files.as_published(path, source))]
    except SetupError as error:
        fault = Finding(source.name, "wrong", str(error), source.remedy)
        findings = [fault if path.is_file() else replace(fault, state="missing", detail="")]
    clips = len(annotations.clips) if annotations else None
    findings += [inspect(folder, file, None) for file in ave_files.ORDERS.values()]
    findings += [inspect(folder, file, clips) for file in (ave_files.AUDIO_FEATURES, ave_files.VISUAL_FEATURES)]
    findings += [_compared(folder, file, annotations) for file in (ave_files.EVENT_LABELS, ave_files.BAG_LABELS)]
    noisy = inspect(folder, ave_files.NOISY_LABELS, None)
    rows = len(read_array(folder, ave_files.NOISY_LABELS)) if noisy.state == "ok" else None
    findings += [noisy, *(inspect(folder, file, rows) for file in (ave_files.NOISY_AUDIO, ave_files.NOISY_VISUAL))]
    if annotations and all(finding.state == "ok" for finding in findings[1:4]):
        findings += _splits(folder, annotations)
    return findings


def _compared(folder: Path, file: File, annotations: Annotations | None) -> Finding:
    """A label file, held against the labels made from the annotations."""
    finding = inspect(folder, file, len(annotations.clips) if annotations else None)
    if annotations is None or finding.state != "ok":
        return finding
    ours = annotations.events.float() if file is ave_files.EVENT_LABELS else annotations.bags
    theirs = read_array(folder, file)
    different = int((theirs != ours).any(dim=1).sum()) if theirs.shape == ours.shape else len(ours)
    if different:
        detail = f"{different} rows differ from Annotations.txt, which is what avel goes by"
        return replace(finding, state="wrong", detail=detail, remedy=file.remedy)
    return replace(finding, detail=f"{finding.detail}; equal to Annotations.txt")


def _splits(folder: Path, annotations: Annotations) -> list[Finding]:
    """The splits, how much of each is event, and which videos are where they should not be."""
    findings: list[Finding] = []
    rows: dict[str, Tensor] = {}
    videos: dict[str, set[str]] = {}
    for split in get_args(Split):
        try:
            rows[split] = read_split(folder, split, len(annotations.clips))
        except SetupError as error:
            return [*findings, Finding(f"split {split}", "wrong", str(error), ave_files.ORDERS[split].remedy)]
        videos[split] = {annotations.clips[row].video for row in rows[split].tolist()}
        share = 100 * float(annotations.events[rows[split]].double().mean())
        findings.append(Finding(f"split {split}", "ok", f"{len(rows[split])} clips, {share:.1f} % of segments event"))
    together = Counter(torch.cat(list(rows.values())).tolist())
    if max(together.values()) > 1 or len(together) < len(annotations.clips):
        detail = f"{len(together)} of {len(annotations.clips)} clips are in a split, {together.total()} times"
        findings.append(Finding("splits", "wrong", detail, ave_files.ORDERS["train"].remedy))
    counts = Counter(clip.video for clip in annotations.clips)
    repeated = sum(count > 1 for count in counts.values())
    detail = f"{len(counts)} videos, {repeated} of them in more than one clip"
    shared = ", ".join(
        f"{len(videos[one] & videos[other])} in {one} and {other}"
        for one, other in (("train", "test"), ("train", "val"), ("val", "test"))
    )
    return [*findings, Finding("repeated videos", "ok", detail), Finding("shared videos", "ok", shared)]
