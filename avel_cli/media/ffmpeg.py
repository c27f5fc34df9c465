"""FFmpeg: where the program is, what it may open, and the one way it is run.

Arguments are built with ffmpeg-python and run by `Run`, because the library's own runners know no deadline, leave
the caller's stdin open, and hang when FFmpeg writes more complaints than a pipe holds.
"""

from __future__ import annotations

import functools
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from avel_cli.errors import AvelError, MediaError, SetupError

# Without this list a playlist that is named like a video makes FFmpeg open other files (hls, concat, sdp, image2).
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,wav,mp3,flac,aac,mxf"
THREADS = min(4, os.cpu_count() or 1)
IDLE_SECONDS = 60.0
"""A child that says nothing for so long is taken for dead and killed."""
MEMORY_BYTES = 8 << 30
"""Address space granted to a child on Linux; 8K video takes about 1.2 GB."""
LOG_BYTES = 1 << 18

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


def source(path: Path, *, threads: int = THREADS, **options: Any) -> Any:
    """An ffmpeg-python input for a local file that can reach no other file and no network, whatever it contains."""
    import ffmpeg

    # `file:` keeps names such as `http:x.mp4`, `-x.mp4` or `%03d.mp4` from meaning something to FFmpeg.
    name = f"file:{path.absolute()}"
    return ffmpeg.input(name, protocol_whitelist="file", format_whitelist=FORMATS, threads=threads, **options)


class Log:
    """The beginning and the end of what a child wrote to stderr, and how many lines there were."""

    def __init__(self) -> None:
        self.lines = 0
        self._head = self._tail = b""

    def fill(self, pipe: IO[bytes]) -> None:
        """Read `pipe` until the child closes it, keeping `LOG_BYTES` of either end."""
        with pipe:
            while chunk := pipe.read(1 << 16):
                self.lines += chunk.count(b"\n")
                room = LOG_BYTES - len(self._head)
                self._head += chunk[:room]
                self._tail = (self._tail + chunk[room:])[-LOG_BYTES:]

    @property
    def text(self) -> str:
        """The kept lines."""
        return (self._head + self._tail).decode(errors="replace")

    def first_error(self) -> str:
        """The first complaint without FFmpeg's prefixes; lines that FFmpeg marks as mere information do not count."""
        for line in self.text.splitlines():
            prefix, message = re.fullmatch(r"((?:\[[^]]*\] ?)*)(.*)", line).groups()  # type: ignore[union-attr]
            if message and not re.search(r"\[(info|warning|verbose)\]", prefix):
                return str(message.strip().rstrip("."))
        return ""


class Run:
    """One FFmpeg child process that writes to its stdout.

    Args:
        path: the file that is read, for error messages.
        output: an ffmpeg-python output to `pipe:`.
        level: FFmpeg's log level.

    Attributes:
        log: what the child said on stderr.
        returncode: how it ended; None until then.
    """

    def __init__(self, path: Path, output: Any, level: str = "error") -> None:
        command = [find_ffmpeg(), "-nostdin", "-hide_banner", "-nostats", "-v", level, "-filter_threads", str(THREADS)]
        self.log = Log()
        self.returncode: int | None = None
        self._arguments: list[str] = output.compile(cmd=command)
        self._path = path
        self._waiting_since = math.inf
        self._timed_out = False

    def blocks(self, size: int) -> Generator[NDArray[np.uint8], None, None]:
        """Start the child and yield its output in arrays of `size` bytes, the last one maybe shorter.

        The child is killed when the iterator is closed early, and when it stands still for `IDLE_SECONDS`
        while somebody waits for it; the time the reader takes between blocks does not count.

        Raises:
            MediaError: the child stood still.
            SetupError: the child cannot be started, or is too old.
        """
        with self._child() as pipe:
            while len(block := self._block(pipe, size)):
                yield block

    def error(self) -> AvelError:
        """The reason why nothing came out of the file, to be raised."""
        cause = self.log.first_error() or f"FFmpeg gave nothing (exit code {self.returncode})"
        if re.match("Unrecognized option|Option .* not found", cause):
            return SetupError(f"FFmpeg at {self._arguments[0]!r} is too old ({cause}); {REMEDY}")
        return MediaError(f"{str(self._path)!r} cannot be read as video or sound: {cause}")

    @contextmanager
    def _child(self) -> Iterator[IO[bytes]]:
        process = self._start()
        assert process.stdout and process.stderr
        ended = threading.Event()
        reader = threading.Thread(target=self.log.fill, args=(process.stderr,), daemon=True)
        watcher = threading.Thread(target=self._watch, args=(process, ended, IDLE_SECONDS), daemon=True)
        reader.start()
        watcher.start()
        try:
            yield process.stdout
            self._waiting_since = time.monotonic()
            self.returncode = process.wait()
        finally:
            ended.set()
            process.kill()
            process.wait()
            process.stdout.close()
            watcher.join()
            reader.join(timeout=1)
        if self._timed_out:
            raise MediaError(f"{str(self._path)!r}: FFmpeg stood still for {IDLE_SECONDS:g} s and was stopped")

    def _start(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(self._arguments, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, bufsize=0)
        except OSError as error:
            raise SetupError(f"{self._arguments[0]!r} cannot be run ({error.strerror}); {REMEDY}") from None
        if sys.platform == "linux":
            import resource

            with suppress(OSError, ValueError):  # already ended, or a stricter limit holds
                resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        return process

    def _watch(self, process: subprocess.Popen[bytes], ended: threading.Event, limit: float) -> None:
        while not ended.wait(limit / 10):
            if time.monotonic() - self._waiting_since > limit:
                self._timed_out = True
                process.kill()

    def _block(self, pipe: IO[bytes], size: int) -> NDArray[np.uint8]:
        block = np.empty(size, np.uint8)
        filled = 0
        while filled < size:
            self._waiting_since = time.monotonic()
            count = pipe.readinto(block.data[filled:])  # type: ignore[attr-defined]
            if not count:
                break
            filled += count
        self._waiting_since = math.inf
        return block[:filled]
