"""Everything that avel raises on purpose, and the exit code that each kind ends the program with.

    AvelError                 (abstract)
    ├── UsageError        2   an option or argument does not make sense
    ├── InputError        3   something is wrong with one input file; the others go on
    │   └── MediaError    3   the file is there, but is damaged, empty or no video
    └── SetupError        4   FFmpeg, weights or a data set is missing or broken
        └── ModelError    4   weights could not be found, checked or loaded

The text of an error is one line: what went wrong, with which file, and what to do about it. `cli/main.py`
prints it once; nothing else does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one, or all there are, or nothing if these are many."""
    names = list(known)
    if near := difflib.get_close_matches(name, names, 1):
        return f'; did you mean "{near[0]}"?'
    return f"; there are {', '.join(names)}" if len(names) <= 12 else ""


class AvelError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(AvelError):
    """The request itself is wrong: unknown name, contradicting options, two inputs with one output."""

    exit_code = 2


class InputError(AvelError):
    """One input cannot be processed: it does not exist, cannot be read, or cannot be written beside."""

    exit_code = 3


class MediaError(InputError):
    """The file exists but FFmpeg can make nothing of it (no media, damaged, forbidden format)."""


class SetupError(AvelError):
    """Something avel itself needs is missing: FFmpeg, a data set, a device that was asked for."""

    exit_code = 4


class ModelError(SetupError):
    """Weights are unknown, absent, damaged, or do not fit the network they claim to be for."""
