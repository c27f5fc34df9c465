"""FFmpeg, the program: where it is. Media are read without it; it writes them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess

from avel_cli.errors import SetupError

REMEDY = "install FFmpeg 5.1 or newer, or set AVEL_FFMPEG to its path"


def find_ffmpeg() -> str:
    """The FFmpeg program: `$AVEL_FFMPEG`, else the one on PATH, else the one inside imageio-ffmpeg.

    Raises:
        SetupError: there is none, or `$AVEL_FFMPEG` names no program.
    """
    if wanted := os.environ.get("AVEL_FFMPEG"):
        if found := shutil.which(wanted):
            return found
        raise SetupError(f"AVEL_FFMPEG={wanted!r} is not a program that can be run; correct or unset it")
    if found := shutil.which("ffmpeg"):
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise SetupError(f"FFmpeg was not found; {REMEDY}") from None


@functools.cache
def _version_of(program: str) -> str:
    try:
        answer = subprocess.run([program, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        raise SetupError(f"{program!r} cannot be run; {REMEDY}") from None
    if found := re.match(rb"ffmpeg version (\S+)", answer.stdout):
        return found[1].decode()
    raise SetupError(f"{program!r} does not answer like FFmpeg; {REMEDY}")


def ffmpeg_version() -> str:
    """What FFmpeg calls its version, e.g. `"5.1.9-0+deb12u1"`.

    Raises:
        SetupError: there is no FFmpeg, or it cannot be run.
    """
    return _version_of(find_ffmpeg())
