"""Training in several processes, started by `accelerate launch` or `torchrun`; a process on its own is a team of one.

Each runs the network on its share of a batch; the outputs, which are small, are brought together, and each computes
the loss of the whole batch. So no loss has to be a mean over clips for the gradient to be that of a single process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from avel_cli.errors import SetupError
from avel_cli.pipeline import choose_device

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]


def use(device: str) -> None:
    """Compute on this device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; to be said before anything else.

    Raises:
        SetupError: if it is not there.
    """
    accelerator.cache_clear()
    if device == "auto":
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
    else:
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(choose_device(device))


@cache
def accelerator() -> Accelerator:
    """This process among the others, and its device.

    Raises:
        SetupError: if the packages for training are not installed.
    """
    try:
        from accelerate import Accelerator
    except ImportError:
        raise SetupError('training wants more packages; install them with: pip install "avel[train]"') from None
    # without cpu=True it would not notice that there are others where there is no GPU
    chosen = os.environ.get("ACCELERATE_TORCH_DEVICE", "")
    return Accelerator(cpu=chosen == "cpu" or not torch.accelerator.is_available())


def shard(index: Tensor) -> Tensor:
    """The part of a batch, `[ceil(B / processes)]` of `[B]`, that is for this process.

    All parts have one length: the last ones begin again with the first clips, which `whole` leaves out.
    """
    here = accelerator()
    size = -(-len(index) // here.num_processes)
    places = torch.arange(here.process_index * size, (here.process_index + 1) * size) % len(index)
    return index[places.to(index.device)]


def gather(part: Tensor, size: int) -> Tensor:
    """The outputs `[size, ...]` for a whole batch from those for the shares, with gradients to all of them."""
    if accelerator().num_processes == 1:
        return part
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(part.contiguous()))[:size]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all gradients; `whole` has summed what each loss asks of each share."""
    here = accelerator()
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if here.num_processes == 1 or not gradients:
        return
    together = here.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, values in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))
