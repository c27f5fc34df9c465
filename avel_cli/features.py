"""`extract`: files in, features out. The command `avel extract` is this function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from avel_cli.datasets import ave_features
from avel_cli.datasets.ave_files import SEGMENTS
from avel_cli.encoders.stream import Precision
from avel_cli.errors import InputError, UsageError
from avel_cli.experiments import SILENT, Hooks
from avel_cli.extraction import Extractor, Options, feature_file
from avel_cli.inputs import find_inputs
from avel_cli.media.probe import probe
from avel_cli.published import prepare
from avel_cli.writers.files import make_folder, result_names

Format = Literal["safetensors", "npy", "h5"]
Jobs = dict[Path, dict[str, Path]]


def extract(
    paths: Sequence[str | Path] | str | Path,
    encoders: Sequence[str],
    output: str | Path,
    *,
    format: Format = "safetensors",
    annotations: Path | None = None,
    by_index: bool = False,
    recursive: bool = False,
    overwrite: bool = False,
    audio_track: int | None = None,
    precision: Precision = "fp32",
    frames_per_second: int | None = None,
    weights: Mapping[str, Path] | None = None,
    offline: bool = False,
    device: str = "auto",
    hooks: Hooks = SILENT,
) -> list[Path]:
    """Write the features that encoders make of video files, a file for each; what is there already stays.

    Args:
        paths: files, folders, or `@list.txt` with one of these per line.
        encoders: names of encoders.
        output: folder for the features.
        format: `npy` is named as UnAV-100's loader wants it; `h5` gathers everything in AVE's files.
        annotations: AVE's Annotations.txt, whose lines are the rows of the h5 files.
        by_index: choose frames by number, as AVE did, not by time; h5 implies it.
        recursive: look into the sub-folders of folders.
        overwrite: replace features that were made otherwise, and h5 files.
        audio_track: which sound to listen to, from 0; None takes the container's default, or the first not silent.
        precision: of the encoders' arithmetic.
        frames_per_second: fewer frames for a picture encoder that averages over them; None takes the published number.
        weights: files to use in place of what is published, by encoder; "" where there is one encoder.
        offline: open no connection.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        hooks: who is told how it goes.

    Returns:
        The files with the features, those that were there already too.

    Raises:
        UsageError: if the arguments do not fit together.
        InputError: at the end, if any input failed; the others are written.
        ModelError: if weights cannot be had.
    """
    if (format == "h5") != (annotations is not None):
        raise UsageError("-f h5 and --annotations Annotations.txt belong together")
    given = [paths] if isinstance(paths, str | Path) else paths
    inputs, folder = find_inputs(map(str, given), recursive), Path(output)
    if annotations:
        inputs = ave_features.videos(annotations, inputs)
    make_folder(folder)
    jobs = _jobs(inputs, encoders, folder, ".npy" if format == "npy" else ".safetensors")
    files = {name or encoders[0]: path for name, path in (weights or {}).items()}
    prepare(encoders, offline=offline, files=files, say=hooks.say, watch=hooks.download)
    how = Options(
        audio_track=audio_track,
        precision=precision,
        segments=SEGMENTS if annotations else None,
        by_index=by_index or annotations is not None,
    )
    extractor = Extractor(encoders, how, device, frames_per_second=frames_per_second, offline=offline, weights=files)
    modalities = [encoder.modality for encoder in extractor.encoders.values()]
    if annotations and len(set(modalities)) < len(set(encoders)):
        raise UsageError("-f h5 makes one file of pictures and one of sound: give one encoder of each at most")
    if annotations and not overwrite:
        ave_features.check_absent(folder, modalities)
    _run(jobs, extractor, overwrite, hooks)
    if not annotations:
        return [path for outputs in jobs.values() for path in outputs.values()]
    gathered = []
    for name, encoder in extractor.encoders.items():
        features = {path.stem: outputs[name] for path, outputs in jobs.items()}
        gathered.append(ave_features.assemble(annotations, features, name, encoder.modality, folder))
        hooks.say(f"{len(jobs)} videos: {name} → {gathered[-1]}")
    return gathered


def _jobs(inputs: Sequence[Path], names: Sequence[str], folder: Path, suffix: str) -> Jobs:
    """Which file each encoder writes for each input."""
    stems = result_names([Path(os.path.abspath(path)) for path in inputs])
    return {
        path: {name: feature_file(folder, stem, name, suffix) for name in dict.fromkeys(names)}
        for path, stem in zip(inputs, stems, strict=True)
    }


def _run(jobs: Jobs, extractor: Extractor, overwrite: bool, hooks: Hooks) -> None:
    """Do the jobs; a failure is told and the others go on.

    Raises:
        InputError: at the end, if any of them failed.
    """
    failed = skipped = 0
    for number, (path, outputs) in enumerate(jobs.items(), 1):
        for name, output in outputs.items():
            try:
                media = probe(path)
                with hooks.watch(f"{number}/{len(jobs)} {path.name} {name}") as listener:
                    warnings = extractor.write(media, name, output, listener, overwrite=overwrite)
            except InputError as error:
                hooks.fail(error)
                failed += 1
                continue
            skipped += warnings is None
            if warnings is not None:
                hooks.say(f"{path}: {name} → {output}")
            for warning in warnings or ():
                hooks.say(f"warning: {path}: {warning}")
    if skipped:
        hooks.say(f"{skipped} of {len(jobs) * len(next(iter(jobs.values())))} features were there already")
    if failed:
        raise InputError(f"{failed} features could not be made; the same command tries them again")
