"""`avel summary`: what was found in many films, in numbers."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli import options, sources
from avel_cli.cli.console import Console
from avel_cli.cli.sources import Sources
from avel_cli.errors import InputError, SetupError, UsageError
from avel_cli.inputs import find_inputs
from avel_cli.timeline.events import Timeline
from avel_cli.writers.files import atomic_path, atomic_write, make_folder

if TYPE_CHECKING:
    from avel_cli.summary import Summary

NAME = "avel-summary"


@click.command(short_help="Count what was found in many films.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@sources.detecting
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for CSV, JSON and PNG, made if missing.")
@click.option("-r", "--recursive", is_flag=True, help="Look into the sub-folders of folders.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON.")
@options.verbosity
@click.pass_obj
def summary(
    console: Console,
    /,
    paths: Sequence[str],
    output: Path | None,
    recursive: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Count events and their seconds by label, by hour of film, and by hour of the clock where films are dated.

    PATH is a folder of films, or of timelines saved by avel detect -f json; a film, such a timeline, or @list.txt.
    With -o, the hours go to avel-summary.csv, everything to avel-summary.json, and a picture to avel-summary.png.

    \b
    avel summary films/ -o numbers
    """
    from avel_cli.summary import summarize

    given = Sources(console, **settings)
    files = [output / f"{NAME}.{extension}" for extension in ("csv", "json", "png")] if output else []
    if not overwrite and (existing := [file for file in files if file.exists()]):
        raise UsageError(f"{existing[0]} exists. Use --overwrite, or another folder with -o")
    inputs = [path for argument in paths for path in _inputs(argument, recursive)]
    found: list[tuple[Timeline, datetime.datetime | None]] = []

    def look(path: Path, progress: str) -> None:
        timeline = given.timeline(path, progress)
        found.append((timeline, _taken(given.film(path, timeline))))

    failed = None
    try:
        for _ in sources.each(console, inputs, look):
            pass
    except InputError as error:
        failed = error
    if not found:
        raise failed or UsageError("there is nothing to count")
    result = summarize(found)
    _show(console, result, as_json)
    if output:
        make_folder(output)
        _write(console, result, files)
    if failed:
        raise failed


def _inputs(argument: str, recursive: bool) -> list[Path]:
    """The saved timelines of a folder that holds some, else its films."""
    path = Path(argument)
    saved = sources.saved_in(path, recursive) if path.is_dir() else []
    return saved or find_inputs([argument], recursive)


def _taken(film: Path) -> datetime.datetime | None:
    from avel_cli.media import probe
    from avel_cli.summary import taken

    try:
        return taken(probe(film))
    except InputError:  # the film of a saved timeline may be gone
        return None


def _show(console: Console, result: Summary, as_json: bool) -> None:
    if as_json:
        console.result_stream().write(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
        return
    told = result.to_dict()["labels"]
    rows = [[row["label"], str(row["events"]), f"{row['seconds']:.1f}", f"{row['events_an_hour']:.1f}"] for row in told]
    console.table(["label", "events", "seconds", "events an hour"], rows)
    console.say(f"{result.films} films, {result.seconds:.1f} s; {result.dated} of them tell when they were taken")


def _write(console: Console, result: Summary, files: Sequence[Path]) -> None:
    table, document, picture = files
    with atomic_write(table) as stream:
        writer = csv.writer(stream)
        writer.writerow(["by", "hour", "label", "events", "seconds", "media_seconds", "events_an_hour"])
        for row in result.rows:
            numbers = [f"{row.seconds:.3f}", f"{row.media_seconds:.3f}", f"{row.events_an_hour:.3f}"]
            writer.writerow([row.by, row.hour, row.label, row.events, *numbers])
    with atomic_write(document) as stream:
        stream.write(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
    try:
        from avel_cli.summary import plot

        with atomic_path(picture) as temporary:
            plot(result, temporary)
    except ImportError:
        raise SetupError("the picture needs matplotlib: pip install 'avel[train]'; the tables are written") from None
    console.say(f"{', '.join(map(str, files))}")
