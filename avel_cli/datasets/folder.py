"""One's own videos: a folder with `labels.csv`, whose columns are `file,start,end,label` and perhaps `split`.

Commas, semicolons or tabs part its columns; times are seconds, `75.5` or `75,5`, or timecodes, `1:15.5` or `0:01:15.5`.

Videos become clips like AVE's: up to 10 segments of 1 s with events of one label. A clip ends early where another
label begins, so that no second with an event is ever called background and none is used twice; seconds with several
labels at once belong to no clip, and are counted. Features come from whoever made them.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from avel_cli.datasets.ave import AVESample, Split
from avel_cli.datasets.ave_files import SEGMENTS
from avel_cli.errors import SetupError

log = logging.getLogger("avel")
TABLE = "labels.csv"
COLUMNS = ("file", "start", "end", "label")
TIMECODE = re.compile(r"([0-9]{1,4}:[0-5]?[0-9]|[0-9]{1,4}):[0-5]?[0-9]([.,][0-9]+)?")  # [hours:]minutes:seconds
BACKGROUND = "background"
SHARES: dict[Split, tuple[float, float]] = {"test": (0, 0.1), "val": (0.1, 0.2), "train": (0.2, 1)}  # of hashes
Features = Callable[[Path, int, int], tuple[Tensor, Tensor]]  # file, first segment, last + 1 → audio, visual


class Span(NamedTuple):
    """A line of the table: in this file, this label is seen and heard from `start` to `end`, in seconds."""

    file: str
    start: float
    end: float
    label: str
    split: str
    line: int


class Clip(NamedTuple):
    """Up to 10 segments of a file from segment `first` on, and the class index of each; `K` is background."""

    file: str
    first: int
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What a folder's table comes to.

    Attributes:
        folder: where the videos are.
        names: the labels in alphabetical order.
        clips: of each split, in order of file and time.
        left_out: seconds with several labels at once, in no clip.
    """

    folder: Path
    names: tuple[str, ...]
    clips: Mapping[Split, tuple[Clip, ...]]
    left_out: int


