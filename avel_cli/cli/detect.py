"""`avel detect`: files in, timelines out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli import options
from avel_cli.cli.batches import batching, opened, tell
from avel_cli.cli.console import Console
from avel_cli.cli.formats import formats, stdout_format
from avel_cli.errors import AvelError, InputError, UsageError
from avel_cli.inputs import find_inputs, with_lists
from avel_cli.timeline.events import Timeline
from avel_cli.writers import WRITERS, extension, write_file
from avel_cli.writers.subtitles import clock

if TYPE_CHECKING:
    from avel_cli.batch.run import Batch, Turn
    from avel_cli.pipeline import Detector, Options

log = logging.getLogger("avel")

STDOUT = "-"


@click.command(short_help="Find the events in video files.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@options.model
@click.option(
    "--words",
    multiple=True,
    metavar="PHRASE",
    help='Find this in place of a model\'s labels, such as "glass breaking", or what stands in @words.txt, a phrase a '
    "line; may be given several times.",
)
@formats
@click.option(
    "-o",
    "--output",
    default=".",
    metavar="DIR",
    help="Folder for the results, made if missing; - writes one format to stdout.  [default: the current one]",
)
@click.option("-r", "--recursive", is_flag=True, help="Look into the sub-folders of folders.")
@options.device
@click.option(
    "--min-score",
    type=options.Number(0, 1),
    help="Lowest score of a segment that counts, 0 to 1.  [default: the model's]",
)
@click.option(
    "--min-duration",
    type=options.Number(0),
    default=0.0,
    show_default=True,
    help="Drop events that are shorter, in seconds.",
)
@click.option("--label", "labels", multiple=True, help="Keep events with this label only; may be given several times.")
@click.option("--top-k", type=click.IntRange(1), help="Keep the events with the highest scores, this many per file.")
@click.option(
    "--show",
    type=click.Choice(["both", "heard", "seen", "all"]),
    default="both",
    show_default=True,
    help="List what is both seen and heard; also what is only heard, only seen, or either.",
)
@click.option("--explain", is_flag=True, help="Say the best label of each second by sound, by picture and by both.")
@click.option("--keep-scores", is_flag=True, help="Put the scores of each second into the JSON, to decode them again.")
@options.listening
@options.span
@options.encoding
@click.option("--strict", is_flag=True, help="Fail on files that can be decoded in part only.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option("--skip-existing", is_flag=True, help="Leave existing results, and inputs that have all of theirs.")
@batching
@options.verbosity
@click.pass_obj
def detect(
    console: Console,
    /,
    paths: Sequence[str],
    model: str,
    words: Sequence[str],
    formats: Sequence[str],
    output: str,
    recursive: bool,
    device: str,
    overwrite: bool,
    skip_existing: bool,
    explain: bool,
    weights: dict[str, Path],
    precision: str,
    frames_per_second: int | None,
    offline: bool,
    retry_failed: bool,
    fail_fast: bool,
    shard: tuple[int, int] | None,
    summary: Path | None,
    **filters: Any,
) -> None:
    """Find events that are both seen and heard in local video files.

    PATH is a file, a folder, or @list.txt with one of these per line. Results are named after their input:
    clip.mp4 makes clip.avel.csv; where that name would be shared, folder_clip.mp4.avel.csv.

    With several inputs the folder of results keeps a journal: the same command again does what is new, changed or was
    interrupted, and several at once share the work.

    \b
    avel detect clip.mp4 --words "a dog barking" --words "glass breaking"
    """
    filters = part_of(filters)
    inputs = find_inputs(paths, recursive)
    settings = {"precision": precision, "frames_per_second": frames_per_second, "offline": offline, "device": device}
    phrases = tuple(with_lists(words))
    load = cache(partial(load_detector, console, model, phrases, weights, settings, filters))
    from avel_cli.batch.run import Batch, in_shard

    if summary:
        from avel_cli.batch.summary import check

        check(summary)
    if output == STDOUT:
        inputs = [path for path in inputs if shard is None or in_shard(path, *shard)]
        write = WRITERS[stdout_format(formats, len(inputs))]
        with _summed_up(Batch({path: [] for path in inputs}), summary) as batch:
            write(_timelines(console, batch, load, explain, fail_fast), console.result_stream())
        return
    asked = {"model": model, "words": phrases, "weights": weights, **settings, **filters}
    flags = {"overwrite": overwrite, "skip_existing": skip_existing, "retry_failed": retry_failed, "shard": shard}
    extensions = [extension(name) for name in formats]
    with (
        opened(console, inputs, extensions, Path(output), asked=asked, **flags) as batch,  # type: ignore[arg-type]
        _summed_up(batch, summary),
    ):
        for timeline in _timelines(console, batch, load, explain, fail_fast):
            if timeline.events and console.shows_tables:
                _show(console, timeline)


def part_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with `end` in place of `duration`.

    Raises:
        UsageError: if both are given.
    """
    settings = dict(settings)
    if (duration := settings.pop("duration")) is not None:
        if settings["end"] is not None:
            raise UsageError("--end and --duration say the same; give one of them")
        settings["end"] = settings["start"] + duration
    return settings


