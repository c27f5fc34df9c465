"""`avel find`: moments of indexed films by words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.errors import UsageError
from avel_cli.inputs import with_lists
from avel_cli.writers.files import make_folder
from avel_cli.writers.subtitles import clock

if TYPE_CHECKING:
    from avel_cli.search.find import By, Moment


@click.command(short_help="Find moments by words in the films of an index.")
@click.argument("folder", metavar="DIR", type=options.FOLDER)
@click.argument("phrases", metavar="PHRASE…", nargs=-1, required=True)
@click.option(
    "--by",
    type=click.Choice(["both", "heard", "seen"]),
    default="both",
    show_default=True,
    help="Rank by what is both heard and seen, or by one of them.",
)
@click.option("--top-k", type=click.IntRange(1), default=10, show_default=True, help="Show the best so many.")
@click.option(
    "--clip",
    "clips",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Cut the moments out, each into a file in this folder, made if missing.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the answer as JSON.")
@options.verbosity
@click.pass_obj
def find(
    console: Console,
    /,
    folder: Path,
    phrases: Sequence[str],
    by: By,
    top_k: int,
    clips: Path | None,
    as_json: bool,
) -> None:
    """Rank the moments of the films in DIR that fit PHRASE, the best first; avel index DIR comes before.

    A phrase that is known only by sound, or only by picture, is ranked by that. There is always a best moment: look
    at its score.

    \b
    avel index films/
    avel find films/ "glass breaking"
    avel find films/ "a dog barking" --by heard --clip dogs
    """
    from avel_cli.encoders.vocabulary import match
    from avel_cli.search.find import find as search

    matches = match(with_lists(phrases))
    answer = search(folder, matches, by=by, top_k=top_k)
    for one in matches:
        console.say(str(one))
    for warning in answer.warnings:
        console.say(f"warning: {warning}")
    console.say(f"{len(answer.moments)} moments of {answer.films} films")
    if clips:
        _cut(console, answer.moments, clips)
    if as_json:
        moments = [moment.to_dict() for moment in answer.moments]
        console.result_stream().write(json.dumps(moments, indent=2, ensure_ascii=False) + "\n")
        return
    rows = [_row(rank, moment) for rank, moment in enumerate(answer.moments, 1)]
    console.table(["rank", "score", "heard", "seen", "start", "end", "phrase", "file"], rows)


def _cut(console: Console, moments: Sequence[Moment], folder: Path) -> None:
    """Write a clip for each moment, named by its rank.

    Raises:
        UsageError: if a clip of such a name is there already, or the folder cannot be written.
        InputError: if one cannot be cut; those before it are there.
    """
    from avel_cli.films.clips import Cut, write_clip
    from avel_cli.media import probe

    make_folder(folder)
    cuts = [Cut(one.start, one.end, one.phrase, one.start, one.score, 1) for one in moments]
    paths = [folder / f"{rank:02}.{cut.name}" for rank, cut in enumerate(cuts, 1)]
    if there := next((file for path in paths for file in folder.glob(f"{escape(path.name)}.*")), None):
        raise UsageError(f"{there} exists; choose another folder with --clip")
    for moment, cut, path in zip(moments, cuts, paths, strict=True):
        file, _ = write_clip(probe(moment.file), cut, path)
        console.say(f"{moment.file}: {cut.begin:g} to {cut.end:g} s → {file}")


def _row(rank: int, moment: Moment) -> list[str]:
    scores = ["-" if score is None else f"{score:.2f}" for score in (moment.score, moment.heard, moment.seen)]
    times = [clock(round(seconds * 1000), ".") for seconds in (moment.start, moment.end)]
    return [str(rank), *scores, *times, moment.phrase, moment.file]
