"""`avel index`: every film of a folder looked at and listened to once, so that questions take no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout

from avel_cli.errors import InputError, UsageError
from avel_cli.hub import registry, weights_file
from avel_cli.inputs import find_inputs
from avel_cli.search import entries
from avel_cli.search.entries import FOLDER, Facts
from avel_cli.words import HEADS
from avel_cli.writers.files import make_folder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from avel_cli.pipeline import Detector, Progress

    Watched = AbstractContextManager[Progress | None]


class Counts(NamedTuple):
    """How many films were added, were there already, were passed over, and have left the index."""

    added: int
    kept: int
    passed: int
    removed: int


def index(
    root: Path,
    load: Callable[[], Detector],
    *,
    recursive: bool = False,
    audio_track: int | None = None,
    frames_per_second: int | None = None,
    say: Callable[[str], None],
    fail: Callable[[InputError], None],
    watch: Callable[[str], Watched],
) -> Counts:
    """Bring the index of a folder up to date: films that are new or have changed are added, those that are gone leave.

    A film is in the index as soon as it is done, so an interrupted run goes on where it was.

    Args:
        root: the folder.
        load: makes the detector `words.starter`, which is done when the first film needs it.
        recursive: look into the sub-folders.
        audio_track: which sound to listen to, from 0; None takes the container's default.
        frames_per_second: of the detector; what was indexed otherwise is made again.
        say: is told a line about each film.
        fail: is told of films that cannot be read.
        watch: makes a progress bar.

    Raises:
        UsageError: if the folder has no film or cannot be written, or another run is at work on it.
        InputError: at the end, if any film failed; the others are indexed.
    """
    films = find_inputs([str(root)], recursive)
    load = cache(load)
    made_by = {**_weights(), "audio_track": audio_track, "frames_per_second": frames_per_second}
    added = kept = passed = failed = 0
    with _alone(root):
        removed = _cleared(root, say)
        for number, film in enumerate(films, 1):
            name = film.relative_to(root).as_posix()
            try:
                if _is_current(root, name, made_by):
                    kept += 1
                    continue
                with watch(f"{number}/{len(films)} {film.name}") as listener:
                    reason = _add(root, name, made_by, load(), audio_track, listener)
            except InputError as error:
                fail(error)
                failed += 1
                continue
            added, passed = added + (reason is None), passed + (reason is not None)
            say(f"{film}: {'indexed' if reason is None else f'not indexed: {reason}'}")
    if failed:
        raise InputError(f"{failed} of {len(films)} films could not be indexed")
    return Counts(added, kept, passed, removed)


def _weights() -> dict[str, str]:
    card = registry.model(HEADS)
    files = {card.name: card.path} | {name: registry.encoder_file(name) for name in card.encoders}
    return {name: weights_file.sha256(path) for name, path in files.items()}


def _is_current(root: Path, name: str, made_by: Mapping[str, object]) -> bool:
    path = entries.entry_path(root, name)
    if not path.exists():
        return False
    try:
        entry = entries.read(root, path)
    except InputError:  # of another version, or damaged: made again
        return False
    return entry.problem is None and entry.facts.made_by == made_by and entry.facts.film == name


def _add(
    root: Path,
    name: str,
    made_by: Mapping[str, object],
    detector: Detector,
    audio_track: int | None,
    listener: Progress | None,
) -> str | None:
    """Index one film, or say why it is none that can be."""
    from avel_cli.media import probe, select
    from avel_cli.pipeline import missing_stream

    film = root / name
    size, modified = entries.stamp(film)
    media = probe(film)
    if reason := missing_stream(media):
        return reason.partition(":")[0]
    heard, seen = detector.names(select(media, audio_track)[0], listener)
    entries.write(root, Facts(name, size, modified, media.duration, dict(made_by)), heard, seen)
    return None


def _cleared(root: Path, say: Callable[[str], None]) -> int:
    """Take out what killed runs have left, and films that are gone; how many these were."""
    for part in (root / FOLDER).glob(".avel-*.part"):
        part.unlink(missing_ok=True)
    removed = 0
    for path in entries.paths(root):
        try:
            entry = entries.read(root, path)
        except InputError:
            continue
        if entry.problem == "is gone":
            path.unlink()
            say(f"{entry.film}: no longer there, taken out of the index")
            removed += 1
    return removed


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    make_folder(root / FOLDER)
    lock = FileLock(root / FOLDER / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(f"{root}: another avel index is at work here") from None
    try:
        yield
    finally:
        lock.release()
