"""What a localizer is asked: its task turns the features of a file into events.

A network names its task (`task` of its class), so that nothing above has to know which network it has.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from avel_cli.tasks.base import Task

TASKS = {
    "clips": "avel_cli.tasks.clips:Clips",
    "dense": "avel_cli.tasks.dense:Dense",
    "labels": "avel_cli.tasks.labels:Labels",
    "matching": "avel_cli.tasks.matching:Matching",
}


def task_of(localizer: object) -> Task:
    """The task of a localizer."""
    module, _, name = TASKS[localizer.task].partition(":")  # type: ignore[attr-defined]
    return cast("Task", getattr(import_module(module), name)())
