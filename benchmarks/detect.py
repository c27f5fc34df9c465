"""Speed and memory of `avel detect`, beside a bare FFmpeg decode of the same streams in the same run.

    python benchmarks/detect.py CLIP [CLIP ...]       and the last one looped to --minutes of video

For every file a fresh process: seconds of video a second, CPU seconds, peak memory, and where the time goes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from avel_cli.media import find_ffmpeg


def bare_decode(path: Path) -> float:
    """Wall seconds that FFmpeg needs to decode picture and sound to nowhere, two threads."""
    begin = time.perf_counter()
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-threads", "2", "-i", str(path), "-f", "null", "-"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - begin


def looped(path: Path, minutes: float, folder: Path) -> Path:
    """The clip repeated without decoding until it lasts `minutes`."""
    target = folder / f"{path.stem}_{minutes:g}min.mkv"
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-stream_loop", "-1", "-i", str(path)]
    subprocess.run([*command, "-t", str(minutes * 60), "-c", "copy", f"file:{target}"], check=True)
    return target


class Stopwatch:
    """Adds up the time spent in calls that it wraps."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("decode", "encoders", "localizer"), 0.0)

    def wrap(self, part: str, function: object) -> object:
        """The same callable, timed as `part`."""

        def timed(*args: object, **kwargs: object) -> object:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)  # type: ignore[operator]
            finally:
                self.seconds[part] += time.perf_counter() - begin

        return timed


def measure(path: str, model: str) -> None:
    """Detect once and print the figures as JSON; run in a process of its own."""
    from avel_cli import Detector
    from avel_cli.media.decode import Reading

    begin = time.perf_counter()
    detector = Detector(model, "cpu")
    loaded = time.perf_counter()
    watch = Stopwatch()
    Reading.__next__ = watch.wrap("decode", Reading.__next__)  # type: ignore[assignment,method-assign]
    for module, part in (
        (detector.sound, "encoders"),
        (detector.picture, "encoders"),
        (detector.localizer, "localizer"),
    ):
        module.forward = watch.wrap(part, module.forward)
    timeline = detector.detect(path)
    wall = time.perf_counter() - loaded
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    figures = {
        "seconds": timeline.duration,
        "load": loaded - begin,
        "wall": wall,
        "cpu": own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        "peak_mb": own.ru_maxrss / 1024,
        **watch.seconds,
    }
    print(json.dumps(figures))


def main() -> None:
    """Measure every clip, and the last one looped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=20, help="length that the last clip is looped to")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(str(arguments.clips[0]), arguments.model)
        return
    columns = ["seconds", "load", "wall", "cpu", "peak_mb", "decode", "encoders", "localizer"]
    print("file", *columns, "x real time", "ratio to bare decode", sep="\t")
    with tempfile.TemporaryDirectory() as folder:
        files = [*arguments.clips, looped(arguments.clips[-1], arguments.minutes, Path(folder))]
        for path in files:
            command = [sys.executable, __file__, "--measure", "--model", arguments.model, str(path)]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            speed, ratio = figures["seconds"] / figures["wall"], figures["wall"] / bare_decode(path)
            cells = [f"{figures[column]:.2f}" for column in columns]
            print(path.name, *cells, f"{speed:.0f}", f"{ratio:.2f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
