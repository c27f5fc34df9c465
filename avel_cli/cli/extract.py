"""`avel extract`: files in, features out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.cli.inputs import find_inputs
from avel_cli.encoders import ENCODERS
from avel_cli.errors import InputError, UsageError
from avel_cli.writers.files import make_folder, result_names

if TYPE_CHECKING:
    from avel_cli.extract import Extractor

log = logging.getLogger("avel")

Jobs = dict[Path, dict[str, Path]]


@click.command(short_help="Write the features of video files.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option(
    "-e",
    "--encoder",
    "names",
    type=click.Choice(list(ENCODERS)),
    multiple=True,
    required=True,
    metavar="NAME",
    help=f"What makes the features; may be given several times: {', '.join(ENCODERS)}.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the features.")
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(["safetensors", "npy", "h5"]),
    default="safetensors",
    show_default=True,
    help="npy is named as UnAV-100's loader wants it; h5 gathers everything in AVE's files.",
)
@click.option(
    "--annotations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="AVE's Annotations.txt, whose lines are the rows of the h5 files.",
)
@click.option("--by-index", is_flag=True, help="Choose frames by number, as AVE did, not by time; h5 implies it.")
@click.option("-r", "--recursive", is_flag=True, help="Look into the sub-folders of folders.")
@click.option("--overwrite", is_flag=True, help="Replace features that were made otherwise, and h5 files.")
@options.listening
@options.encoding
@options.device
@options.verbosity
@click.pass_obj
def extract(
    console: Console,
    /,
    paths: Sequence[str],
    names: Sequence[str],
    output: Path,
    kind: str,
    annotations: Path | None,
    by_index: bool,
    recursive: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Write the features that encoders make of video files, a file for each; what is there already stays.

    \b
    avel extract films/ -e vgg19 -e vggish -o features
    avel extract films/ -e i3d-rgb -e i3d-flow -e vggish-unav -f npy -o features
    avel extract AVE/ -e vgg19 -e vggish -f h5 --annotations Annotations.txt -o features
    """
    if (kind == "h5") != (annotations is not None):
        raise UsageError("-f h5 and --annotations Annotations.txt belong together")
    inputs = find_inputs(paths, recursive)
    settings["by_index"] = by_index or annotations is not None
    if annotations:
        from avel_cli.datasets import ave_features
        from avel_cli.datasets.ave_files import SEGMENTS

        inputs = ave_features.videos(annotations, inputs)
        settings["segments"] = SEGMENTS
    make_folder(output)
    jobs = _jobs(inputs, names, output, ".npy" if kind == "npy" else ".safetensors")
    load = cache(partial(_load, console, names, **settings))
    if annotations and len({encoder.modality for encoder in load().encoders.values()}) < len(set(names)):
        raise UsageError("-f h5 makes one file of pictures and one of sound: give one encoder of each at most")
    if annotations and not overwrite:
        ave_features.check_absent(output, [encoder.modality for encoder in load().encoders.values()])
    _run(console, jobs, load, overwrite)
    if annotations:
        for name, encoder in load().encoders.items():
            features = {path.stem: files[name] for path, files in jobs.items()}
            path = ave_features.assemble(annotations, features, name, encoder.modality, output)
            console.say(f"{len(jobs)} videos: {name} → {path}")


def _jobs(inputs: Sequence[Path], names: Sequence[str], folder: Path, suffix: str) -> Jobs:
    """Which file each encoder writes for each input."""
    from avel_cli.extract import feature_file

    stems = result_names([Path(os.path.abspath(path)) for path in inputs])
    return {
        path: {name: feature_file(folder, stem, name, suffix) for name in dict.fromkeys(names)}
        for path, stem in zip(inputs, stems, strict=True)
    }


def _load(
    console: Console,
    names: Sequence[str],
    *,
    weights: Mapping[str, Path],
    device: str,
    frames_per_second: int | None,
    offline: bool,
    **how: Any,
) -> Extractor:
    from avel_cli.extract import Extractor, Options
    from avel_cli.published import prepare

    files = options.named(weights, names)
    prepare(names, offline=offline, files=files, say=console.say, watch=console.download)
    settings: dict[str, Any] = {"frames_per_second": frames_per_second, "offline": offline, "weights": files}
    return Extractor(names, Options(**how), device, **settings)


def _run(console: Console, jobs: Jobs, load: Callable[[], Extractor], overwrite: bool) -> None:
    """Do the jobs; a failure is said and the others go on.

    Raises:
        InputError: at the end, if any of them failed.
    """
    from avel_cli.media.probe import probe

    failed = skipped = 0
    for number, (path, outputs) in enumerate(jobs.items(), 1):
        for name, output in outputs.items():
            try:
                media, extractor = probe(path), load()
                with console.progress(f"{number}/{len(jobs)} {path.name} {name}") as listener:
                    warnings = extractor.write(media, name, output, listener, overwrite=overwrite)
            except InputError as error:
                console.fail(error)
                failed += 1
                continue
            skipped += warnings is None
            if warnings is not None:
                console.say(f"{path}: {name} → {output}")
            for warning in warnings or ():
                console.say(f"warning: {path}: {warning}")
    if skipped:
        console.say(f"{skipped} of {len(jobs) * len(next(iter(jobs.values())))} features were there already")
    if failed:
        raise InputError(f"{failed} features could not be made; the same command tries them again")
