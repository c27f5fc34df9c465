"""What targeted fine-tuning learns from: of each video ten frames and one sound feature, made once and kept.

A video becomes one file of 1.6 MB, so that a run of fifty epochs decodes each video once, and one that was killed goes
on with the next. Frames are kept as small as they can be without any loss to the picture encoder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import load_file, save
from torch import Generator, Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import center_crop

from avel_cli.datasets import ave_files
from avel_cli.datasets.ave import Split, read_annotations, read_split
from avel_cli.datasets.ave_files import SEGMENTS
from avel_cli.datasets.folder import TABLE, assign_splits, read_spans
from avel_cli.encoders import resnet50, vgg19
from avel_cli.encoders.frame_maps import FRAMES_PER_SECOND
from avel_cli.encoders.frames import resize
from avel_cli.encoders.stream import BLOCK_BYTES
from avel_cli.errors import InputError, MediaError, UsageError
from avel_cli.extraction import Extractor, Options, read_facts
from avel_cli.hub import weights_file
from avel_cli.media.decode import read_frames
from avel_cli.media.probe import Media, probe
from avel_cli.pipeline import missing_stream
from avel_cli.training.seeds import seeded
from avel_cli.writers.files import atomic_path, make_folder, result_names

log = logging.getLogger("avel")
FORMAT = "avel.pair/1"


def ave_videos(folder: Path, inputs: Sequence[Path]) -> list[Path]:
    """Those of the inputs that are in train or val of AVE, each once; ids that are in test as well are left out.

    Args:
        folder: of `Annotations.txt` and the order files.
        inputs: video files, named by their ids.

    Raises:
        SetupError: if an annotation file is missing or wrong.
        UsageError: if no video is among the inputs.
    """
    clips = read_annotations(folder / ave_files.ANNOTATIONS.name)
    rows = {split: read_split(folder, split, len(clips)).tolist() for split in get_args(Split)}
    test = {clips[row].video for row in rows["test"]}
    wanted = dict.fromkeys(clips[row].video for split in ("train", "val") for row in rows[split])
    wanted = {video: None for video in wanted if video not in test}
    named = {path.stem: path for path in inputs}
    missing = [video for video in wanted if video not in named]
    if len(missing) == len(wanted):
        raise UsageError(
            f"none of the {len(wanted)} videos of train and val is there; the files are named by their ids"
        )
    if missing:
        log.warning("%d of %d videos are not there, as %s; the others are used", len(missing), len(wanted), missing[0])
    return [named[video] for video in wanted if video in named]


def own_videos(folder: Path) -> list[Path]:
    """The videos that the `labels.csv` of one's own folder puts into train or val.

    Raises:
        SetupError: if the table is missing or wrong.
    """
    splits = assign_splits(read_spans(folder / TABLE))
    return [folder / file for file, split in sorted(splits.items()) if split != "test"]


def middle(frame: Tensor) -> Tensor:
    """The square of which `resnet50` sees the middle: uint8 `[1, 3, 232, 232]` from `[1, H, W, 3]`."""
    short = min(frame.shape[1:3])
    sides = (resnet50.SHORT_SIDE * side // short for side in frame.shape[1:3])
    square: Tensor = center_crop(resize(frame, *sides, antialias=True), [resnet50.SHORT_SIDE] * 2)
    return square


def pressed(frame: Tensor) -> Tensor:
    """The whole frame as `vgg19` sees it: uint8 `[1, 3, 224, 224]` from `[1, H, W, 3]`."""
    return resize(frame, vgg19.SIDE, vgg19.SIDE, antialias=False)


# What the encoder's own `picture` makes of the small frame is equal to what it makes of the full one.
SMALL: dict[str, Callable[[Tensor], Tensor]] = {"resnet50": middle, "vgg19": pressed}


def choose_frames(media: Media, small: Callable[[Tensor], Tensor], rng: Generator) -> Tensor:
    """One frame of each of the first ten seconds, drawn from the 16 of AVE's features: uint8 `[10, S, S, 3]`.

    Seconds are counted in frames, as for AVE's features: of a video shorter than ten seconds, they are tenths.

    Raises:
        MediaError: if there are no pictures.
    """
    if media.video is None:
        raise MediaError(f"{str(media.path)!r} has no video stream")
    drawn = torch.randint(FRAMES_PER_SECOND, (SEGMENTS,), generator=rng)
    wanted = (torch.arange(SEGMENTS) * FRAMES_PER_SECOND + drawn).tolist()
    height, width = media.video.upright_size
    batch = max(1, min(FRAMES_PER_SECOND, BLOCK_BYTES // (height * width * 3)))
    pace = max(1, media.video.frames // max(SEGMENTS, int(media.duration)))
    kept: list[Tensor] = []
    done = 0
    with closing(read_frames(media, FRAMES_PER_SECOND, None, batch=batch, pace=pace)) as reading:
        for block in reading:
            frames = torch.from_numpy(block.frames)
            due = [unit - done for unit in wanted[len(kept) :] if unit < done + len(frames)]
            kept += [small(frames[place : place + 1]) for place in due]
            done += len(frames)
            if len(kept) == SEGMENTS:
                break
    kept += [small(frames[-1:])] * (SEGMENTS - len(kept))  # a file that was cut off: its last picture is held
    return torch.cat(kept).permute(0, 2, 3, 1).contiguous()


class PairMaker:
    """Makes pairs: the frames that a picture encoder will learn from, and what a frozen sound encoder hears.

    Args:
        picture: a key of `SMALL`.
        sound: a sound encoder.
        weights: its weights file, of avel.
        seed: of the choice of frames, which depends on nothing else but the name of the file.
        device: where the sound encoder runs.
    """

    def __init__(self, picture: str, sound: str, weights: Path, seed: int, device: str) -> None:
        self._extractor = Extractor([sound], Options(segments=SEGMENTS), device, weights={sound: weights})
        self._small, self._sound, self._seed = SMALL[picture], sound, seed
        self._facts = {"format": FORMAT, "picture": picture, "seed": seed, "sound": sound}
        self._facts["weights"] = weights_file.sha256(weights)

    def facts(self, path: Path) -> dict[str, Any]:
        """What makes two pairs the same."""
        return {**self._facts, "file": path.name, "size_bytes": path.stat().st_size}

    def pair(self, path: Path) -> dict[str, Tensor]:
        """`frames` uint8 `[10, S, S, 3]`, and `sound` `[D]`: the mean of the features of the first ten seconds.

        Raises:
            InputError: if the file cannot be decoded or lacks pictures or sound.
        """
        media = probe(path)
        if reason := missing_stream(media):
            raise MediaError(f"{str(path)!r}: {reason}")
        number = int.from_bytes(hashlib.sha256(path.name.encode(errors="surrogateescape")).digest()[:8])
        frames = choose_frames(media, self._small, seeded(self._seed, number % 10_000_000))
        seconds = self._extractor.encoders[self._sound].count(media.duration)
        heard = self._extractor.features(media, self._sound).values[:seconds]  # silence after the end says nothing
        return {"frames": frames, "sound": heard.mean(0)}


def collect(
    maker: PairMaker, videos: Sequence[Path], folder: Path, rank: int, world: int, say: Callable[[str], None]
) -> list[Path]:
    """Makes the pairs of a process's share of the videos that are not in the folder yet, and returns their files.

    Videos that cannot be used are said and left out.

    Args:
        maker: of the pairs.
        videos: video files, each once.
        folder: where pairs are kept.
        rank: of this process among `world`.
        world: number of processes.
        say: is told a line for each video that is left out.

    Raises:
        UsageError: if the folder cannot be written.
    """
    make_folder(folder)
    names = result_names([Path(os.path.abspath(path)) for path in videos])
    made = []
    for path, name in list(zip(videos, names, strict=True))[rank::world]:
        file = folder / f"{name}.pair.safetensors"
        try:
            _make(maker, path, file)
        except InputError as error:
            say(f"left out: {error}")
        else:
            made.append(file)
    return made


def _make(maker: PairMaker, path: Path, file: Path) -> None:
    """Write the pair of a video, unless it is there.

    Raises:
        InputError: if the video cannot be used.
        UsageError: if the pair cannot be written.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    facts = maker.facts(path)
    if read_facts(file) == facts:
        return
    pair = maker.pair(path)
    try:
        with atomic_path(file) as part:
            part.write_bytes(save(pair, {"avel": json.dumps(facts)}))
    except InputError as error:
        raise UsageError(str(error)) from None


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Frames uint8 `[10, S, S, 3]` and sound feature `[D]` of each video, read from the files of `collect`."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The pair at this place."""
        tensors = load_file(self.files[index])
        return tensors["frames"], tensors["sound"]
