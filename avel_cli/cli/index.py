"""`avel index`: a folder of films made ready for `avel find`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.inputs import find_inputs

if TYPE_CHECKING:
    from avel_cli.pipeline import Detector


@click.command(short_help="Make a folder of films ready for avel find.")
@click.argument("folder", metavar="DIR", type=options.FOLDER)
@click.option("-r", "--recursive", is_flag=True, help="Look into the sub-folders.")
@options.listening
@options.encoding
@options.device
@options.verbosity
@click.pass_obj
def index(
    console: Console,
    /,
    folder: Path,
    recursive: bool,
    audio_track: int | None,
    frames_per_second: int | None,
    **settings: Any,
) -> None:
    """Look at and listen to the films of DIR once, so that avel find answers at once.

    The index is the folder .avel-index in DIR, 3 kB for a second of film. Run it again after films were added or
    have changed: the others are left alone, and an interrupted run goes on where it was.
    """
    find_inputs([str(folder)], recursive)  # a folder without films is told before anything slow is imported
    from avel_cli.search.index import index as build

    counts = build(
        folder,
        partial(_load, frames_per_second, settings),
        recursive=recursive,
        audio_track=audio_track,
        frames_per_second=frames_per_second,
        say=console.say,
        fail=console.fail,
        watch=console.progress,
    )
    console.say(
        f"{folder}: {counts.added} added, {counts.kept} were there already, {counts.passed} passed over, "
        f"{counts.removed} taken out"
    )


def _load(frames_per_second: int | None, settings: dict[str, Any]) -> Detector:
    from avel_cli.pipeline import Detector
    from avel_cli.words import OFFLINE

    return Detector(OFFLINE, frames_per_second=frames_per_second, **settings)
