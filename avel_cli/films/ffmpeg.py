"""One run of FFmpeg on a film that was probed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from avel_cli.errors import MediaError
from avel_cli.media import Media, find_ffmpeg

H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart")
ROOM = 2000  # characters of FFmpeg's complaints that are looked at


def run(media: Media, output: Path, arguments: Sequence[str], *, before: Sequence[str] = (), kind: str = "mp4") -> None:
    """Write `output` from the film; a file of that name is replaced.

    Args:
        media: the probed film.
        output: where to.
        arguments: what FFmpeg is to do.
        before: what stands before the input, as `-ss`.
        kind: FFmpeg's name of the container that is written.

    Raises:
        MediaError: if FFmpeg cannot do it, with its reason.
        SetupError: if there is no FFmpeg.
    """
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *before, *source(media), *arguments]
    command += ["-f", kind, f"file:{output.absolute()}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        lines = done.stderr[-ROOM:].decode(errors="replace").strip().splitlines()
        raise MediaError(f"{str(media.path)!r}: FFmpeg could not write from it: {lines[-1] if lines else 'no reason'}")


def source(media: Media) -> list[str]:
    """The film as input 0, taken for what `probe` took it for."""
    kind = media.container.split(",")[0]
    return ["-protocol_whitelist", "file", "-f", kind, "-i", f"file:{media.path.absolute()}"]


def streams(media: Media, track: int | None = None) -> list[str]:
    """Chooses the pictures and the sound that avel looks at and listens to."""
    chosen = media.default_track if track is None else track
    maps = [] if media.video is None else ["-map", f"0:{media.video.index}"]
    return maps if chosen is None else [*maps, "-map", f"0:{media.audio[chosen].index}"]
