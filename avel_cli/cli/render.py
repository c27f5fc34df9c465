"""`avel render`: a film with its events in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from avel_cli.cli import options, sources
from avel_cli.cli.console import Console
from avel_cli.cli.sources import Sources
from avel_cli.errors import UsageError

SUFFIXES = (".mp4", ".mkv")


@click.command(short_help="Draw the found events into a film.")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@sources.detecting
@click.option("--soft", is_flag=True, help="Add subtitles that can be switched off, in place of drawing.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The film: .mp4 or .mkv.")
@click.option("--overwrite", is_flag=True, help="Replace an existing film.")
@options.verbosity
@click.pass_obj
def render(console: Console, /, path: Path, soft: bool, output: Path, overwrite: bool, **settings: Any) -> None:
    """Write a film with the labels of each moment at the top, and a lane for each label under it.

    PATH is a film, or a timeline saved by avel detect -f json.

    \b
    avel render clip.mp4 -o labelled.mp4
    avel render clip.mp4 -o clip.mkv --soft
    """
    if output.suffix not in SUFFIXES:
        raise UsageError(f"{output}: no such kind of film. Name it {' or '.join(SUFFIXES)}")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists. Use --overwrite, or another name with -o")
    given = Sources(console, **settings)
    timeline = given.timeline(path, path.name)
    film = given.film(path, timeline)
    if output.exists() and film.exists() and output.samefile(film):
        raise UsageError(f"{output} is the film itself; give another name with -o")
    from avel_cli.films.render import add_subtitles, burn_in

    write = add_subtitles if soft else burn_in
    media, track = given.media(film, timeline)
    write(media, timeline, output, track)
    console.say(f"{path}: {len(timeline)} event{'s' * (len(timeline) != 1)} → {output}")
