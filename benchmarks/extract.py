"""Time and memory of each encoder, beside the way of the original scripts, in one run.

    pip install opencv-python-headless
    python benchmarks/extract.py CLIP [--seconds 6] [--encoder NAME]...

The original way: OpenCV decodes the whole clip into a list, one second of frames (I3D: one stack) goes through the
network at a time, flow is computed for each stack anew; sound is written to a file, read whole, resampled and
transformed second by second with numpy. Both ways use the same networks with the same random weights, in processes of
their own; the features are compared. Memory is that of the process alone: FFmpeg, which decodes for us, has its own,
some tens of MB; OpenCV decodes within. Seconds are CPU seconds, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("vgg19", "resnet50", "vggish", "cnn14", "i3d-rgb", "i3d-flow")


def encoder_of(name: str) -> Any:
    """The network with random weights that keep signals alive, the same in every process."""
    import torch

    from avel_cli.encoders import encoder_class

    torch.manual_seed(0)
    kind, config = encoder_class(name)
    encoder = kind(config())
    for parameter in encoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return encoder.eval().requires_grad_(False)


def our_way(encoder: Any, clip: Path) -> Any:
    """Features by `FeatureStream`."""
    import torch

    from avel_cli.encoders.stream import FeatureStream
    from avel_cli.media import probe

    media = probe(clip)
    stream = FeatureStream(media, encoder, encoder.count(media.duration))
    return torch.cat([step.values for step in stream])


def original_way(encoder: Any, clip: Path) -> Any:
    """Features as the scripts that made the published ones went about it."""
    return sound_of(encoder, clip) if encoder.modality == "sound" else pictures_of(encoder, clip)


def pictures_of(encoder: Any, clip: Path) -> Any:
    """All frames in memory, then window after window."""
    import cv2
    import torch

    capture = cv2.VideoCapture(str(clip))
    rate = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    features = []
    for first in range(0, int(len(frames) / rate * encoder.rate) - encoder.window - encoder.ahead + 1, encoder.stride):
        wanted = range(first, first + encoder.window + encoder.ahead)
        stack = torch.from_numpy(np.stack([frames[int(k * rate / encoder.rate + 1e-6)] for k in wanted]))
        features.append(encoder.encode(encoder.prepare(stack).unsqueeze(0)))
    return torch.cat(features)


def sound_of(encoder: Any, clip: Path) -> Any:
    """A wave file, resampled and transformed second by second."""
    import torch
    from torchaudio.functional import resample

    from avel_cli.encoders.resample import BETA, ROLLOFF, ZERO_CROSSINGS
    from avel_cli.media import find_ffmpeg

    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/sound.wav"
        subprocess.run([find_ffmpeg(), "-v", "error", "-i", str(clip), "-ac", "1", "-ar", "44100", target], check=True)
        with wave.open(target) as stream:
            samples = np.frombuffer(stream.readframes(stream.getnframes()), np.int16) / 32768.0
    features = []
    for second in range(len(samples) // 44100):
        part = torch.from_numpy(samples[second * 44100 : (second + 1) * 44100])
        part = resample(part, 44100, encoder.rate, ZERO_CROSSINGS, ROLLOFF, "sinc_interp_kaiser", BETA)
        features.append(encoder.encode(part[: encoder.window].float().unsqueeze(0)))
    return torch.cat(features)


def measure(name: str, way: str, clip: Path, out: Path) -> None:
    """Run one way in this process, keep its features and print CPU seconds and peak memory as JSON."""
    import torch

    encoder = encoder_of(name)
    before, began = _cpu_seconds(), time.perf_counter()
    with torch.inference_mode():
        features = (our_way if way == "ours" else original_way)(encoder, clip)
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - before
    np.save(out, features.numpy())
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))


def _cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def main() -> None:
    """Measure every encoder both ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0, help="take so much of the clip, at 25 frames a second")
    parser.add_argument("--encoder", action="append", choices=NAMES)
    parser.add_argument("--way", choices=["ours", "original"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.encoder[0], arguments.way, arguments.clip, arguments.out)
        return
    from avel_cli.media import find_ffmpeg

    print("encoder    CPU s per s: ours  original  ratio   wall ratio   MB: ours  original   largest difference")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        cut = ["-t", str(arguments.seconds), "-r", "25", "-crf", "12", str(clip)]
        subprocess.run([find_ffmpeg(), "-v", "error", "-i", str(arguments.clip), *cut], check=True)
        for name in arguments.encoder or NAMES:
            found = {}
            for way in ("ours", "original"):
                out = Path(folder) / f"{way}.npy"
                command = [sys.executable, __file__, str(clip), "--encoder", name, "--way", way, "--out", str(out)]
                run = subprocess.run(command, check=True, capture_output=True, text=True)
                found[way] = json.loads(run.stdout.splitlines()[-1]), np.load(out)
            (ours, mine), (original, theirs) = found.values()
            count = min(len(mine), len(theirs))
            difference = np.abs(mine[:count] - theirs[:count]).max() / np.abs(theirs).max()
            cpu = [part["cpu"] / arguments.seconds for part in (ours, original)]
            faster = cpu[1] / cpu[0], original["wall"] / ours["wall"]
            print(f"{name:10} {cpu[0]:17.2f} {cpu[1]:9.2f} {faster[0]:6.2f} {faster[1]:12.2f}", end="")
            print(f" {ours['peak']:10.0f} {original['peak']:9.0f} {difference:20.2e}", flush=True)


if __name__ == "__main__":
    main()
