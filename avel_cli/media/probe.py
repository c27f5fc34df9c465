"""What a file holds: its streams, and when each of them really begins and ends.

The decoder's process looks at every packet, so nothing rests on what the header claims.
"""

from __future__ import annotations

import math
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avel_cli.errors import InputError, MediaError
from avel_cli.media.child import Run

MAX_SIDE = 16384
MAX_SECONDS = 24 * 3600


@dataclass(frozen=True)
class VideoStream:
    """One stream of pictures.

    Attributes:
        index: which stream of the container it is.
        codec: FFmpeg's name of the codec.
        width: stored width in pixels, before a rotation tag is applied.
        height: stored height in pixels, before a rotation tag is applied.
        fps: pictures a second on average; None if there is only one.
        frames: how many pictures are shown, as far as that can be known undecoded.
        rotation: degrees by which a tag says the stored picture is turned, 0..359.
        start: time of the first picture, in seconds since the container's start.
        end: when the last picture ends, on the same clock; a last picture counts for at most a second.
        promised: when the stream ends as its header says, if that is later than `end`.
        has_key: some picture can be decoded on its own; what comes before the first such one is not shown.
    """

    index: int

    codec: str
    width: int
    height: int
    fps: float | None
    frames: int
    rotation: int
    start: float
    end: float
    promised: float
    has_key: bool

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the picture as shown."""
        return (self.width, self.height) if self.rotation % 180 == 90 else (self.height, self.width)


@dataclass(frozen=True)
class AudioStream:
    """One audio track.

    Attributes:
        index: which stream of the container it is.
        codec: FFmpeg's name of the codec.
        sample_rate: in Hz.
        channels: how many; 0 if that cannot be known undecoded.
        start: time of the first sample, in seconds since the container's start.
        end: when the last sample ends, on the same clock.
        promised: when the track ends as its header says, if that is later than `end`.
        default: the container marks it as a track to play unless told otherwise.
    """

    index: int

    codec: str
    sample_rate: int
    channels: int
    start: float
    end: float
    promised: float
    default: bool


@dataclass(frozen=True)
class Media:
    """One readable file.

    Attributes:
        path: where it is.
        size_bytes: its size.
        container: FFmpeg's names of the container, e.g. `"matroska,webm"`.
        duration: when the last picture or sound ends, in seconds since the container's start.
        video: the first stream of pictures that move, or the chosen one; None without pictures. A cover is none.
        audio: all audio tracks in the container's order.
        stills: how many streams of pictures before `video` were passed over because they do not move.
        begin: where reading begins, in seconds since the container's start; all times of this object, and of what is
            read, count from there. See `select`.
        until: where reading ends, on the same clock as `begin`.
    """

    path: Path
    size_bytes: int
    container: str
    duration: float
    video: VideoStream | None
    audio: tuple[AudioStream, ...]
    stills: int = 0
    begin: float = 0.0
    until: float = math.inf

    @property
    def missing(self) -> float:
        """Seconds that the header promises of a stream beyond its last packet; a file that was cut off has many."""
        pictures = self.video.promised - self.video.end if self.video else 0.0
        return max([pictures, *(stream.promised - stream.end for stream in self.audio)])

    @property
    def default_track(self) -> int | None:
        """Index in `audio` of the first default track, else of the first track; None without sound."""
        marked = [index for index, stream in enumerate(self.audio) if stream.default]
        return (marked or [0])[0] if self.audio else None

    def facts(self) -> dict[str, Any]:
        """Everything but the path, ready for JSON; times are rounded to microseconds."""
        facts = asdict(self)
        for name in ("path", "begin", "until"):
            del facts[name]
        facts["audio"] = list(facts["audio"])
        for part in (facts, facts["video"] or {}, *facts["audio"]):
            part.update({key: round(value, 6) for key, value in part.items() if isinstance(value, float)})
        return facts


def probe(path: str | Path, video_track: int | None = None) -> Media:
    """Read the facts of a local file; the whole file is demuxed, nothing is decoded.

    Args:
        path: of the file.
        video_track: which stream of pictures is the film, from 0; None takes the first that moves.

    Raises:
        InputError: there is no such file, it cannot be read, or it is empty, or it has no such stream of pictures.
        MediaError: it holds neither picture nor sound that FFmpeg knows, its format is not allowed, a side of the
            picture is over 16384 pixels, or it lasts over 24 hours.
        SetupError: the decoder cannot be run.
    """
    path = Path(path)
    size = _readable_size(path)
    media = _describe(path, size, Run(path, "facts", seconds=size / 1e6).answer(), video_track)
    if not media.video and not media.audio:
        raise MediaError(f"{str(path)!r} holds neither picture nor sound")
    _check_limits(media)
    return media


def _readable_size(path: Path) -> int:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{str(path)!r} is not a file; give the path of a video file")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{str(path)!r} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not facts.st_size:
        raise InputError(f"{str(path)!r} is empty (0 bytes)")
    return facts.st_size


def _describe(path: Path, size: int, facts: dict[str, Any], video_track: int | None) -> Media:
    videos = facts["video"]
    if video_track is not None and not 0 <= video_track < len(videos):
        raise InputError(f"{str(path)!r} has no video track {video_track}; it has {len(videos)}, counted from 0")
    moving = [video for video in videos if video["frames"] > 1]
    film = videos[video_track] if video_track is not None else next(iter(moving or videos), None)
    duration = max((stream["end"] for stream in (*facts["audio"], *([film] if film else []))), default=0.0)
    return Media(
        path=path,
        size_bytes=size,
        container=facts["container"],
        duration=duration,
        video=VideoStream(**film) if film else None,
        audio=tuple(AudioStream(**stream) for stream in facts["audio"]),
        stills=videos.index(film) if film and video_track is None else 0,
    )


def _check_limits(media: Media) -> None:
    name = str(media.path)
    if not media.duration:
        raise MediaError(f"{name!r} has a header but no pictures or sound behind it; it was probably cut off")
    if media.duration > MAX_SECONDS:
        hours, most = media.duration / 3600, MAX_SECONDS / 3600
        raise MediaError(f"{name!r} lasts {hours:.0f} hours; the limit is {most:.0f}, cut it into parts")
    if media.video and max(media.video.width, media.video.height) > MAX_SIDE:
        size = f"{media.video.width}x{media.video.height}"
        raise MediaError(f"{name!r} has pictures of {size} pixels; the limit is {MAX_SIDE} a side, scale it down")
