"""The localizers by name. Nothing here loads torch before a localizer is asked for."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, cast

from avel_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

LOCALIZERS = {
    "cace-net": "avel_cli.localizers.cace_net:CACENet",
    "ccln": "avel_cli.localizers.ccln:CCLN",
    "unav": "avel_cli.localizers.unav:UnAV",
    "loco": "avel_cli.localizers.loco:LoCo",
}


def localizer_class(name: str) -> type[nn.Module]:
    """The class of the localizer `name`, built from an instance of its `Config`.

    Raises:
        UsageError: if there is no localizer of that name.
    """
    if name not in LOCALIZERS:
        near = get_close_matches(name, LOCALIZERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(LOCALIZERS)}"
        raise UsageError(f"no localizer is called {name!r}; {hint}")
    module, _, attribute = LOCALIZERS[name].partition(":")
    return cast("type[nn.Module]", getattr(import_module(module), attribute))
