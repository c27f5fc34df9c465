"""Where results go: names that never clash, and files that appear whole or not at all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from avel_cli.errors import InputError, UsageError

LONGEST_NAME = 255  # bytes, of a file on every usual system


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` for a file that takes its place at the end, or vanishes on an error.

    Raises:
        InputError: if the folder or the file cannot be written.
    """
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise InputError(f"{path}: this name is longer than {LONGEST_NAME} bytes; give the input a shorter one")
    temporary = path.with_name(f".avel-{uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """A UTF-8 stream to a file that appears whole or not at all; see `atomic_path`."""
    # backslashreplace: names that are not UTF-8 still make a valid file, and in JSON a valid escape
    with (
        atomic_path(path) as temporary,
        temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        yield stream


def plan_files(
    inputs: Sequence[Path], extensions: Sequence[str], folder: Path, *, overwrite: bool, skip_existing: bool
) -> dict[Path, list[Path]]:
    """The result files to write for each input, in a folder that is made if it is missing.

    Args:
        inputs: the inputs, each once.
        extensions: how the results of an input end, without the leading dot.
        folder: the output folder.
        overwrite: existing results may be replaced.
        skip_existing: existing results stay, and inputs that have all of theirs are left out.

    Raises:
        UsageError: if the folder cannot be written, if both flags are set, or if a result exists and neither is.
    """
    plan = name_files(inputs, extensions, folder)
    plan = check_existing(plan, overwrite=overwrite, skip_existing=skip_existing)
    make_folder(folder)
    return plan


def name_files(inputs: Sequence[Path], extensions: Sequence[str], folder: Path) -> dict[Path, list[Path]]:
    """The result files of each input; see `result_names`."""
    outputs = output_paths([Path(os.path.abspath(path)) for path in inputs], extensions, folder)
    return dict(zip(inputs, outputs, strict=True))


def check_existing(
    plan: Mapping[Path, Sequence[Path]],
    *,
    overwrite: bool,
    skip_existing: bool,
    ours: Callable[[], Collection[Path]] = tuple,
) -> dict[Path, list[Path]]:
    """The files of a plan that are to be written, by input.

    Args:
        plan: the result files of each input.
        overwrite: existing results may be replaced.
        skip_existing: existing results stay, and inputs that have all of theirs are left out.
        ours: gives existing results that stop nothing; asked after these were looked for.

    Raises:
        UsageError: if both flags are set, or if a result exists and neither is.
    """
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other")
    existing = {file: None for files in plan.values() for file in files if os.path.lexists(file)}
    if skip_existing:
        plan = {path: [file for file in files if file not in existing] for path, files in plan.items()}
    elif existing and not overwrite:
        known = ours()
        if strange := [file for file in existing if file not in known]:
            more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
            raise UsageError(f"{strange[0]} exists{more}. Use --overwrite, --skip-existing, or another folder with -o")
    return {path: list(files) for path, files in plan.items() if files}


def output_paths(inputs: Sequence[Path], extensions: Sequence[str], folder: Path) -> list[list[Path]]:
    """Where the results of each input go: `folder/<name>.avel.<extension>`, one list per input; see `result_names`."""
    names = result_names(inputs)
    return [[folder / f"{name}.avel.{extension}" for extension in dict.fromkeys(extensions)] for name in names]


def result_names(inputs: Sequence[Path]) -> list[str]:
    """What the results of each input are called, without extension.

    The name is the input's stem, `clip`. Inputs that would share one take their file name, `clip.mp4`, and if that
    is shared too, their folder's name as well, `day1_clip.mp4`; those still alike are numbered, `day1_clip.mp4-2`.
    Letter case does not tell two names apart, because on some systems it does not for files. Nothing but the
    inputs and their order decides, so the same command always writes the same files.

    Args:
        inputs: absolute paths, each once.
    """
    names = [path.stem for path in inputs]
    for longer in ([path.name for path in inputs], [f"{path.parent.name}_{path.name}" for path in inputs]):
        times = Counter(map(str.casefold, names))
        names = [long if times[name.casefold()] > 1 else name for name, long in zip(names, longer, strict=True)]
    return list(_numbered(names))


def make_folder(folder: Path) -> None:
    """Make the output folder if it is missing.

    Raises:
        UsageError: if it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: this folder cannot be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder}: this folder cannot be written. Choose another with -o")


def _numbered(names: Sequence[str]) -> Iterator[str]:
    """The names, with a number added to those that came before."""
    taken: set[str] = set()
    for name in names:
        tries = chain([name], (f"{name}-{number}" for number in count(2)))
        free = next(attempt for attempt in tries if attempt.casefold() not in taken)
        taken.add(free.casefold())
        yield free
