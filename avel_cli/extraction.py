"""Features of files, on disk: one file an encoder, whole or not at all, with its grid and where it came from.

They are written while they are computed, so memory stays flat. What an earlier run has made is known by its provenance.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from avel_cli import encoders, published
from avel_cli.encoders.base import Encoder
from avel_cli.encoders.stream import Features, FeatureStream, Precision
from avel_cli.errors import InputError, UsageError
from avel_cli.hub import weights_file
from avel_cli.media.probe import Media
from avel_cli.media.select import select
from avel_cli.pipeline import Progress, choose_device
from avel_cli.writers.files import atomic_path, atomic_write

FORMAT = "avel.features/1"
LARGEST_HEADER = 1 << 20
# What the loader of UnAV-100 looks for behind a video's name.
UNAV_NAMES = {
    "vggish": "vggish_1s",  # not the one that the loader wants
    "i3d-rgb": "rgb",
    "i3d-flow": "flow",
    "vggish-unav": "vggish",
    "one-peace-picture": "one_peace_video_finetune",
    "one-peace-sound": "one_peace_audio",
}


@dataclass(frozen=True)
class Options:
    """How features are made.

    Attributes:
        audio_track: which sound to listen to, from 0; None takes the container's default, or the first not silent.
        precision: of the encoders' arithmetic; features are float32 all the same.
        segments: make this many features whatever the length of the file; None makes what fits.
        by_index: choose frames by their numbers, an equal share of all for each segment, as AVE's features were made,
            and not by the clock. For a constant, whole frame rate both are the same.
    """

    audio_track: int | None = None
    precision: Precision = "fp32"
    segments: int | None = None
    by_index: bool = False


class Extractor:
    """Encoders loaded once, used for any number of files.

    Args:
        names: of encoders; those of one stride make equally many features of a file.
        options: how.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        frames_per_second: see `Detector`, as the others.
        offline: never open a connection.
        weights: files to use in place of what the catalogue names.

    Raises:
        ModelError: if an encoder is unknown, or its weights are missing or damaged, or cannot be fetched.
        SetupError: if the device is not there.
        UsageError: if the frames of an encoder cannot be fewer, or it does not make a feature a second and the options
            are AVE's.
    """

    def __init__(
        self,
        names: Sequence[str],
        options: Options | None = None,
        device: str = "auto",
        *,
        frames_per_second: int | None = None,
        offline: bool = False,
        weights: Mapping[str, Path] | None = None,
    ) -> None:
        self.options = options or Options()
        files = published.prepare(names, offline=offline, files=weights or {})
        target = choose_device(device)
        self.encoders: dict[str, Encoder] = {
            name: encoders.load(name, files[name], frames_per_second).to(target) for name in names
        }
        self._hashes = {name: weights_file.sha256(files[name]) for name in names}
        others = [name for name, encoder in self.encoders.items() if encoder.grid.stride != 1]
        if others and (self.options.by_index or self.options.segments):
            raise UsageError(f"{others[0]} does not make a feature a second; AVE's way is for those that do")

    def count(self, name: str, duration: float) -> int:
        """How many features the encoder `name` makes of a file of `duration` seconds."""
        stride = self.encoders[name].grid.stride
        together = (encoder for encoder in self.encoders.values() if encoder.grid.stride == stride)
        return self.options.segments or min(encoder.count(duration) for encoder in together)

    def stream(self, media: Media, name: str) -> FeatureStream:
        """The features that the encoder `name` makes of a file, as they come."""
        options, count = self.options, self.count(name, media.duration)
        pace = max(1, media.video.frames // count) if options.by_index and media.video else None
        encoder = self.encoders[name]
        if encoder.modality == "sound":
            media, _ = select(media, options.audio_track)
        return FeatureStream(media, encoder, count, precision=options.precision, pace=pace)

    def features(self, media: Media, name: str) -> Features:
        """All of them at once, on the CPU."""
        with closing(self.stream(media, name)) as stream:
            values, present = zip(*((step.values.cpu(), step.present) for step in stream), strict=True)
        return Features(torch.cat(values), np.concatenate(present))

    def facts(self, media: Media, name: str) -> dict[str, Any]:
        """Where features come from: what makes two files of features the same."""
        encoder = self.encoders[name]
        return {
            "format": FORMAT,
            "encoder": name,
            "weights": self._hashes[name],
            "config": asdict(encoder.config),
            "grid": asdict(encoder.grid),
            "shape": [self.count(name, media.duration), *encoder.shape],
            "file": media.path.name,
            "size_bytes": media.size_bytes,
            "duration": round(media.duration, 6),
            **asdict(self.options),
        }

    def write(
        self, media: Media, name: str, path: Path, progress: Progress | None = None, *, overwrite: bool = False
    ) -> tuple[str, ...] | None:
        """Write the features that the encoder `name` makes of a file to `path`, unless they are there already.

        Args:
            media: the probed file.
            name: of the encoder.
            path: `*.safetensors`, with the tensors `features` `[T, ...]` float32 and `present` `[T]` uint8, whether
                there was anything to hear or see; or `*.npy`, the features alone, the facts in a `*.json` beside it.
            progress: is told the seconds done and the seconds in all.
            overwrite: replace what other settings made.

        Returns:
            What the decoder warns of, one line each; None if `path` holds these features already.

        Raises:
            InputError: if the file cannot be decoded, or `path` holds something else or cannot be written.
        """
        facts = self.facts(media, name)
        if os.path.lexists(path) and not overwrite:
            if read_facts(path) == json.loads(json.dumps(facts)):
                return None
            raise InputError(f"{path} exists and was made otherwise; use --overwrite, or another folder with -o")
        stride = self.encoders[name].grid.stride
        presence = [np.zeros(0, bool)]
        done = 0
        with closing(self.stream(media, name)) as stream, atomic_path(path) as part, part.open("xb") as file:
            _begin(file, path.suffix, facts)
            for step in stream:
                file.write(step.values.cpu().contiguous().numpy().tobytes())
                presence.append(step.present)
                done += len(step.present)
                if progress:
                    progress(min(done * stride, media.duration), media.duration)
            _finish(file, path, np.concatenate(presence), facts)
        return stream.warnings


def feature_file(folder: Path, name: str, encoder: str, suffix: str) -> Path:
    """Where the features of the input called `name` go; `suffix` is `.safetensors` or `.npy`."""
    if suffix == ".npy":
        return folder / f"{name}_{UNAV_NAMES.get(encoder, encoder)}.npy"
    return folder / f"{name}.{encoder}.safetensors"


def read_facts(path: Path) -> dict[str, Any] | None:
    """What a file of features says of itself; None if it says nothing that could be understood."""
    try:
        if path.suffix == ".npy":
            facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        else:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size)) if size <= LARGEST_HEADER else {}
            facts = json.loads(header["__metadata__"]["avel"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _begin(file: IO[bytes], suffix: str, facts: Mapping[str, Any]) -> None:
    """Write what stands before the numbers. Both formats hold the array as it is in memory, row by row."""
    shape = tuple(facts["shape"])
    if suffix == ".npy":
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return
    end = 4 * int(np.prod(shape))
    header = {
        "__metadata__": {"avel": json.dumps(facts)},
        "features": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]},
        "present": {"dtype": "U8", "shape": shape[:1], "data_offsets": [end, end + shape[0]]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)


def _finish(file: IO[bytes], path: Path, present: NDArray[np.bool_], facts: Mapping[str, Any]) -> None:
    if path.suffix != ".npy":
        file.write(present.astype(np.uint8).tobytes())
        return
    with atomic_write(path.with_suffix(".json")) as beside:
        json.dump(facts, beside, indent=2)