def read_spans(path: Path) -> list[Span]:
    """The lines of a table of events; columns beyond those of this module are passed over.

    Raises:
        SetupError: if the table is missing, empty or has no such columns, or for the first line that makes no sense.
    """
    if not path.is_file():
        raise SetupError(f"{path}: missing; it must list the events: {','.join(COLUMNS)}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets like to put a mark in front
            delimiter = max(",;\t", key=stream.readline().count)  # of several as many, the comma
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=delimiter)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise SetupError(f"{path} line 1: no column {', '.join(lacking)}; the first line names the columns")
            spans = [_span(path, row, reader.line_num) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SetupError(f"{path}: not a table in UTF-8: {error}") from None
    if not spans:
        raise SetupError(f"{path}: lists no events")
    return spans


def _span(path: Path, row: Mapping[str, str | None], line: int) -> Span:
    file, start, end, label = ((row[name] or "").strip() for name in COLUMNS)
    split = (row.get("split") or "").strip()
    fault = _fault(path.parent, file, start, end, label, split)
    if fault:
        raise SetupError(f"{path} line {line}: {fault}")
    return Span(Path(file).as_posix(), _seconds(start), _seconds(end), label, split, line)


def _seconds(text: str) -> float:
    """The time of a cell in seconds.

    Raises:
        ValueError: if it is neither a number nor a timecode of minutes and seconds, perhaps with hours.
    """
    *larger, last = text.replace(",", ".").split(":")
    if not larger:
        return float(last)
    if not TIMECODE.fullmatch(text):
        raise ValueError(f"no timecode: {text}")
    hours, minutes = ["0", *larger][-2:]
    return int(hours) * 3600 + int(minutes) * 60 + float(last)


def _fault(folder: Path, file: str, start: str, end: str, label: str, split: str) -> str:
    """What is wrong with the cells of a line, or nothing."""
    try:
        begin, until = _seconds(start), _seconds(end)
    except ValueError:
        return f"start and end must be seconds or timecodes such as 1:15.5, not {start!r} and {end!r}"
    if not (0 <= begin < until and math.isfinite(until)):
        return f"no event lasts from {start} to {end} s"
    if not label or label.casefold() == BACKGROUND:
        return f"{label!r} is no label; list events only, the rest is background"
    if split and split not in get_args(Split):
        return f"split is {split!r}; it must be one of {', '.join(get_args(Split))}"
    return "" if file and (folder / file).is_file() else f"no file {str(folder / file)!r}"


def assign_splits(spans: Sequence[Span]) -> dict[str, Split]:
    """The split of each file: that of the table, else about a tenth each for val and test, by a hash of the name.

    The hash is a number from 0 to 1; below 0.1 is test, below 0.2 val, the rest train. So a file stays in its split
    whatever other files come or go. Only where a split would be empty it takes the file whose hash is nearest to its
    range, from a split that has more than one; that file may change as long as the files are few.

    Raises:
        SetupError: if the table gives a split for some lines only or a file two, or if files are too few.
    """
    given: dict[str, str] = {}
    for span in spans:
        if given.setdefault(span.file, span.split) != span.split:
            raise SetupError(
                f"{TABLE} line {span.line}: {span.file} is in split {span.split!r} and {given[span.file]!r}"
            )
    if any(given.values()):
        without = next((span for span in spans if not span.split), None)
        if without:
            raise SetupError(f"{TABLE} line {without.line}: no split; give one on every line or on none")
        return {file: cast(Split, split) for file, split in given.items()}
    if len(given) < 3:
        raise SetupError(f"{TABLE}: {len(given)} files are too few to learn from and to test on; 3 are the least")
    return _by_hash(given)


def _by_hash(files: Iterable[str]) -> dict[str, Split]:
    """Splits of three files or more, as `assign_splits` describes; none is empty."""
    places = {file: int.from_bytes(hashlib.sha256(file.encode()).digest()[:6]) / 2**48 for file in sorted(files)}
    splits = {file: next(s for s, (_, end) in SHARES.items() if place < end) for file, place in places.items()}
    for split, (start, end) in SHARES.items():
        if split not in splits.values():
            counts = Counter(splits.values())
            spare = [file for file in splits if counts[splits[file]] > 1]
            splits[min(spare, key=lambda file: max(start - places[file], places[file] - end))] = split
    return splits


def second_labels(spans: Sequence[Span], names: Sequence[str], seconds: int) -> list[set[int]]:
    """Which labels each second of one file has: those of events that fill half of it.

    An event that fills half of none has the second that it has the largest part in.

    Raises:
        SetupError: if an event begins after the file has ended.
    """
    found: list[set[int]] = [set() for _ in range(seconds)]
    for span in spans:
        if not seconds or span.start >= seconds + 1:  # a file may end within a second that has no segment
            raise SetupError(f"{TABLE} line {span.line}: begins at {span.start:g} s, but {span.file} has {seconds} s")
        shares = [min(span.end, second + 1) - max(span.start, second) for second in range(seconds)]
        halves = [second for second, share in enumerate(shares) if share >= 0.5]
        for second in halves or [shares.index(max(shares))]:
            found[second].add(names.index(span.label))
    return found


def cut(labels: Sequence[set[int]]) -> Iterator[tuple[int, int]]:
    """First second and last + 1 of stretches of at most 10 s with at most one label; seconds with two are in none."""
    first, seen = 0, set[int]()
    for second, here in enumerate(labels):
        if second - first == SEGMENTS or len(seen | here) > 1:
            if second > first:
                yield first, second
            first, seen = second, set()
        if len(here) > 1:
            first = second + 1
        else:
            seen = seen | here
    if first < len(labels):
        yield first, len(labels)


def plan(folder: Path, seconds: Callable[[Path], int], needed: Collection[Split] = get_args(Split)) -> Plan:
    """Cut the videos that `labels.csv` lists into clips.

    Args:
        folder: of the table and the videos.
        seconds: number of segments that the features of a file have.
        needed: splits that must have clips; `train` among them if there is to be training.

    Raises:
        SetupError: if the table is missing or wrong, or a split that is needed gets no clip.
    """
    spans = read_spans(folder / TABLE)
    names = tuple(sorted({span.label for span in spans}))
    clips: dict[Split, list[Clip]] = {split: [] for split in get_args(Split)}
    left_out = late = 0
    for file, split in sorted(assign_splits(spans).items()):
        count, events = seconds(folder / file), [span for span in spans if span.file == file]
        labels = second_labels(events, names, count)
        late += sum(span.end > count + 1 for span in events)  # the last second may be a part that has no segment
        left_out += sum(len(here) > 1 for here in labels)
        for first, last in cut(labels):
            indices = tuple(next(iter(here), len(names)) for here in labels[first:last])
            clips[split].append(Clip(file, first, indices))
    if late:
        log.warning("%s: %d events end over a second after the last whole second of their file", TABLE, late)
    _notices(names, {split: clips[split] for split in needed}, left_out)
    return Plan(folder, names, {split: tuple(rows) for split, rows in clips.items()}, left_out)


def _notices(names: Sequence[str], clips: Mapping[Split, Sequence[Clip]], left_out: int) -> None:
    """Say what the user should know of these splits, and stop if there is nothing to learn from or to measure on."""
    for split, rows in clips.items():
        if not rows:
            raise SetupError(f'{TABLE}: no file is in split "{split}"; say so in a column split')
    if left_out:
        log.warning("%s: %d seconds hold events of several labels at once and are left out", TABLE, left_out)
    if "train" not in clips:
        return
    learnt = {index for clip in clips["train"] for index in clip.labels}
    never = [name for index, name in enumerate(names) if index not in learnt]
    if never:
        log.warning("%s: no event of %s is in train; it cannot be learnt", TABLE, ", ".join(never))


class Folder(Dataset[AVESample]):
    """A split of one's own videos as AVE-like clips; what is shorter than 10 segments is filled with background.

    Training takes the fill for background, figures leave it out: see `evaluation.clips.truth`.

    Attributes:
        names: the labels, `K` of them.
        labels: one-hot of each segment, `[n, 10, K + 1]` float32, the last column being background.
        filled: which segments are after the end of their clip, `[n, 10]` bool.
        bags: one-hot of each clip, `[n, K + 1]` float32; background if it has no event.
        videos: a number for each file, `[n]` int64.
    """

    def __init__(self, plan: Plan, split: Split, features: Features) -> None:
        """`features(file, first, last)` gives audio `[last - first, D]` and visual `[last - first, H, W, D]`."""
        self.names, self._folder, self._features = plan.names, plan.folder, features
        self._clips = plan.clips[split]
        files = sorted({clip.file for clip in self._clips})
        self.videos = torch.tensor([files.index(clip.file) for clip in self._clips])
        background = len(plan.names)
        segments = [(*clip.labels, *[background] * (SEGMENTS - len(clip.labels))) for clip in self._clips]
        lengths = torch.tensor([len(clip.labels) for clip in self._clips])
        self.filled = torch.arange(SEGMENTS) >= lengths.unsqueeze(1)
        self.labels = F.one_hot(torch.tensor(segments), background + 1).float()
        self.bags = F.one_hot(torch.tensor([min(row) for row in segments]), background + 1).float()

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._clips)

    def __getitem__(self, index: int) -> AVESample:
        """The clip at this place; features after its end are 0."""
        clip = self._clips[index]
        last = clip.first + len(clip.labels)
        audio, visual = map(_fill, self._features(self._folder / clip.file, clip.first, last))
        return AVESample(audio, visual, self.labels[index], self.bags[index])

    def batch(self, index: Sequence[int] | Tensor) -> AVESample:
        """The clips at these places, stacked."""
        samples = [self[int(place)] for place in index]
        return AVESample(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


def _fill(features: Tensor) -> Tensor:
    """`[n, ...]` to `[10, ...]` float32."""
    filled = features.new_zeros((SEGMENTS, *features.shape[1:]), dtype=torch.float32)
    filled[: len(features)] = features
    return filled
