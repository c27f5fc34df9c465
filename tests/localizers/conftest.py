"""The published network as numbers: its weights regenerated from their seeds, and what it computed from them."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.localizers.cace_net.network import CACENet, CACENetConfig
from avel_cli.localizers.cace_net.published import from_official
from tests.localizers.cace_net_reference import OFFICIAL_GUIDES, PARITY, draw, seeded_weight


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are too small for several threads to help, and idle threads slow a busy machine down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def reference() -> Mapping[str, np.ndarray]:
    return dict(np.load(PARITY / "cace_net.npz"))


@pytest.fixture(scope="session")
def parameters() -> list[dict[str, Any]]:
    """One entry for each parameter of the published network: `i`, `name`, `shape`, `used`, `in`."""
    return json.loads((PARITY / "cace-net.state_dict.json").read_text())["params"]


@pytest.fixture(scope="session")
def official(parameters: list[dict[str, Any]]) -> Callable[[str], dict[str, Tensor]]:
    """The checkpoint of a guidance variant as the authors' code would save it."""
    weights = {entry["name"]: seeded_weight(entry).double() for entry in parameters}

    def checkpoint(guide: str) -> dict[str, Tensor]:
        held = [entry["name"] for entry in parameters if OFFICIAL_GUIDES[guide] in entry["in"]]
        return {f"module.{name}": weights[name] for name in held}

    return checkpoint


@pytest.fixture(scope="session")
def clips() -> dict[str, Tensor]:
    """Two clips in float32; in the second every segment is an event. `noise` is standard normal, `[B, T, D]`."""
    labels = torch.full((2, 10), 28)
    labels[0, 2:7] = 5
    labels[1] = 17
    noise = draw(3, 10, 2, 256).transpose(0, 1)
    return {"visual": draw(1, 2, 10, 7, 7, 512).relu(), "audio": draw(2, 2, 10, 128), "noise": noise, "labels": labels}


@pytest.fixture(scope="session")
def network(official: Callable[[str], dict[str, Tensor]]) -> Callable[..., CACENet]:
    """Builds the published network of a guidance variant, in evaluation mode."""

    def build(guide: str, dtype: torch.dtype = torch.float32) -> CACENet:
        config = CACENetConfig(guide=guide)  # type: ignore[arg-type]
        model = CACENet(config)
        model.load_state_dict(from_official(official(guide), config))
        return model.to(dtype).eval()

    return build
