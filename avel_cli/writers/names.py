"""Text of labels and files as formats can hold it."""

from __future__ import annotations

import re
from pathlib import PurePath

from avel_cli.timeline.events import Timeline


def one_line(text: str) -> str:
    """The text with one space for each run of white space, so that it ends no line and no column."""
    return " ".join(text.split())


def without_arrows(text: str) -> str:
    """One line in which `-->`, which parts the times of a cue, is a short arrow."""
    return re.sub("-{2,}>", "->", one_line(text))


def printable(text: str) -> str:
    """One line without the control characters, halves of pairs and non-characters that XML cannot hold."""
    return re.sub("[^\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]", "\ufffd", one_line(text))


def stem(timeline: Timeline) -> str:
    """The name of the timeline's file without its folder and extension."""
    return PurePath(timeline.file.replace("\\", "/")).stem
