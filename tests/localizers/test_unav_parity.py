"""The network against what the published code computes from the same weights and inputs."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.localizers.dense.blocks import DenseOutput
from avel_cli.localizers.dense.loss import LossNormaliser, assign_labels, dense_loss
from avel_cli.localizers.unav.network import UnAV, UnAVConfig
from avel_cli.localizers.unav.published import from_official, official_views
from tests.localizers.unav_reference import LENGTH, PARITY, published_inputs, published_weights

OFFICIAL = UnAVConfig(max_seq_len=LENGTH, official_padding=True, official_mask_order=True)
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def reference() -> Mapping[str, np.ndarray]:
    return dict(np.load(PARITY / "unav_model.npz"))


@pytest.fixture(scope="module")
def weights(reference) -> dict[str, Tensor]:
    given = published_weights()
    sums = [given[name].double().sum().item() for name in sorted(given)]
    np.testing.assert_allclose(sums, reference["weight_checksums_sum_abssum"][:, 0], rtol=1e-9, atol=1e-9)
    return from_official({f"module.{name}": tensor for name, tensor in given.items()}, OFFICIAL)


@pytest.fixture(scope="module")
def network(weights) -> Iterator[UnAV]:
    """The published network in evaluation mode."""
    with torch.device("meta"):
        model = UnAV(OFFICIAL)
    for encoder in (model.audio, model.visual):
        encoder.table = UnAV(dataclasses.replace(OFFICIAL, levels=1, dependency_dim=0)).audio.table
    model.load_state_dict(weights, assign=True)
    yield model.requires_grad_().eval()


def joined(output: DenseOutput) -> dict[str, np.ndarray]:
    """All points of all levels behind each other, as in the reference."""
    parts = {"cls_logits": output.logits, "offsets": output.offsets, "mask": output.masks}
    return {name: torch.cat(levels, dim=1).detach().numpy() for name, levels in parts.items()}


def inner(network: UnAV, inputs: Mapping[str, Tensor]) -> tuple[DenseOutput, dict[str, Tensor]]:
    """The output, and the first 8 channels of the features on the way to it, `[B, 8, points]`."""
    joint, dependent = [], []
    hooks = [
        network.pyramid.register_forward_hook(lambda *call: joint.extend(call[-1][0])),
        network.dependency.register_forward_hook(lambda *call: dependent.append(call[-1])),
    ]
    with torch.no_grad():
        output = network(**inputs)
    for hook in hooks:
        hook.remove()
    features, dependent_features = torch.cat(joint, dim=1).mT, torch.cat(dependent, dim=1).mT
    width = network.config.d_model
    named = {"V": features, "A": features[:, width:]}
    named = {f"backbone_{name}_ch0to8": x[:, :8] for name, x in named.items()}
    return output, named | {"dep_ch0to8": dependent_features[:, :8]}


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest magnitude."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours.astype(float) - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("count", [1, 2])
def test_every_tensor_is_that_of_the_published_network(reference, network, count) -> None:
    inputs = {name: tensor[:count] for name, tensor in published_inputs(reference).items()}
    output, features = inner(network, inputs)
    ours = joined(output) | {name: tensor.numpy() for name, tensor in features.items()}
    np.testing.assert_array_equal(ours.pop("mask"), reference[f"b{count}_mask"])
    errors = {name: error(array, reference[f"b{count}_{name}"]) for name, array in ours.items()}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("count", [1, 2])
def test_every_loss_and_gradient_is_that_of_the_published_training(reference, network, count) -> None:
    output = network(**{name: tensor[:count] for name, tensor in published_inputs(reference).items()})
    segments, labels = (
        [torch.from_numpy(reference[f"gt{i}_{name}"]) for i in range(count)] for name in ("segments_grid", "labels")
    )
    targets = assign_labels(segments, labels, [mask.shape[1] for mask in output.masks], 100)
    terms = dense_loss(output, targets, LossNormaliser())
    for ours, theirs in (("cls", "cls_loss"), ("reg", "reg_loss"), ("total", "final_loss")):
        assert terms[ours].item() == pytest.approx(float(reference[f"b{count}_loss_{theirs}"]), rel=2e-6)
    network.zero_grad()
    terms["total"].backward()
    norms = {
        name: gradient.norm().item()
        for name, gradient in official_views({name: p.grad for name, p in network.named_parameters()}).items()
    }
    expected = dict(zip(reference["grad_norm_names"], reference[f"b{count}_grad_norms"], strict=True))
    assert {name: norms[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert total == pytest.approx(float(reference[f"b{count}_grad_norm_total"]), rel=1e-4)


def test_with_the_right_mask_order_the_first_video_does_not_see_the_second(reference, network, monkeypatch) -> None:
    monkeypatch.setattr(network.dependency, "config", dataclasses.replace(OFFICIAL, official_mask_order=False))
    with torch.no_grad():
        ours = joined(network(**published_inputs(reference)))
    for name in ("cls_logits", "offsets"):
        assert error(ours[name][:1], reference[f"b1_{name}"]) < TOLERANCE
        assert error(ours[name], reference[f"b2_{name}"]) > 1e-3


def test_the_network_has_as_many_parameters_as_the_published_one(network) -> None:
    assert sum(p.numel() for p in network.parameters()) == 139_544_114
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in UnAV(config).parameters())
            for config in (
                UnAVConfig(1536, 1536),
                UnAVConfig(1536, 1536, dependency_dim=0),
                UnAVConfig(dependency_dim=0),
            )
        ]
    assert [round(size / 1e6, 2) for size in sizes] == [140.92, 62.07, 60.70]
