"""A small copy of a film, to be put into a page."""

from __future__ import annotations

import tempfile
from base64 import b64encode
from pathlib import Path

from avel_cli.films import ffmpeg
from avel_cli.media import Media

HEIGHT = 240


def preview(media: Media, track: int | None = None) -> str:
    """The film 240 pixels high, as a data URI; some 15 kB a second.

    Args:
        media: the probed film.
        track: which sound, from 0; None takes the container's default.

    Raises:
        MediaError: if it cannot be made.
        SetupError: if there is no FFmpeg.
    """
    small = ["-vf", f"scale=-2:{HEIGHT}", "-r", "15", "-crf", "33", "-preset", "veryfast", "-b:a", "48k", "-ac", "1"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "preview.mp4"
        ffmpeg.run(media, path, [*ffmpeg.streams(media, track), *ffmpeg.H264, *small])
        return f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"
