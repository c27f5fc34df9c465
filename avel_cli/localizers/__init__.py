"""The localizers by name. Nothing here loads torch before a localizer is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from avel_cli.errors import ModelError, UsageError, nearest
from avel_cli.hub import weights_file

if TYPE_CHECKING:
    from avel_cli.localizers.base import Localizer

LOCALIZERS = {
    "cace-net": "avel_cli.localizers.cace_net.network:CACENet",
    "cace-net-weak": "avel_cli.localizers.cace_net.weak:WeakCACENet",
    "ccln": "avel_cli.localizers.ccln.network:CCLN",
    "unav": "avel_cli.localizers.unav.network:UnAV",
    "loco": "avel_cli.localizers.loco.network:LoCo",
    "tagged-loco": "avel_cli.localizers.tagged.loco:TaggedLoCo",
    "tagged": "avel_cli.localizers.tagged.network:Tagged",
    "ccln-branch": "avel_cli.localizers.ccln.branch:CrossModalBranch",
}


def localizer_class(name: str) -> type[Localizer]:
    """The class of the localizer `name`, built from an instance of its `Config`.

    Raises:
        UsageError: if there is no localizer of that name.
    """
    if name not in LOCALIZERS:
        raise UsageError(f"no localizer is called {name!r}{nearest(name, LOCALIZERS)}")
    module, _, attribute = LOCALIZERS[name].partition(":")
    return cast("type[Localizer]", getattr(import_module(module), attribute))


def load(path: Path) -> Localizer:
    """The localizer in a weights file, in evaluation mode.

    Raises:
        ModelError: if the file is missing or damaged, holds no localizer, or its tensors or labels do not fit the
            sizes that it gives.
    """
    header = weights_file.read_header(path)
    if header["kind"] != "localizer":
        raise ModelError(f"{path}: holds the {header['kind']} {header['network']}, not a localizer")
    try:
        kind = localizer_class(header["network"])
    except UsageError as error:
        raise ModelError(f"{path}: {error}") from None
    config: Any = weights_file.config(kind.Config, path)
    classes = getattr(config, "num_classes", 0)  # none for matching
    if len(header["labels"]) != classes:
        raise ModelError(f"{path}: names {len(header['labels'])} labels, but its network has {classes}")
    weights_file.require_sizes(kind, config, path)
    module = kind(config)
    weights_file.load_into(module, path)
    return module.eval().requires_grad_(False)
