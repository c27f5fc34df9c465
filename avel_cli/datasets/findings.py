"""What a look into a data set's folder finds: one line for each file or fact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "short", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of `avel data check`.

    Attributes:
        name: the file, or the fact that was looked at.
        state: `short` is a file that ends too early, `wrong` one that holds something else than it should.
        detail: what is there: counts, shapes, or what is wrong.
        remedy: where to get the file, or what to do; empty if nothing is to be done.
        needed: whether training and evaluation cannot do without it.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""
    needed: bool = True
