"""`avel clips`: found moments as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from avel_cli.cli import options, sources
from avel_cli.cli.console import Console
from avel_cli.cli.sources import Sources
from avel_cli.errors import InputError, UsageError
from avel_cli.inputs import find_inputs
from avel_cli.writers.files import atomic_write, make_folder, result_names

ORIGINS = "clips.csv"
COLUMNS = "clip,file,begin,end,label,score,events"


@click.command(short_help="Cut the found moments out of films.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@sources.detecting
@click.option("--padding", type=options.Number(0), default=0.5, show_default=True, help="Seconds before and after.")
@click.option(
    "--merge-gap",
    type=options.Number(0),
    default=1.0,
    show_default=True,
    help="Events of one label with no more seconds between them come into one clip.",
)
@click.option("--reencode", is_flag=True, help="Encode every clip anew, so that it begins at the very picture.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the clips.")
@click.option("-r", "--recursive", is_flag=True, help="Look into the sub-folders of folders.")
@click.option("--overwrite", is_flag=True, help="Replace existing clips.")
@options.verbosity
@click.pass_obj
def clips(
    console: Console,
    /,
    paths: Sequence[str],
    padding: float,
    merge_gap: float,
    reencode: bool,
    output: Path,
    recursive: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Cut the moments that were found out of films, one file each, and list in clips.csv where each came from.

    PATH is a film, a folder of films, @list.txt with one of these per line, or a timeline saved by avel detect -f json.
    A clip is copied without loss where a keyframe is at most half a second before it, and encoded anew elsewhere.

    \b
    avel clips films/ --label dog -o dogs
    """
    from avel_cli.films.clips import cuts, write_clip

    given = Sources(console, **settings)
    inputs = find_inputs(paths, recursive)
    origins = output / ORIGINS
    if origins.exists() and not overwrite:
        raise UsageError(f"{origins} exists. Use --overwrite, or another folder with -o")
    make_folder(output)
    names = dict(zip(inputs, result_names([path.absolute() for path in inputs]), strict=True))

    def cut(path: Path, progress: str) -> Iterator[list[Any]]:
        timeline = given.timeline(path, progress)
        film = given.film(path, timeline)
        parts = cuts(timeline, timeline.duration, padding=padding, merge_gap=merge_gap)
        console.say(f"{path}: {len(parts)} clip{'s' * (len(parts) != 1)}")
        if not parts:
            return
        media, track = given.media(film, timeline)
        for part in parts:
            target = output / f"{names[path].removesuffix('.avel')}.{part.name}"
            _refuse_existing(target, overwrite)
            file, begin = write_clip(media, part, target, copying=not reencode, track=track)
            yield [file.name, str(film), begin, part.end, part.label, part.score, part.events]

    rows: list[list[Any]] = []
    try:
        for _ in sources.each(console, inputs, lambda path, progress: rows.extend(cut(path, progress))):
            pass
    finally:
        _write_origins(origins, rows)
    console.say(f"{len(rows)} clips → {origins}")


def _refuse_existing(target: Path, overwrite: bool) -> None:
    for extension in ("mp4", "mkv"):
        file = target.with_name(f"{target.name}.{extension}")
        if file.exists() and not overwrite:
            raise InputError(f"{file} exists. Use --overwrite, or another folder with -o")


def _write_origins(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    import csv

    with atomic_write(path) as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS.split(","))
        for clip, file, begin, end, label, score, events in rows:
            writer.writerow([clip, file, f"{begin:.3f}", f"{end:.3f}", label, f"{score:.4f}", events])
