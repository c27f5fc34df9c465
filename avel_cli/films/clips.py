"""The found moments of a film as files of their own."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avel_cli.errors import MediaError
from avel_cli.films import ffmpeg
from avel_cli.media import Media, find_ffmpeg
from avel_cli.timeline.events import Event
from avel_cli.writers.files import atomic_path

NEAR = 0.5  # seconds that a clip may begin early, so that it can be copied from a keyframe
PICTURE = 0.05  # seconds: that much later is the same picture
LAG = 0.001  # by how much a keyframe's time may be rounded


@dataclass(frozen=True)
class Cut:
    """A part of a film that is to become a clip.

    Attributes:
        begin: where the clip begins, in seconds.
        end: where it ends.
        label: of its events.
        start: where its first event begins.
        score: the highest of its events.
        events: how many they are.
    """

    begin: float
    end: float
    label: str
    start: float
    score: float
    events: int

    @property
    def name(self) -> str:
        """Label and start, fit for a file name: `dog.00-01-02.500`."""
        minutes, seconds = divmod(self.start, 60)
        label = re.sub(r"[^\w-]+", "_", self.label).strip("_") or "event"
        return f"{label}.{int(minutes) // 60:02}-{int(minutes) % 60:02}-{seconds:06.3f}"


def cuts(events: Iterable[Event], duration: float, *, padding: float = 0.0, merge_gap: float = 0.0) -> list[Cut]:
    """What to cut, in order of time: a part for each event, or for several of one label that are near each other.

    Args:
        events: in order of time.
        duration: of the film in seconds.
        padding: seconds before and after that are cut too.
        merge_gap: events of one label with no more seconds between them come into one clip.
    """
    groups: dict[str, list[list[Event]]] = defaultdict(list)
    for event in events:
        parts = groups[event.label]
        if parts and event.start - max(earlier.end for earlier in parts[-1]) <= merge_gap:
            parts[-1].append(event)
        else:
            parts.append([event])
    found = [_cut(part, duration, padding) for parts in groups.values() for part in parts]
    return sorted(found, key=lambda cut: (cut.begin, cut.label))


def _cut(part: Sequence[Event], duration: float, padding: float) -> Cut:
    begin, end = max(part[0].start - padding, 0.0), min(max(event.end for event in part) + padding, duration)
    return Cut(begin, end, part[0].label, part[0].start, max(event.score for event in part), len(part))


def landing(media: Media, seconds: float) -> float | None:
    """Where a copy from `seconds` on would really begin: the time of the keyframe that FFmpeg finds, if it finds one.

    Containers do not list every keyframe, so it may be earlier than the last one.

    Raises:
        SetupError: if there is no FFmpeg.
    """
    if media.video is None:
        return None
    command = [find_ffmpeg(), "-nostdin", "-hide_banner", "-copyts", "-start_at_zero", "-noaccurate_seek"]
    command += ["-ss", f"{seconds + LAG:.6f}", *ffmpeg.source(media), "-map", f"0:{media.video.index}"]
    command += ["-frames:v", "1", "-fps_mode", "passthrough", "-vf", "scale=16:16,showinfo", "-f", "null", "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    found = re.search(rb"Parsed_showinfo.*? pts_time:(-?[0-9.]+)", done.stderr)
    return max(float(found[1]), 0.0) if found else None


def write_clip(
    media: Media, cut: Cut, path: Path, *, copying: bool = True, track: int | None = None
) -> tuple[Path, float]:
    """Write one clip: copied where a keyframe is near its begin, else encoded anew as H.264 and AAC.

    Args:
        media: the probed film.
        cut: the part.
        path: where to, without the extension.
        copying: whether it may be copied.
        track: which sound, from 0; None takes the container's default.

    Returns:
        The file that was written, and the second of the film at which it begins.

    Raises:
        InputError: if the clip cannot be written.
        SetupError: if there is no FFmpeg.
    """
    begin = _near(media, cut) if copying else None
    if begin is not None:
        kind = ("mp4", "mp4") if media.container.startswith("mov") else ("matroska", "mkv")
        try:
            return _write(media, begin + LAG, cut.end - begin, ["-c", "copy"], path, kind, track), begin
        except MediaError:  # the container does not hold such a codec
            pass
    return _write(media, cut.begin, cut.end - cut.begin, ffmpeg.H264, path, ("mp4", "mp4"), track), cut.begin


def _near(media: Media, cut: Cut) -> float | None:
    """A keyframe from which the clip can be copied: it is near the begin, and not after the first event's start."""
    for wanted in dict.fromkeys((cut.begin, cut.start)):
        found = landing(media, wanted)
        if found is not None and cut.begin - NEAR <= found <= cut.start + PICTURE:
            return found
    return None


def _write(
    media: Media,
    begin: float,
    seconds: float,
    how: Sequence[str],
    path: Path,
    kind: tuple[str, str],
    track: int | None,
) -> Path:
    file = path.with_name(f"{path.name}.{kind[1]}")
    arguments = [*ffmpeg.streams(media, track), *how, "-t", f"{seconds:.6f}"]
    with atomic_path(file) as temporary:
        ffmpeg.run(media, temporary, arguments, before=["-ss", f"{begin:.6f}"], kind=kind[0])
    return file
