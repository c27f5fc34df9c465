"""UnAV: repaired defects, memory, and checkpoints that do not fit."""

import dataclasses

import pytest
import torch
from torch import Tensor

from avel_cli.errors import ModelError
from avel_cli.localizers.dense.blocks import ResidualScale, UnimodalEncoder
from avel_cli.localizers.unav.network import DependencyBlock, UnAV, UnAVConfig
from avel_cli.localizers.unav.published import from_official, official_views
from tests.localizers.dense_cases import LENGTHS, SIZES, alone, built, largest_difference, untaught, videos

CONFIG = UnAVConfig(**SIZES, heads=2, max_seq_len=96, dependency_dim=4, chunk_classes=2)


def network(**changes: bool) -> UnAV:
    return built(lambda: UnAV(dataclasses.replace(CONFIG, **changes)))


def difference_to_alone(model: UnAV, padding: int = 0) -> list[float]:
    """How much each video changes when it shares a batch with the others and `padding` stands behind all."""
    with torch.no_grad():
        together = model(**videos(padding))
        return [largest_difference(together, model(**alone(i)), i) for i in range(len(LENGTHS))]


@pytest.mark.parametrize("padding", [0, 1, 30])
def test_neither_padding_nor_company_changes_a_video(padding) -> None:
    assert max(difference_to_alone(network(), padding)) < 1e-5


def test_published_padding_leaks_into_the_end_of_a_video() -> None:
    assert min(difference_to_alone(network(official_padding=True), 30)) > 1e-3


def test_published_mask_order_lets_videos_of_one_batch_see_each_other() -> None:
    assert min(difference_to_alone(network(official_mask_order=True))) > 1e-3


def test_output_is_a_logit_and_two_distances_for_each_class_at_each_point_of_each_level() -> None:
    output = network()(**videos())
    assert output.strides == (1, 2, 4, 8)
    for logits, offsets, mask, stride in zip(*output[:4], strict=True):
        points = 64 // stride
        assert logits.shape == (3, points, 5) and offsets.shape == (3, points, 5, 2)
        assert torch.equal(mask, videos()["mask"][:, ::stride])
        assert offsets.min() == 0 and offsets.max() > 0
        assert not logits[~mask].any() and not offsets[~mask].any()
    assert output.correspondence is None


def dependency(**changes: int | bool) -> tuple[Tensor, list[Tensor], int]:
    """Output, gradients and bytes kept for the backward pass of the dependency block."""
    config = dataclasses.replace(CONFIG, dependency_dim=16, **changes)
    block = built(lambda: DependencyBlock(config))
    x = torch.randn(3, 64, 32, generator=torch.Generator().manual_seed(2)).requires_grad_()
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        y = block(x, videos()["mask"])
    y.square().sum().backward()
    return y.detach(), [p.grad for p in (x, *block.parameters())], sum(kept.values())


def test_the_dependency_block_is_the_same_in_chunks_and_keeps_less() -> None:
    whole, gradients, most = dependency(chunk_classes=0, checkpoint=False)
    largest = max(gradient.abs().max().item() for gradient in gradients)
    for changes in ({"chunk_classes": 2}, {"chunk_classes": 1, "checkpoint": False}, {"chunk_classes": 0}):
        chunked, again, kept = dependency(**changes)
        torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(again, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * largest)
        assert (kept < most / 4) == changes.get("checkpoint", True)


def test_gradients_reach_every_parameter() -> None:
    model = network()
    output = model(**videos())
    sum(x.sum() for x in output.logits + output.offsets).backward()
    assert untaught(model) == []


def test_a_video_without_a_single_step_is_no_accident_for_the_others() -> None:
    inputs = videos()
    inputs["mask"][2] = False
    output = network()(**inputs)
    assert all(x.isfinite().all() for x in output.logits + output.offsets)


def test_stochastic_depth_leaves_out_whole_samples_and_keeps_the_mean() -> None:
    scale = ResidualScale(4, drop=0.25).train()
    scaled = scale(torch.ones(4000, 2, 4)) / 1e-4
    assert ((scaled == 0).all(dim=(1, 2)) | (scaled > 1).all(dim=(1, 2))).all()
    assert scaled.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(scale.eval()(torch.ones(1, 2, 4)), torch.full((1, 2, 4), 1e-4))


def test_positions_beyond_the_table_stretch_it() -> None:
    encoder = UnimodalEncoder(3, dataclasses.replace(CONFIG, max_seq_len=8))
    assert torch.equal(encoder.positions(6), encoder.table[:6])
    stretched = encoder.positions(16)
    assert torch.equal(stretched[[0, -1]], encoder.table[[0, -1]])
    torch.testing.assert_close(stretched[1], 0.75 * encoder.table[0] + 0.25 * encoder.table[1])


def test_every_misfit_of_a_published_checkpoint_is_named_in_one_line() -> None:
    weights = official_views({name: torch.zeros(p.shape) for name, p in UnAV(CONFIG).state_dict().items()})
    checkpoint = {f"module.{name}": tensor for name, tensor in weights.items()}
    assert from_official(checkpoint, CONFIG).keys() == UnAV(CONFIG).state_dict().keys()
    del checkpoint["module.reg_head.scale.3.scale"]
    checkpoint["module.neck.bias"] = torch.zeros(1)
    checkpoint["module.backbone.cross_att_Av.2.mlp.3.weight"] = torch.zeros(16, 64)
    with pytest.raises(ModelError) as refusal:
        from_official(checkpoint, CONFIG)
    assert str(refusal.value) == (
        "these weights are not of this UnAV: missing: reg_head.scale.3.scale; unexpected: neck.bias; "
        "wrong shape: backbone.cross_att_Av.2.mlp.3.weight (16, 64) for (16, 64, 1)"
    )


@pytest.mark.parametrize("changes", [{"d_model": 15}, {"heads": 3}, {"levels": 0}])
def test_impossible_sizes_are_refused(changes) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(CONFIG, **changes)
