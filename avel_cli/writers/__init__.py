"""Output formats: each is one function that writes timelines to a text stream, in the order they arrive.

A new format is such a function in its family's module and one line in `WRITERS`; one in `ONE_TIMELINE` if it cannot
hold several timelines, and one in `EXTENSIONS` if its files do not end with its name. Where files are put and what
they are called is decided in `files.py`. No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from avel_cli.errors import UsageError
from avel_cli.timeline.events import Timeline
from avel_cli.writers.annotations import write_activitynet, write_labelstudio, write_w3c
from avel_cli.writers.chapters import write_chapters, write_edl, write_ffmetadata
from avel_cli.writers.data import write_json, write_jsonl
from avel_cli.writers.files import atomic_write
from avel_cli.writers.subtitles import write_srt, write_vtt
from avel_cli.writers.tables import write_csv, write_rttm, write_tsv
from avel_cli.writers.tiers import write_audacity, write_eaf, write_textgrid

Writer = Callable[[Iterable[Timeline], TextIO], None]

WRITERS: dict[str, Writer] = {
    "csv": write_csv,
    "tsv": write_tsv,
    "json": write_json,
    "jsonl": write_jsonl,
    "srt": write_srt,
    "vtt": write_vtt,
    "audacity": write_audacity,
    "textgrid": write_textgrid,
    "eaf": write_eaf,
    "rttm": write_rttm,
    "edl": write_edl,
    "ffmetadata": write_ffmetadata,
    "chapters": write_chapters,
    "labelstudio": write_labelstudio,
    "activitynet": write_activitynet,
    "w3c": write_w3c,
}
# Formats of which a stream holds one timeline: its times would start again.
ONE_TIMELINE = frozenset({"srt", "vtt", "audacity", "textgrid", "eaf", "edl", "ffmetadata", "chapters"})
EXTENSIONS = {
    "audacity": "audacity.txt",
    "textgrid": "TextGrid",
    "chapters": "chapters.txt",
    "labelstudio": "labelstudio.json",
    "activitynet": "activitynet.json",
    "w3c": "w3c.json",
}


def extension(name: str) -> str:
    """How files of a format end, without the leading dot."""
    return EXTENSIONS.get(name, name)


def write_file(timeline: Timeline, path: Path) -> None:
    """Write one timeline in the format of the file's extension; the file appears whole or not at all.

    Raises:
        UsageError: if no format has this extension.
        InputError: if the file cannot be written.
    """
    endings = {f".{extension(name)}": writer for name, writer in WRITERS.items()}
    fitting = [ending for ending in endings if path.name.casefold().endswith(ending.casefold())]
    if not fitting:
        raise UsageError(f"{path}: no such format. Name it {', '.join(endings)}")
    with atomic_write(path) as stream:
        endings[max(fitting, key=len)]([timeline], stream)
