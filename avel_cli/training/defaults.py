"""Which recipe trains what on what, where none is named. Importing this loads no torch."""

from __future__ import annotations

from avel_cli.datasets import DATASETS, FOLDER
from avel_cli.errors import UsageError
from avel_cli.recipes import shipped

DEFAULTS = {  # data set and model → recipe, where it is not called MODEL.DATASET
    ("sounds", "starter-sound"): "starter-sound",
    ("ave", "ccln-branch"): "ccln.ave-cross-modal",
    ("ave", "resnet50"): "resnet50.finetune",
    ("ave", "vgg19"): "vgg19.finetune",
    ("folder", "resnet50"): "resnet50.finetune",
    ("folder", "vgg19"): "vgg19.finetune",
    ("unav100", "loco"): "loco.unav100-onepeace",
    ("unav100", "unav"): "unav.unav100-i3d",
}


def defaults() -> dict[tuple[str, str], str]:
    """The recipe of each data set and model that go together."""
    named = (name.partition(".") for name in shipped())
    regular = {(dataset, model): f"{model}.{dataset}" for model, _, dataset in named if dataset in DATASETS}
    return {**regular, **DEFAULTS}


def datasets() -> list[str]:
    """Names of the data sets that there are recipes for, but for one's own videos."""
    return sorted({name for name, _ in defaults()} - {FOLDER})


def models(dataset: str | None = None) -> list[str]:
    """What can be trained, on one data set or on any."""
    return sorted({model for name, model in defaults() if dataset in (None, name)})


def default(dataset: str, model: str) -> str:
    """The recipe of a model on a data set.

    Raises:
        UsageError: if there is none.
    """
    if found := defaults().get((dataset, model)):
        return found
    raise UsageError(f"there is no recipe for {model} on {dataset}; --model can be {', '.join(models(dataset))}")
