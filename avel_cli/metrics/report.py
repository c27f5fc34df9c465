"""Figures as people and programs read them: a table, and plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """What a run or a measurement came to.

    Attributes:
        title: of the table.
        columns: of the table.
        rows: of the table.
        values: the same and more, ready for JSON.
        notes: lines to be said beside the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    values: Mapping[str, Any]
    notes: Sequence[str] = field(default=())


def as_reported(value: float) -> str:
    """A percentage with the digits that its source gives, one at least."""
    return f"{value:.1f}" if value == round(value, 1) else f"{value:g}"


def percent(value: float | None) -> str:
    """A percentage for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"
