"""`avel find`: moments of indexed films by words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.inputs import with_lists
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
@click.option("--json", "as_json", is_flag=True, help="Write the answer as JSON.")
@options.verbosity
@click.pass_obj
def find(console: Console, /, folder: Path, phrases: Sequence[str], by: By, top_k: int, as_json: bool) -> None:
    """Rank the moments of the films in DIR that fit PHRASE, the best first; avel index DIR comes before.

    A phrase that is known only by sound, or only by picture, is ranked by that. There is always a best moment: look
    at its score.

    \b
    avel index films/
    avel find films/ "glass breaking"
    avel find films/ "a dog barking" --by heard
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
    if as_json:
        moments = [moment.to_dict() for moment in answer.moments]
        console.result_stream().write(json.dumps(moments, indent=2, ensure_ascii=False) + "\n")
        return
    rows = [_row(rank, moment) for rank, moment in enumerate(answer.moments, 1)]
    console.table(["rank", "score", "heard", "seen", "start", "end", "phrase", "file"], rows)


def _row(rank: int, moment: Moment) -> list[str]:
    scores = ["-" if score is None else f"{score:.2f}" for score in (moment.score, moment.heard, moment.seen)]
    times = [clock(round(seconds * 1000), ".") for seconds in (moment.start, moment.end)]
    return [str(rank), *scores, *times, moment.phrase, moment.file]
