"""avel: find events that are both seen and heard in local video files.

    timeline = avel_cli.detect("clip.mp4")
    for event in timeline.events:
        print(event.start, event.end, event.label, event.score)

Names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avel_cli.errors import AvelError, InputError, MediaError, ModelError, SetupError, UsageError
    from avel_cli.experiments import evaluate, train
    from avel_cli.features import extract
    from avel_cli.pipeline import Detector, Options, detect
    from avel_cli.timeline.events import Event, Timeline

__version__ = "0.1.0"

__all__ = [
    "AvelError",
    "Detector",
    "Event",
    "InputError",
    "MediaError",
    "ModelError",
    "Options",
    "SetupError",
    "Timeline",
    "UsageError",
    "detect",
    "evaluate",
    "extract",
    "train",
]

_HOMES = {
    "avel_cli.errors": ("AvelError", "InputError", "MediaError", "ModelError", "SetupError", "UsageError"),
    "avel_cli.pipeline": ("Detector", "Options", "detect"),
    "avel_cli.timeline.events": ("Event", "Timeline"),
    "avel_cli.experiments": ("evaluate", "train"),
    "avel_cli.features": ("extract",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *__all__]
