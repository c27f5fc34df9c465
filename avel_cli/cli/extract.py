"""`avel extract`: files in, features out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.encoders import ENCODERS
from avel_cli.errors import UsageError
from avel_cli.inputs import find_inputs


@click.command(short_help="Write the features of video files.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option(
    "-e",
    "--encoder",
    "encoders",
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
    "format",
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
    paths: tuple[str, ...],
    encoders: tuple[str, ...],
    weights: dict[str, Path],
    **settings: Any,
) -> None:
    """Write the features that encoders make of video files, a file for each; what is there already stays.

    \b
    avel extract films/ -e vgg19 -e vggish -o features
    avel extract films/ -e i3d-rgb -e i3d-flow -e vggish-unav -f npy -o features
    avel extract AVE/ -e vgg19 -e vggish -f h5 --annotations Annotations.txt -o features
    """
    if (settings["format"] == "h5") != (settings["annotations"] is not None):
        raise UsageError("-f h5 and --annotations Annotations.txt belong together")
    find_inputs(paths, settings["recursive"])  # a wrong path is told before anything slow is imported
    files = options.named(weights, encoders)
    from avel_cli import features

    features.extract(paths, encoders, weights=files, hooks=options.hooks(console), **settings)
