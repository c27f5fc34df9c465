"""The outcomes of a run as a file: CSV, or JSON, by its name."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from avel_cli.batch.run import Outcome
from avel_cli.errors import UsageError
from avel_cli.writers.files import atomic_write

SCHEMA = "avel.batch/1"
COLUMNS = ("file", *Outcome._fields)
STARTS = {".csv": ",".join(COLUMNS), ".json": f'{{"schema": "{SCHEMA}"'}


def check(path: Path) -> None:
    """See that the summary of a run may go there: an earlier one is replaced, nothing else is.

    Raises:
        UsageError: if the name says no format, or something else is there.
    """
    start = STARTS.get(path.suffix)
    if start is None:
        raise UsageError(f"{path}: a summary is a .csv or a .json")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no such folder")
    if path.is_symlink() or (path.exists() and not _begins(path, start)):
        raise UsageError(f"{path} is there and no summary of a batch; choose another name")


def write(path: Path, outcomes: Mapping[Path, Outcome]) -> None:
    """Write a row for each input: file, state, reason, events, duration and seconds of work.

    Raises:
        InputError: if it cannot be written.
    """
    rows = [(str(file), *outcome) for file, outcome in outcomes.items()]
    with atomic_write(path) as stream:
        if path.suffix == ".csv":
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows([_shown(cell) for cell in row] for row in rows)
            return
        inputs = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        stream.write(json.dumps({"schema": SCHEMA, "inputs": inputs}, ensure_ascii=False) + "\n")


def _shown(cell: object) -> object:
    return f"{cell:.3f}" if isinstance(cell, float) else cell


def _begins(path: Path, start: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(start)) == start.encode()
