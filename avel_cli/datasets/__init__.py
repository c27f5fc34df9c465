"""The data sets by name. Nothing here loads torch before one is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from avel_cli.errors import UsageError, nearest

if TYPE_CHECKING:
    from avel_cli.datasets.base import DataSet

DATASETS = {
    "ave": "avel_cli.datasets.ave_clips:DATASET",
    "ave-matching": "avel_cli.datasets.ave_matching:DATASET",
    "unav100": "avel_cli.datasets.unav100_videos:DATASET",
    "starter": "avel_cli.datasets.packs:DATASET",
    "folder": "avel_cli.datasets.own_videos:DATASET",
}
FOLDER = "folder"  # one's own videos: on the command line their folder stands in place of a name


def dataset(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        UsageError: if there is none.
    """
    if name not in DATASETS:
        raise UsageError(f"no data set is called {name!r}{nearest(name, DATASETS)}")
    module, _, attribute = DATASETS[name].partition(":")
    return cast("DataSet", getattr(import_module(module), attribute))
