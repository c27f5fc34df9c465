"""Decoding beside FFmpeg itself: CPU and wall seconds for what `avel detect` wants of a file.

Per file, in alternation: (a) bare FFmpeg, which decodes both streams and throws them away; (b) one FFmpeg run for each
stream that scales 4 pictures a second to 224 x 224 and resamples to 16 kHz, the way before; (c) `probe`, `read_frames`
and `read_audio`. Reported are medians as a ratio to (a), and the largest memory of a decoder's process.

usage: python benchmarks/decode.py [FILE…]     without files, test pictures are encoded first; FFmpeg must be at hand
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from avel_cli.media import find_ffmpeg, probe, read_audio, read_frames

RATE, FPS, SIDE = 16000, 4, 224
MADE = {  # size, seconds, codecs
    "240p_h264_20min.mp4": ("426x240", 1200, ["-c:v", "libx264", "-preset", "fast", "-c:a", "aac"]),
    "480p_h264_65s.mp4": ("854x480", 65, ["-c:v", "libx264", "-preset", "fast", "-c:a", "aac"]),
    "1080p_h264_20s.mp4": ("1920x1080", 20, ["-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac"]),
    "720p_hevc10_20s.mkv": (
        "1280x720",
        20,
        ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=none"],
    ),
    "480p_vp9_20s.webm": ("854x480", 20, ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-b:v", "1M", "-c:a", "libopus"]),
}


def make(folder: Path) -> list[Path]:
    """Moving test pictures with noise over them, and noise for sound."""
    files = []
    for name, (size, seconds, codecs) in MADE.items():
        picture = f"testsrc2=s={size}:r=25:d={seconds},noise=alls=12:allf=t"
        sound = f"anoisesrc=d={seconds}:r=44100:a=0.3,pan=stereo|c0=c0|c1=c0"
        inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
        files.append(folder / name)
        subprocess.run([find_ffmpeg(), "-nostdin", "-v", "error", "-y", *inputs, *codecs, str(files[-1])], check=True)
    return files


def bare(path: Path) -> None:
    """Decode both streams to nothing."""
    ffmpeg(path, "-map", "0:V:0", "-map", "0:a:0", "-f", "null", "-")


def before(path: Path) -> None:
    """One run for each stream."""
    ffmpeg(path, "-map", "0:a:0", "-af", "aresample=16000:async=1:first_pts=0", "-ac", "1", "-f", "f32le", "pipe:")
    scale = f"fps={FPS}:start_time=0:round=up,scale={SIDE}:{SIDE}:flags=area+accurate_rnd"
    ffmpeg(path, "-map", "0:V:0", "-vf", scale, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:")


def ffmpeg(path: Path, *output: str) -> None:
    """Run FFmpeg on a file and read what it writes."""
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", str(path), *output]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        while process.stdout.read(1 << 20):
            pass


def ours(path: Path) -> None:
    """What the pipeline does, without encoders."""
    media = probe(path)
    for _ in read_audio(media, RATE):
        pass
    for _ in read_frames(media, FPS, (SIDE, SIDE)):
        pass


def measured(work: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """CPU seconds of this process and its children, and wall seconds."""
    begun, before_us = time.monotonic(), cpu()
    work(path)
    return cpu() - before_us, time.monotonic() - begun


def cpu() -> float:
    """CPU seconds so far."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ways = {"bare": bare, "before": before, "avel": ours}
    with tempfile.TemporaryDirectory() as folder:
        print("file                     bare CPU s  wall s   before CPU   wall     avel CPU   wall")
        for path in arguments.files or make(Path(folder)):
            rounds = [{name: measured(way, path) for name, way in ways.items()} for _ in range(arguments.rounds)]
            cells = {name: [statistics.median(one[name][kind] for one in rounds) for kind in (0, 1)] for name in ways}
            base = cells["bare"]
            ratios = {name: [value / unit for value, unit in zip(cells[name], base, strict=True)] for name in ways}
            line = f"{path.name:24} {base[0]:10.2f} {base[1]:7.2f}"
            line += "".join(f"   {ratios[name][0]:10.2f} {ratios[name][1]:6.2f}" for name in ("before", "avel"))
            print(line, flush=True)
    print(f"largest child: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
