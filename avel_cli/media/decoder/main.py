"""The decoder's program: one job, given as JSON; results on stdout, FFmpeg's complaints and our own notes on stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

NOTE = "avel: "


def main(text: str) -> int:
    """Do the job; gives the exit code."""
    _end_with_parent()
    warnings.simplefilter("ignore")  # numpy's, of damaged samples
    job = json.loads(text)
    write = _writer()
    try:
        _do(job, write)
    except BrokenPipeError:  # the parent has enough
        return 0
    except MemoryError:
        _say("it needs more memory than is granted for one file")
        return 1
    except Exception as error:  # any error of a stranger's file is that file's
        _say(f"{getattr(error, 'strerror', None) or error}" or type(error).__name__)
        return 1
    return 0


def _do(job: dict[str, Any], write: Callable[[bytes], None]) -> None:
    from avel_cli.media.decoder import facts, pictures, sound
    from avel_cli.media.decoder.source import Source

    source = Source(job["path"], job["threads"])
    if job["kind"] == "facts":
        write(json.dumps(facts.facts(source)).encode())
    elif job["kind"] == "listen":
        write(json.dumps(sound.first_that_sounds(source, job["tracks"])).encode())
    elif job["kind"] == "pictures":
        pictures.write_pictures(source, job, write)
    else:
        channel, below = sound.loudest(Source(job["path"], job["threads"]), job["index"])
        if channel is not None:
            _say(
                f"{NOTE}the mix of the channels is {below:.0f} dB below the loudest of them, channel {channel}; "
                "that one is heard alone"
            )
        sound.write_sound(source, {**job, "channel": channel}, write)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _writer() -> Callable[[bytes], None]:
    """Writes all of its argument to stdout; whatever else prints there goes to stderr."""
    number = os.dup(1)
    os.dup2(2, 1)

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(number, rest) :]

    return write


def _end_with_parent() -> None:
    """Nothing is ever written to stdin; it ends when the parent does, however that comes about."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
