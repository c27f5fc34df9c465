"""What a file holds: its streams, and when each of them really begins and ends.

One demuxing pass (`-c copy -f framecrc`) names every packet with its time, so nothing rests on what the header claims,
and no ffprobe is needed. FFmpeg's report on stderr adds the container, the declared length and the default track.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from avel_cli.errors import InputError, MediaError
from avel_cli.media.ffmpeg import Run, source

MAX_SIDE = 16384
MAX_SECONDS = 24 * 3600
NO_TIME = -(1 << 63)
LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "binaural": 2, "quad": 4, "hexagonal": 6, "octagonal": 8, "cube": 8}


# What these say of their length is the distance of their first and last times, which a clock may jump between.
GUESSED_LENGTHS = {"mpegts", "mpeg"}


@dataclass(frozen=True)
class VideoStream:
    """The first moving picture of a file.

    Attributes:
        codec: FFmpeg's name of the codec.
        width: stored width in pixels, before a rotation tag is applied.
        height: stored height in pixels, before a rotation tag is applied.
        fps: pictures a second on average; None if there is only one.
        frames: packets with a time, which is how many pictures there are, as far as that can be known undecoded.
        rotation: degrees by which a tag says the stored picture is turned, 0..359.
        start: time of the first picture, in seconds since the container's start.
        end: when the last picture ends, on the same clock.
    """

    codec: str
    width: int
    height: int
    fps: float | None
    frames: int
    rotation: int
    start: float
    end: float

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the picture as shown."""
        return (self.width, self.height) if self.rotation % 180 == 90 else (self.height, self.width)


@dataclass(frozen=True)
class AudioStream:
    """One audio track.

    Attributes:
        codec: FFmpeg's name of the codec.
        sample_rate: in Hz.
        channels: how many; 0 if FFmpeg cannot say.
        start: time of the first sample, in seconds since the container's start.
        end: when the last sample ends, on the same clock.
        default: the container marks it as a track to play unless told otherwise.
    """

    codec: str
    sample_rate: int
    channels: int
    start: float
    end: float
    default: bool


@dataclass(frozen=True)
class Media:
    """One readable file.

    Attributes:
        path: where it is.
        size_bytes: its size.
        container: FFmpeg's names of the container, e.g. `"matroska,webm"`.
        duration: when the last picture or sound ends, in seconds since the container's start.
        declared_duration: what the header claims, in seconds; None if it claims nothing, if it is a guess from the
            bit rate, or if a subtitle track outlasts picture and sound.
        video: the first video stream that is not a cover picture, or None.
        audio: all audio tracks in the container's order.
    """

    path: Path
    size_bytes: int
    container: str
    duration: float
    declared_duration: float | None
    video: VideoStream | None
    audio: tuple[AudioStream, ...]

    @property
    def missing(self) -> float:
        """Seconds that the header claims beyond the last packet; a file that was cut off has many."""
        return max(0.0, (self.declared_duration or 0.0) - self.duration)

    @property
    def default_track(self) -> int | None:
        """Index in `audio` of the first default track, else of the first track; None without sound."""
        marked = [index for index, stream in enumerate(self.audio) if stream.default]
        return (marked or [0])[0] if self.audio else None

    def facts(self) -> dict[str, Any]:
        """Everything but the path, ready for JSON; times are rounded to microseconds."""
        facts = asdict(self)
        del facts["path"]
        facts["audio"] = list(facts["audio"])
        for part in (facts, facts["video"] or {}, *facts["audio"]):
            part.update({key: round(value, 6) for key, value in part.items() if isinstance(value, float)})
        return facts


def probe(path: str | Path) -> Media:
    """Read the facts of a local file; the whole file is demuxed, nothing is decoded.

    Raises:
        InputError: there is no such file, it cannot be read, or it is empty.
        MediaError: FFmpeg finds neither picture nor sound in it, its format is not allowed, a side of the picture
            is over 16384 pixels, or it lasts over 24 hours.
        SetupError: FFmpeg is missing or cannot be run.
    """
    path = Path(path)
    size = _readable_size(path)
    run, tracks = _demux(path)
    media = _describe(path, size, run.log.text, tracks)
    if not media.video and not media.audio:
        raise run.error() if run.returncode else MediaError(f"{str(path)!r} holds neither picture nor sound")
    _check_limits(media)
    return media


@dataclass
class _Track:
    """Header facts of one stream and the extent of its packets, counted in `tick` seconds."""

    facts: dict[str, str] = field(default_factory=dict)
    packets: int = 0
    first: int = 1 << 62
    last: int = NO_TIME
    end: int = NO_TIME

    def add(self, dts: int, pts: int, duration: int) -> None:
        time = dts if pts == NO_TIME else pts
        if time != NO_TIME:
            self.packets += 1
            self.first = min(self.first, time)
            self.last = max(self.last, time)
            self.end = max(self.end, time + duration)

    def extent(self) -> tuple[float, float]:
        """Start and end in seconds; a last packet of unknown length is as long as the average one."""
        if not self.packets:
            return 0.0, 0.0
        length = Fraction(self.last - self.first, max(1, self.packets - 1))
        end = self.end if self.end > self.last else self.last + length
        tick = Fraction(self.facts["tb"])
        # Packets before zero only prime the decoder; what they decode to is thrown away.
        return max(0.0, float(self.first * tick)), max(0.0, float(end * tick))

    def video(self, rotation: int) -> VideoStream:
        width, height = map(int, self.facts["dimensions"].split("x"))
        start, end = self.extent()
        fps = self.packets / (end - start) if self.packets > 1 and end > start else None
        return VideoStream(self.facts["codec_id"], width, height, fps, self.packets, rotation, start, end)

    def audio(self, default: bool) -> AudioStream:
        channels = _channels(self.facts.get("channel_layout_name", ""))
        return AudioStream(self.facts["codec_id"], int(self.facts["sample_rate"]), channels, *self.extent(), default)


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