def load_detector(
    console: Console,
    model: str,
    words: Sequence[str],
    weights: dict[str, Path],
    settings: dict[str, Any],
    filters: dict[str, Any],
) -> tuple[Detector, Options]:
    """The detector and what it is asked for; wrong names are found before the only slow import."""
    from avel_cli.hub import registry
    from avel_cli.timeline.segments import match_labels
    from avel_cli.words import takes_words, understood

    if takes_words(model) and not words:
        raise UsageError(f"{model} answers words; give some with --words")
    wording = understood(words, model) if words else None
    card = wording.card if wording else registry.model(model)
    if wording:
        model = wording.model
    labels = match_labels(filters["labels"], card.labels)
    for match in wording.matches if wording else ():
        console.say(str(match))
    if model == "auto" and (hint := registry.stronger(card)):
        console.say(hint)
    from avel_cli.pipeline import Detector, Options
    from avel_cli.published import prepare

    if wording and wording.as_they_are:
        console.say(f"loading {card.size_bytes / 1e9:.1f} GB; on a CPU a second of film may take a second and more")
    files = options.named(weights, [card.name])
    prepare(card.needs, offline=settings["offline"], files=files, say=console.say, watch=console.download)
    detector = Detector(model if card.own else card.name, weights=files, words=words, **settings)
    console.say(detector.description)
    return detector, Options(**filters | {"labels": labels})


@contextmanager
def _summed_up(batch: Batch, file: Path | None) -> Iterator[Batch]:
    """Write the summary of a batch, however it ends, if one is asked for."""
    try:
        yield batch
    finally:
        if file:
            from avel_cli.batch.summary import write

            write(file, {path: batch.outcomes[path] for path in batch.plan if path in batch.outcomes})


def _timelines(
    console: Console,
    batch: Batch,
    load: Callable[[], tuple[Detector, Options]],
    explain: bool,
    fail_fast: bool,
) -> Iterator[Timeline]:
    """The timelines of the inputs, once their result files are written; errors are said as they come.

    Raises:
        InputError: after the last input, if any of them failed, or at once with `fail_fast`; of a single input, its
            own.
    """
    from avel_cli.batch.run import Outcome

    for turn in batch.turns():
        begun = time.monotonic()
        try:
            timeline = _detected(console, turn, len(batch.plan), load)
        except Exception as error:
            failure = _failure(turn.path, error)
            if failure is None:
                raise
            batch.end(turn.path, Outcome("failed", str(failure), seconds=time.monotonic() - begun))
            if len(batch.plan) == 1:
                raise
            if fail_fast:
                raise failure from error
            console.fail(error, str(failure))
        else:
            seconds = time.monotonic() - begun
            batch.end(turn.path, Outcome("done", "", len(timeline.events), timeline.duration, seconds))
            _report(console, timeline, turn.files)
            if explain:
                _explain(console, timeline)
            yield timeline
    tell(console, batch)
    if failed := batch.counts["failed"] + batch.counts["failed before"]:
        raise InputError(f"{failed} of {len(batch.plan)} inputs failed")


def _detected(console: Console, turn: Turn, count: int, load: Callable[[], tuple[Detector, Options]]) -> Timeline:
    """The timeline of one input, whose result files are written."""
    if turn.problem:
        raise turn.problem
    if not os.path.exists(turn.path):
        raise InputError(f"{str(turn.path)!r} does not exist")
    detector, chosen = load()
    begun = time.monotonic()
    with console.progress(f"{turn.number}/{count} {turn.path.name}") as listener:
        timeline = detector.detect(turn.path, chosen, listener)
    log.info("%s: %.1f s of media in %.1f s", turn.path, timeline.duration, time.monotonic() - begun)
    for file in turn.files:
        write_file(timeline, file)
    return timeline


def _failure(path: Path, error: Exception) -> InputError | None:
    """The error as one of this input, or None if it is one of the whole batch."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, AvelError):
        return None
    return InputError(f"{path}: failed unexpectedly, please report it with the output of --debug: {error!r}")


def _report(console: Console, timeline: Timeline, files: Sequence[Path]) -> None:
    """A line about one input and where its results are."""
    count = len(timeline.events)
    found = f"{count} event{'s' * (count != 1)}" if count else f"no event ({timeline.reason or _best_guess(timeline)})"
    console.say(f"{timeline.file}: {found}" + (f" → {', '.join(map(str, files))}" if files else ""))
    for warning in timeline.warnings:
        console.say(f"warning: {timeline.file}: {warning}")


def _best_guess(timeline: Timeline) -> str:
    """Why there is no event in a file that could hold one."""
    if timeline.best is None:
        return "none was found"
    label, score = timeline.best
    return f"none was found; the best guess is {label}, {score:.2f}"


def _explain(console: Console, timeline: Timeline) -> None:
    """The best label of each segment by sound, by picture and by both, with their scores."""
    if not timeline.seconds:
        console.say(f"{timeline.file}: nothing to explain; this model does not tell sound and picture apart")
        return
    for second in timeline.seconds:
        ways = zip(("sound", "picture", "both"), second[1:], strict=True)
        told = "  ".join(f"{way}: {label} {score:.2f}" for way, (label, score) in ways)
        console.say(f"{clock(round(second.start * 1000), '.')}  {told}")


def _show(console: Console, timeline: Timeline) -> None:
    """The events as a table."""
    rows = [
        [
            clock(round(event.start * 1000), "."),
            clock(round(event.end * 1000), "."),
            event.label if event.modality == "both" else f"{event.label} ({event.modality} only)",
            f"{event.score:.2f}",
        ]
        for event in timeline.events
    ]
    console.table(["start", "end", "label", "score"], rows)
