"""The decoder's process: how it is started, limited, read and ended, whatever the file does to it."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from avel_cli.errors import MediaError, SetupError
from avel_cli.media.decoder.main import NOTE

THREADS = min(4, os.cpu_count() or 1)
IDLE_SECONDS = 60.0
"""A child that says nothing for so long is taken for dead and killed."""
MEMORY_BYTES = 2 << 30
"""Address space granted to a child on Linux, 0.3 GB of which are code; wide pictures are granted more."""
PICTURES_HELD = 40
"""So many decoded pictures may be in a decoder's memory: references, and what its threads are at work on."""
CPU_SECONDS = 120
"""Computing time granted to a child on Linux, and for each second of a file, as a slow machine needs for 4K film:"""
CPU_RATIO = 20
LONGEST_LINE = 1 << 12
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
BOOT = """\
import os, sys
sys.path.insert(0, sys.argv[1])
from avel_cli.media.decoder.main import main
os._exit(main(sys.argv[2]))
"""


def command(job: dict[str, Any]) -> list[str]:
    """The decoder's program with its job, as arguments."""
    return [sys.executable, "-P", "-c", BOOT, str(Path(__file__).parents[2]), json.dumps(job)]


class Log:
    """What a child wrote to stderr, as far as anybody wants to know it.

    Args:
        muted: names of codecs whose complaints are somebody else's.

    Attributes:
        complaints: how many lines FFmpeg complained in.
        first: the first of them, without what FFmpeg puts before it.
        notes: what the decoder itself has to say.
    """

    def __init__(self, muted: Iterable[str] = ()) -> None:
        self.complaints = 0
        self.first = ""
        self.notes: list[str] = []
        self._muted = tuple(f"[{name} @" for name in muted)

    def fill(self, pipe: IO[bytes]) -> None:
        """Read `pipe` until the child closes it."""
        with pipe:
            while raw := pipe.readline(LONGEST_LINE):
                line = raw.decode(errors="replace").strip()
                if line.startswith(NOTE):
                    self.notes.append(line.removeprefix(NOTE))
                elif line and not line.startswith(self._muted):
                    self.complaints += 1
                    self.first = self.first or re.sub(r"^(\[[^]]*\] ?)*", "", line).rstrip(".")


class Run:
    """One child that does a job for a file and writes to its stdout.

    Args:
        path: the file that is read.
        kind: `facts`, `listen`, `pictures` or `sound`; see `avel_cli.media.decoder`.
        seconds: how long the file is, as far as known; decides about the computing time that is granted.
        pixels: of its largest picture, as far as known; decides about the memory.
        muted: names of codecs whose complaints do not count here.
        job: what else the job consists of.

    Attributes:
        log: what the child said on stderr.
        returncode: how it ended; None until then.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        *,
        seconds: float = 0.0,
        pixels: int = 0,
        muted: Iterable[str] = (),
        **job: Any,
    ) -> None:
        self.log = Log(muted)
        self.returncode: int | None = None
        self._job = {"kind": kind, "path": str(path.absolute()), "threads": THREADS, **job}
        self._memory = max(MEMORY_BYTES, (MEMORY_BYTES >> 1) + PICTURES_HELD * 3 * pixels)
        self._cpu = CPU_SECONDS + round(CPU_RATIO * seconds)
        self._path = path
        self._waiting_since = math.inf
        self._timed_out = False

    def blocks(self, size: int) -> Generator[NDArray[np.uint8], None, None]:
        """Start the child and yield its output in arrays of `size` bytes, the last one maybe shorter.

        The child is killed when the iterator is closed early, and when it stands still for `IDLE_SECONDS`
        while somebody waits for it; the time the reader takes between blocks does not count.

        Raises:
            MediaError: the child stood still.
            SetupError: the child cannot be started.
        """
        with self._child() as pipe:
            while len(block := self._block(pipe, size)):
                yield block

    def answer(self) -> Any:
        """What the child says in all, read as JSON.

        Raises:
            MediaError: it says nothing, or stood still.
            SetupError: it cannot be started.
        """
        text = b"".join(block.tobytes() for block in self.blocks(1 << 16))
        if self.returncode or not text:
            raise self.error()
        return json.loads(text)

    def error(self) -> MediaError:
        """The reason why nothing came out of the file, to be raised."""
        cause = self.log.first or f"the decoder gave nothing (exit code {self.returncode})"
        return MediaError(f"{str(self._path)!r} cannot be read as video or sound: {self.crash or cause}")

    @property
    def crash(self) -> str:
        """How the child came to its end before its time; empty if it did not."""
        if self.returncode == -getattr(signal, "SIGXCPU", 0) != 0:
            return f"decoding took more than the {self._cpu} s of computing that are granted"
        return f"the decoder crashed ({-self.returncode})" if self.returncode and self.returncode < 0 else ""

    @contextmanager
    def _child(self) -> Iterator[IO[bytes]]:
        process = self._start()
        assert process.stdin and process.stdout and process.stderr
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
            process.stdin.close()
            watcher.join()
            reader.join(timeout=1)
        if self._timed_out:
            raise MediaError(f"{str(self._path)!r}: the decoder stood still for {IDLE_SECONDS:g} s and was stopped")

    def _start(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        environment |= {"MALLOC_ARENA_MAX": "2", "PYTHONUTF8": "1"}  # arenas of many threads take address space
        arguments = command(self._job)
        try:
            # The child ends when its stdin does, and so with us.
            process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=environment)
        except OSError as error:
            raise SetupError(f"{arguments[0]!r} cannot be run ({error.strerror})") from None
        if sys.platform == "linux":
            import resource

            with suppress(OSError, ValueError):  # already ended, or a stricter limit holds
                resource.prlimit(process.pid, resource.RLIMIT_AS, (self._memory, self._memory))
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (self._cpu, self._cpu + 5))
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
