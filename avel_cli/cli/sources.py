"""Timelines for commands that go on with them: saved ones are read, films are looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.cli.options import Command
from avel_cli.errors import InputError, UsageError
from avel_cli.timeline.events import Timeline

if TYPE_CHECKING:
    from avel_cli.media import Media

SAVED = ".json"
RESULT = ".avel.json"


def detecting(command: Command) -> Command:
    """Adds the options that say how films are looked at where no saved timeline is given."""
    command = options.span(options.listening(options.encoding(options.device(command))))
    command = click.option("--label", "labels", multiple=True, help="Keep this label only; may be given again.")(
        command
    )
    command = click.option("--min-score", type=options.Number(0, 1), help="Lowest score that counts, 0 to 1.")(command)
    text = "Folder of the films of saved timelines.  [default: that of the timeline]"
    command = click.option("--films", type=options.FOLDER, help=text)(command)
    command = click.option("--words", multiple=True, metavar="PHRASE", help="Find this in place of a model's labels.")(
        command
    )
    return options.model(command)


class Sources:
    """Where timelines come from.

    Args:
        console: for progress.
        films: the folder of the films of saved timelines; None takes that of each timeline.
        model: see `options.model`.
        words: see `avel detect`.
        weights: see `options.weights`.
        settings: of `Detector`, and of `Options`.
    """

    def __init__(
        self,
        console: Console,
        *,
        films: Path | None,
        model: str,
        words: Sequence[str],
        weights: dict[str, Path],
        keep_scores: bool = False,
        **settings: Any,
    ) -> None:
        from avel_cli.cli.detect import load_detector, part_of
        from avel_cli.inputs import with_lists

        of_detector = {name: settings.pop(name) for name in ("precision", "frames_per_second", "offline", "device")}
        filters = part_of(settings) | {"keep_scores": keep_scores}
        load = partial(load_detector, console, model, tuple(with_lists(words)), weights, of_detector, filters)
        self._console, self._films, self._load = console, films, cache(load)
        self._min_score, self._labels = settings["min_score"], settings["labels"]

    def timeline(self, path: Path, progress: str) -> Timeline:
        """The saved timeline, or that of a film.

        Raises:
            InputError: if the file cannot be read.
        """
        if not os.path.exists(path):
            raise InputError(f"{str(path)!r} does not exist")
        if path.suffix == SAVED:
            return self._filtered(Timeline.read(path))
        detector, chosen = self._load()
        with self._console.progress(progress) as listener:
            return detector.detect(path, chosen, listener)

    def film(self, path: Path, timeline: Timeline) -> Path:
        """The film of what was read from `path`. What a saved timeline says of other folders is not followed."""
        if path.suffix != SAVED:
            return path
        name = timeline.file.replace("\\", "/").rpartition("/")[2]
        return (self._films or path.parent) / (name or "film")

    @staticmethod
    def media(film: Path, timeline: Timeline) -> tuple[Media, int | None]:
        """The facts of a film, and the sound that the timeline was made from; None is the default.

        Raises:
            InputError: if the file cannot be read, or has no such tracks.
        """
        from avel_cli.media import probe

        video, audio = (timeline.parameters.get(f"{kind}_track") for kind in ("video", "audio"))
        media = probe(film, video if isinstance(video, int) else None)
        if isinstance(audio, int) and not 0 <= audio < len(media.audio):
            raise InputError(f"{str(film)!r} has no audio track {audio}, from which the timeline was made")
        return media, audio if isinstance(audio, int) else None

    def _filtered(self, timeline: Timeline) -> Timeline:
        from dataclasses import replace

        from avel_cli.timeline.filters import select

        events = select(timeline.events, min_score=self._min_score or 0.0, keep=self._labels)
        return replace(timeline, events=events)


def saved(arguments: Sequence[str], recursive: bool) -> list[Path]:
    """The saved timelines that the arguments name, each once: files, `@list.txt`, and `*.avel.json` of folders.

    Raises:
        UsageError: for a folder without any.
    """
    from avel_cli.inputs import find_inputs, with_lists

    found: list[Path] = []
    for argument in with_lists(arguments):
        files = saved_in(Path(argument), recursive) if os.path.isdir(argument) else find_inputs([argument])
        if not files:
            raise UsageError(f"{argument} holds no *{RESULT}" + ("" if recursive else ". Try --recursive"))
        found += files
    return list({os.path.abspath(path): path for path in reversed(found)}.values())[::-1]


def saved_in(folder: Path, recursive: bool) -> list[Path]:
    """The saved timelines of a folder, in natural order."""
    from avel_cli.inputs import natural_key

    return sorted(folder.glob(f"**/*{RESULT}" if recursive else f"*{RESULT}"), key=natural_key)


def plain(path: Path) -> Path:
    """What results are named after: clip.json in place of clip.avel.json, and any other file itself."""
    return path.with_name(path.name.removesuffix(RESULT) + SAVED) if path.name.endswith(RESULT) else path


def each(console: Console, paths: Sequence[Path], work: Any) -> Iterator[Any]:
    """What `work(path, progress)` gives for each path; what fails is said, and the others go on.

    Raises:
        InputError: after the last path, if any of them failed; of a single path, its own.
    """
    failed = 0
    for number, path in enumerate(paths, 1):
        try:
            yield work(path, f"{number}/{len(paths)} {path.name}")
        except InputError as error:
            if len(paths) == 1:
                raise
            console.fail(error)
            failed += 1
    if failed:
        raise InputError(f"{failed} of {len(paths)} inputs failed")
