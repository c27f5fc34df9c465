"""`avel convert`: saved timelines in other formats, without looking at films again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from avel_cli.cli import options, sources
from avel_cli.cli.console import Console
from avel_cli.cli.formats import formats, stdout_format
from avel_cli.errors import InputError, UsageError
from avel_cli.timeline.events import Timeline
from avel_cli.writers import WRITERS, extension, write_file
from avel_cli.writers.files import plan_files

STDOUT = "-"


@click.command(short_help="Write saved timelines in other formats.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@formats
@click.option(
    "-o",
    "--output",
    default=".",
    metavar="DIR",
    help="Folder for the results, made if missing; - writes one format to stdout.  [default: the current one]",
)
@click.option("-r", "--recursive", is_flag=True, help="Look into the sub-folders of folders.")
@click.option("--min-score", type=options.Number(0, 1), help="Lowest score that counts, 0 to 1.  [default: as saved]")
@click.option("--min-duration", type=options.Number(0), default=0.0, help="Drop events that are shorter, in seconds.")
@click.option("--label", "labels", multiple=True, help="Keep events with this label only; may be given several times.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option("--skip-existing", is_flag=True, help="Leave existing results, and inputs that have all of theirs.")
@options.verbosity
@click.pass_obj
def convert(
    console: Console,
    /,
    paths: Sequence[str],
    formats: Sequence[str],
    output: str,
    recursive: bool,
    min_score: float | None,
    min_duration: float,
    labels: Sequence[str],
    overwrite: bool,
    skip_existing: bool,
) -> None:
    """Write timelines that avel detect -f json saved in other formats; the films are not needed.

    PATH is such a file, a folder of them (*.avel.json), or @list.txt with one of these per line. Timelines saved with
    --keep-scores are decoded again at --min-score, as avel detect does; others can only lose events.

    \b
    avel convert clip.avel.json -f vtt,edl
    avel convert results/ -f all --min-score 0.4 --label dog -o dogs
    """
    inputs = sources.saved(paths, recursive)
    to_stdout = stdout_format(formats, len(inputs)) if output == STDOUT else None
    plan = (
        {path: [] for path in inputs} if to_stdout else _plan(inputs, formats, Path(output), overwrite, skip_existing)
    )
    if len(plan) < len(inputs):
        console.say(f"{len(inputs) - len(plan)} of {len(inputs)} inputs skipped, their results exist")

    def work(path: Path, progress: str) -> Timeline:
        timeline = _asked_for(console, path, min_score, min_duration, labels)
        for file in plan[path]:
            write_file(timeline, file)
        told = f" → {', '.join(map(str, plan[path]))}" if plan[path] else ""
        console.say(f"{path}: {len(timeline)} event{'s' * (len(timeline) != 1)}{told}")
        return timeline

    timelines: Iterator[Timeline] = sources.each(console, list(plan), work)
    if to_stdout:
        WRITERS[to_stdout](timelines, console.result_stream())
    for _ in timelines:
        pass


def _plan(
    inputs: Sequence[Path], formats: Sequence[str], folder: Path, overwrite: bool, skip_existing: bool
) -> dict[Path, list[Path]]:
    """The result files of each input: clip.avel.json makes clip.avel.vtt."""
    plain = {path: sources.plain(path) for path in inputs}
    if len(set(plain.values())) < len(inputs):
        plain = {path: path for path in inputs}
    extensions = [extension(name) for name in formats]
    plan = plan_files(list(plain.values()), extensions, folder, overwrite=overwrite, skip_existing=skip_existing)
    return {path: plan[name] for path, name in plain.items() if name in plan}


def _asked_for(
    console: Console, path: Path, min_score: float | None, min_duration: float, labels: Sequence[str]
) -> Timeline:
    """The saved timeline with the events that were asked for, and what was asked for."""
    from avel_cli.timeline.filters import select

    timeline = Timeline.read(path)
    keep = _known(path, timeline, labels)
    if min_score is not None:
        timeline = _at(console, path, timeline, min_score)
    asked: dict[str, Any] = {"min_duration": min_duration} if min_duration else {}
    asked |= {"labels": list(keep)} if keep else {}
    events = select(timeline.events, min_duration=min_duration, keep=keep)
    return replace(timeline, events=events, parameters=timeline.parameters | asked)


def _at(console: Console, path: Path, timeline: Timeline, min_score: float) -> Timeline:
    """The timeline at another lowest score: decoded again where scores are kept, else with fewer events."""
    from avel_cli.timeline.filters import select
    from avel_cli.timeline.redrawn import redrawn

    parameters = timeline.parameters | {"min_score": min_score}
    if timeline.scores is None:
        before = timeline.parameters.get("min_score")
        if isinstance(before, int | float) and min_score < before <= 1:
            console.say(
                f"warning: {path}: events below {before:g} were not saved; avel detect --keep-scores saves them"
            )
        events = select(timeline.events, min_score=min_score)
        return replace(timeline, events=events, parameters=parameters)
    try:
        return replace(timeline, events=redrawn(timeline.scores, min_score), parameters=parameters)
    except ValueError as error:
        raise InputError(f"{path}: its scores cannot be decoded again: {error}") from None


def _known(path: Path, timeline: Timeline, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels as the timeline spells them."""
    from avel_cli.timeline.segments import match_labels

    try:
        return match_labels(labels, timeline.labels or sorted({event.label for event in timeline}))
    except UsageError as error:  # of this timeline; others may know the label
        raise InputError(f"{path}: {error}") from None
