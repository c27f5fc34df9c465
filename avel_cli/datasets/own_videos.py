"""A folder of one's own videos as clips with features, which are made once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from avel_cli.datasets.ave_clips import of_clips
from avel_cli.datasets.base import DataSet, Request
from avel_cli.datasets.folder import TABLE, Folder, plan, read_spans
from avel_cli.errors import UsageError
from avel_cli.extraction import Extractor, feature_file
from avel_cli.media.probe import probe
from avel_cli.tasks.base import Data
from avel_cli.timeline.grid import Grid
from avel_cli.writers.files import make_folder, result_names


@dataclass(frozen=True)
class Stored:
    """Features of videos on disk: for each video the files of sound and picture, and how many segments they have."""

    files: dict[Path, tuple[Path, Path]]
    counts: dict[Path, int]

    def __call__(self, video: Path, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Features of sound and picture from segment `first` to `last`, which is not included."""
        sound, picture = (_slice(path, first, last) for path in self.files[video])
        return sound, picture


def _slice(path: Path, first: int, last: int) -> Tensor:
    with safe_open(path, "pt") as stream:
        rows: Tensor = stream.get_slice("features")[first:last]
    return rows


def open_own_videos(request: Request) -> Data:
    """The clips of each part that is needed, as the folder's table has them; features are made once and kept.

    Raises:
        SetupError: if the table is missing or wrong.
        UsageError: if the encoders are not one of sound and one of pictures, with features every second.
        InputError: if a video cannot be decoded.
    """
    folder = request.folder()
    videos = sorted({folder / span.file for span in read_spans(folder / TABLE)})
    extractor = Extractor(list(request.encoders), offline=request.offline)
    pair = ordered(extractor)
    stored = _make(request, extractor, pair, videos)
    found = plan(folder, stored.counts.__getitem__, request.parts)
    return of_clips({part: Folder(found, part, stored) for part in request.parts}, found.names, pair)


def ordered(extractor: Extractor) -> tuple[str, str]:
    """The names of the two encoders, sound first.

    Raises:
        UsageError: if they are not one of sound and one that makes maps of pictures, both every second.
    """
    names = {encoder.modality: name for name, encoder in extractor.encoders.items() if encoder.grid == Grid()}
    maps = all(len(e.shape) == 3 for e in extractor.encoders.values() if e.modality == "picture")
    if len(extractor.encoders) != 2 or len(names) != 2 or not maps:
        given = " and ".join(extractor.encoders)
        raise UsageError(f"{given}: choose one encoder of sound and one of maps of pictures, both every second")
    return names["sound"], names["picture"]


def _make(request: Request, extractor: Extractor, pair: tuple[str, str], videos: Sequence[Path]) -> Stored:
    make_folder(cache := request.cache / "features")
    files: dict[Path, tuple[Path, Path]] = {}
    counts: dict[Path, int] = {}
    for number, (video, stem) in enumerate(zip(videos, result_names([v.absolute() for v in videos]), strict=True), 1):
        media = probe(video)
        sound, picture = (feature_file(cache, stem, name, ".safetensors") for name in pair)
        with request.watch(f"{number}/{len(videos)} {video.name}") as listener:
            for name, path in zip(pair, (sound, picture), strict=True):
                for warning in extractor.write(media, name, path, listener) or ():
                    request.say(f"warning: {video}: {warning}")
        files[video] = sound, picture
        counts[video] = extractor.count(pair[0], media.duration)
    return Stored(files, counts)


DATASET = DataSet(open_own_videos, ("clips",))
