"""The inputs of a batch that fall to this process, one after the other, until none is left."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from avel_cli.batch.journal import Journal, MadeWith, Policy, identify
from avel_cli.errors import InputError

WAIT_SECONDS = 0.3  # between looks at what other processes are still at


class Outcome(NamedTuple):
    """How one input ended.

    Attributes:
        state: `done` or `failed` in this run; `skipped`, because it was done before; `failed before`.
        reason: why it failed.
        events: how many were found.
        duration: of the media, in seconds.
        seconds: of work.
    """

    state: Literal["done", "failed", "skipped", "failed before"]
    reason: str = ""
    events: int | None = None
    duration: float | None = None
    seconds: float | None = None


class Turn(NamedTuple):
    """One input, and what is to be done with it.

    Attributes:
        number: from 1.
        path: of the input.
        files: the results to write.
        problem: why it cannot be done.
    """

    number: int
    path: Path
    files: Sequence[Path]
    problem: InputError | None = None


@dataclass
class Batch:
    """What is to be done, and what became of it.

    Attributes:
        plan: the result files to write for each input.
        journal: of the folder of results, if there is one.
        settings: digest of all settings.
        model: name of the weights.
        policy: what is done again.
        outcomes: of the inputs so far.
    """

    plan: Mapping[Path, Sequence[Path]]
    journal: Journal | None = None
    settings: str = ""
    model: str = ""
    policy: Policy = field(default_factory=Policy)
    outcomes: dict[Path, Outcome] = field(default_factory=dict)

    def turns(self) -> Iterator[Turn]:
        """Each input that this process is to do, which then says how it ended with `end`.

        Inputs that another process is at come last; should it die, they are done here.
        """
        left = [Turn(number, *item) for number, item in enumerate(self.plan.items(), 1)]
        while left:
            taken = []
            for turn in left:
                try:
                    if self._is_taken(turn):
                        taken.append(turn)
                    elif turn.path not in self.outcomes:
                        yield turn
                except InputError as error:
                    yield turn._replace(problem=error)
            if len(taken) == len(left):
                time.sleep(WAIT_SECONDS)
            left = taken

    def end(self, path: Path, outcome: Outcome) -> None:
        """Note how an input ended."""
        self.outcomes[path] = outcome
        if self.journal and outcome.seconds is not None:
            state: Literal["done", "failed"] = "done" if outcome.state == "done" else "failed"
            self.journal.finish(path, state, outcome.seconds, outcome.reason)

    @property
    def counts(self) -> Counter[str]:
        """How many inputs ended how."""
        return Counter(outcome.state for outcome in self.outcomes.values())

    def _is_taken(self, turn: Turn) -> bool:
        """Whether another process is at it; what was ended before has an outcome afterwards.

        Raises:
            InputError: if somebody has changed its results.
        """
        if self.journal is None:
            return False
        made = MadeWith(identify(turn.path), self.settings, self.model)
        answer = self.journal.claim(turn.path, turn.files, made, self.policy)
        if answer.verdict == "done":
            self.outcomes[turn.path] = Outcome("skipped")
        elif answer.verdict == "failed":
            self.outcomes[turn.path] = Outcome("failed before", answer.reason)
        return answer.verdict == "taken"


def in_shard(path: Path, index: int, count: int) -> bool:
    """Whether shard `index` of `count`, from 1 on, has this input; its absolute path alone decides."""
    number = int.from_bytes(hashlib.sha256(os.fsencode(os.path.abspath(path))).digest()[:8], "big")
    return number % count == index - 1