def first_packet(path: Path, stream: str) -> float:
    """Time of the first packet in seconds when only `stream` (`V:0`, `a:1`) is used.

    It is the stream's start, but for containers whose clock this FFmpeg lets begin with the streams in use.
    """
    _, tracks = _demux(path, (stream,), frames=1)
    return min((track.extent()[0] for track in tracks.values()), default=0.0)


def _demux(path: Path, wanted: tuple[str, ...] = ("V?", "a?", "s?"), **options: int) -> tuple[Run, dict[int, _Track]]:
    """Run the framecrc pass and collect its tracks, keyed by output stream; video comes first, then sound.

    Subtitles are among them only because the declared length covers them too.
    """
    import ffmpeg

    opened = source(path)
    streams = [opened[name] for name in wanted]
    output = ffmpeg.output(*streams, "pipe:", format="framecrc", codec="copy", copyinkf=None, **options)
    run = Run(path, output, "level+info")
    tracks: dict[int, _Track] = {}
    for line in _lines(run):
        if found := re.match(rb"#(\w+) (\d+): *(.*)", line):
            key, index, value = found.groups()
            tracks.setdefault(int(index), _Track()).facts[key.decode()] = value.decode()
        elif not line.startswith(b"#"):
            index, dts, pts, duration = line.split(b",", 4)[:4]
            tracks[int(index)].add(int(dts), int(pts), int(duration))
    return run, tracks


def _lines(run: Run) -> Iterator[bytes]:
    rest = b""
    for block in run.blocks(1 << 16):
        *lines, rest = (rest + block.tobytes()).split(b"\n")
        yield from lines


def _describe(path: Path, size: int, report: str, tracks: dict[int, _Track]) -> Media:
    """Put together the demuxed tracks and FFmpeg's report."""
    defaults = _default_streams(report)
    kinds = {index: track.facts.get("media_type") for index, track in sorted(tracks.items())}
    video = next((tracks[i].video(_rotation(report, i)) for i, kind in kinds.items() if kind == "video"), None)
    audio = tuple(tracks[index].audio(index in defaults) for index, kind in kinds.items() if kind == "audio")
    duration = max([video.end if video else 0.0, *(stream.end for stream in audio)])
    found = re.search(r"Input #0, (.+?), from '", report)
    container = found[1] if found else ""
    ends = [track.extent()[1] for track in tracks.values()]
    return Media(
        path=path,
        size_bytes=size,
        container=container,
        duration=duration,
        declared_duration=None if container in GUESSED_LENGTHS else _declared(report, duration, ends),
        video=video,
        audio=audio,
    )


def _declared(report: str, duration: float, ends: list[float]) -> float | None:
    found = re.search(r"^\S*\s+Duration: (\d+):(\d+):([\d.]+)", report, re.MULTILINE)
    if not found or "Estimating duration from bitrate" in report or max(ends, default=0.0) > duration:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _default_streams(report: str) -> set[int]:
    """Output streams whose input stream is marked as default."""
    banner, _, mapping = report.partition("Stream mapping:")
    marked = set(re.findall(r"^\S*\s+Stream #0:(\d+).*\(default\)", banner, re.MULTILINE))
    pairs = re.findall(r"Stream #0:(\d+) -> #0:(\d+)", mapping)
    return {int(output) for stream, output in pairs if stream in marked}


def _rotation(report: str, output: int) -> int:
    """Degrees by which the input stream behind an output stream is turned."""
    stream = re.search(rf"Stream #0:(\d+) -> #0:{output}\b", report)
    lines = re.search(rf"Stream #0:{stream[1]}\b.*?(?=Stream #|\Z)", report, re.DOTALL) if stream else None
    found = re.search(r"display ?matrix: rotation of (-?\d+)", lines[0], re.IGNORECASE) if lines else None
    return int(found[1]) % 360 if found else 0


def _channels(layout: str) -> int:
    """How many channels a layout name stands for: `"stereo"` 2, `"5.1(side)"` 6, `"4 channels"` 4."""
    if found := re.match(r"\d+(\.\d+)*", layout):
        return sum(map(int, found[0].split(".")))
    return LAYOUTS.get(layout.partition("(")[0], 0)


def _check_limits(media: Media) -> None:
    name = str(media.path)
    if not media.duration:
        raise MediaError(f"{name!r} has a header but no pictures or sound behind it; it was probably cut off")
    if media.duration > MAX_SECONDS:
        raise MediaError(f"{name!r} lasts {media.duration / 3600:.0f} hours; the limit is 24, cut it into parts")
    if media.video and max(media.video.width, media.video.height) > MAX_SIDE:
        size = f"{media.video.width}x{media.video.height}"
        raise MediaError(f"{name!r} has pictures of {size} pixels; the limit is {MAX_SIDE} a side, scale it down")
