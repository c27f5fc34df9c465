"""LoCo: what its specification promises of windows, padding and the correspondence, and its size and speed."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from avel_cli import recipes
from avel_cli.localizers.dense.blocks import DenseOutput
from avel_cli.localizers.loco.network import LocalBlock, LoCo, LoCoConfig, interpolation, sample, sliding_attention
from tests.localizers.dense_cases import LENGTHS, SIZES, alone, awake, built, largest_difference, untaught, videos

CONFIG = LoCoConfig(**SIZES, heads=2, max_seq_len=96)
PERCEPTIONS = ("cdp", "fixed", "global", "none")


def network(**changes: str | int) -> LoCo:
    return built(lambda: LoCo(dataclasses.replace(CONFIG, **changes)))


def local_block(window: int = 8, stride: int = 1) -> LocalBlock:
    return built(lambda: LocalBlock(16, 2, 32, stride=stride, drop_path=0.0, window=window, adaptive=True))


def noise(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def equal(ours: DenseOutput, theirs: DenseOutput) -> bool:
    pairs = zip(ours.logits + ours.offsets, theirs.logits + theirs.offsets, strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("length", [64, 61])
def test_windows_that_learned_nothing_yet_are_the_fixed_ones_exactly(length) -> None:
    adaptive = network()
    for name, parameter in adaptive.named_parameters():
        if ".adapt." in name:
            parameter.data.zero_()
    fixed = LoCo(dataclasses.replace(CONFIG, perception="fixed")).eval()
    fixed.load_state_dict({name: p for name, p in adaptive.state_dict().items() if ".adapt." not in name})
    inputs = {name: x[:, :length] for name, x in videos().items()}
    assert equal(adaptive(**inputs), fixed(**inputs))
    assert not equal(network()(**inputs), fixed(**inputs))


def test_a_new_network_has_unlearned_windows_at_whole_steps() -> None:
    block = next(m for m in LoCo(CONFIG).modules() if isinstance(m, LocalBlock))
    positions = block.positions(*block.windows(noise(2, 20, 16), torch.ones(2, 20, dtype=torch.bool)))
    assert torch.equal(positions, torch.arange(24.0)[None, :, None].expand(2, -1, 2))


@pytest.mark.parametrize("perception", PERCEPTIONS)
@pytest.mark.parametrize("padding", [0, 1, 30])
def test_neither_padding_nor_company_changes_a_video(perception, padding) -> None:
    model = network(perception=perception)
    with torch.no_grad():
        together = model(**videos(padding))
        differences = [largest_difference(together, model(**alone(i)), i) for i in range(len(LENGTHS))]
    assert max(differences) < 1e-5


def test_a_window_of_growth_1_is_twice_as_long_and_offset_1_moves_it_by_half_of_it() -> None:
    block = local_block()
    zero, one = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    rest, grown, moved = block.positions(zero, zero), block.positions(one, zero), block.positions(zero, one)
    extent = lambda positions: positions[0, 7, 0] - positions[0, 0, 0]  # noqa: E731
    assert (extent(rest), extent(grown)) == (7, 14)
    assert torch.equal(grown[0, :8].mean(dim=0), rest[0, :8].mean(dim=0))
    assert torch.equal(moved, rest + 4)


def test_keys_are_read_between_two_steps_and_nothing_is_read_beyond_the_ends_or_from_padding() -> None:
    x = torch.arange(1.0, 7.0).view(1, 6, 1, 1)
    mask = torch.arange(6)[None] < 5
    positions = torch.tensor([0.25, 3.0, 4.25, 4.75, -0.25, -0.75, 5.0, 99.0, -1e9]).view(1, -1, 1)
    lower, weights = interpolation(positions, mask)
    # the last real value is 5 at step 4; half of a neighbour that is not there is 0
    expected = torch.tensor([1.25, 4.0, 3.75, 1.25, 0.75, 0.25, 0, 0, 0])
    torch.testing.assert_close(sample(x, lower, weights).flatten(), expected)
    assert (weights.sum(dim=-1).flatten() >= 0.5).tolist() == [True, True, True, False, True, *[False] * 4]


def test_sampling_has_gradients_for_values_and_positions() -> None:
    x, positions = noise(2, 5, 3, 4).double().requires_grad_(), (4 * torch.rand(2, 7, 3).double()).requires_grad_()
    mask = torch.ones(2, 5, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x, r: sample(x, *interpolation(r, mask)), (x, positions))


@pytest.mark.parametrize("length, keys, radius", [(1, 8, 4), (7, 8, 4), (70, 72, 4), (64, 64, 1), (33, 48, 16)])
def test_sliding_attention_is_dense_attention_under_a_band(length, keys, radius) -> None:
    query, key, value = noise(2, length, 3, 4), noise(2, keys, 3, 4, seed=4), noise(2, keys, 3, 4, seed=5)
    valid = noise(2, keys, 3, seed=6) > 0.5
    near = (torch.arange(length)[:, None] - torch.arange(keys)).abs() <= radius
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / 2
    allowed = near & valid.transpose(1, 2).unsqueeze(2)
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1).nan_to_num(0)
    expected = torch.einsum("bhqk,bkhd->bqhd", weights, value)
    torch.testing.assert_close(sliding_attention(query, key, value, valid, radius), expected)


def test_what_one_head_looks_at_does_not_matter_to_the_others() -> None:
    block, features, mask = local_block(), noise(1, 40, 16), torch.ones(1, 40, dtype=torch.bool)
    with torch.no_grad():
        before = block.attend(features, features, features, mask)
        block.adapt.bias[[0, 2]] += 0.5  # growth and offset of head 0
        after = block.attend(features, features, features, mask)
    assert torch.equal(before[:, :, 1], after[:, :, 1])
    assert not torch.isclose(before[:, :, 0], after[:, :, 0]).all()


@pytest.mark.parametrize("length", [1, 2, 9])
def test_a_window_longer_than_the_video_and_a_single_step_are_no_special_cases(length) -> None:
    model = network(window=16)
    output = model(**{name: x[:, :length] for name, x in videos().items()})
    assert [mask.shape[1] for mask in output.masks] == [-(-length // stride) for stride in output.strides]
    assert all(x.isfinite().all() for x in output.logits + output.offsets)


@pytest.mark.parametrize("perception", PERCEPTIONS)
def test_gradients_reach_every_parameter(perception) -> None:
    model = network(perception=perception).train()
    output = model(**videos())
    found = output.correspondence
    assert found is not None
    weight = noise(*found.audio.shape)  # the length of a unit vector teaches nothing
    sum(x.sum() for x in output.logits + output.offsets).backward(retain_graph=True)
    ((found.audio + found.visual) * weight * found.tau * found.sigma).sum().backward()
    assert untaught(model) == []


def test_only_training_compares_the_modalities() -> None:
    model = network()
    assert model(**videos()).correspondence is None
    found = model.train()(**videos()).correspondence
    assert found is not None and found.audio.shape == (3, 64, 8) and found.visual.shape == (3, 64, 8)
    torch.testing.assert_close(found.audio.norm(dim=-1), torch.ones(3, 64))
    assert network(lcc="off").train()(**videos()).correspondence is None


def test_width_and_temperature_stay_in_range_and_can_come_back() -> None:
    model = network().train()
    for start, tau, sigma in ((-99.0, 0.001, 0.3), (99.0, 0.5, 96 / 8)):
        model.correspondence.log_tau.data.fill_(start)
        model.correspondence.log_sigma.data.fill_(start)
        found = model(**videos()).correspondence
        assert (found.tau.item(), found.sigma.item()) == pytest.approx((tau, sigma))
        (found.tau + found.sigma).backward()
        assert model.correspondence.log_tau.grad != 0 and model.correspondence.log_sigma.grad != 0
    assert "correspondence.log_sigma" not in network(lcc="fixed").state_dict()


def test_weights_trained_with_the_correspondence_load_without_it() -> None:
    trained, bare = network(), LoCo(dataclasses.replace(CONFIG, lcc="off")).eval()
    bare.load_state_dict(trained.state_dict())
    assert equal(bare(**videos()), trained(**videos()))
    with pytest.raises(RuntimeError, match=r"Missing key.*correspondence"):
        trained.load_state_dict(bare.state_dict())


def test_the_network_is_as_large_as_its_specification() -> None:
    changes = ({}, {"perception": "global"}, {"unimodal_layers": 1}, {"d_model": 256, "head_dim": 256})
    configs = [dataclasses.replace(LoCoConfig(), **change) for change in changes]
    configs.append(LoCoConfig(audio_dim=128, visual_dim=2048, max_seq_len=224))
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in LoCo(config).parameters()) / 1e6 for config in configs]
        named = dict(LoCo().named_parameters())
    assert [round(size, 2) for size in sizes] == [64.50, 64.45, 58.17, 17.50, 63.12]
    assert sum(p.numel() for name, p in named.items() if ".adapt." in name) == 49_248
    assert sum(p.numel() for name, p in named.items() if name.startswith("correspondence.")) == 262_658


def fastest(work: Callable[[], object], times: int) -> float:
    """Seconds of work of the fastest of some runs."""

    def seconds() -> Iterator[float]:
        for _ in range(times):
            start = time.process_time()
            work()
            yield time.process_time() - start

    return min(seconds())


def test_local_attention_to_4096_steps_takes_less_than_half_the_time_of_dense_attention() -> None:
    local, dense = (
        LoCo.block(LoCo(dataclasses.replace(CONFIG, d_model=128, perception=kind)), 1).eval()
        for kind in ("cdp", "global")
    )
    x, mask = noise(1, 4096, 128), torch.ones(1, 4096, dtype=torch.bool)
    with torch.inference_mode():
        seconds = [fastest(lambda block=block: block.attend(x, x, x, mask), 3) for block in (local, dense)]
    assert seconds[0] < seconds[1] / 2


def kept(length: int) -> int:
    """Bytes that attention inside learned windows keeps for its backward pass."""
    block, x = local_block(), noise(1, length, 16)
    parameters = {p.untyped_storage().data_ptr() for p in block.parameters()}
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        block.attend(x, x, x, torch.ones(1, length, dtype=torch.bool))
    return sum(sizes.values())


def test_memory_of_local_attention_grows_with_the_length_not_with_its_square() -> None:
    assert kept(2048) < 2.1 * kept(1024)


@pytest.mark.parametrize(
    "changes", [{"perception": "wide"}, {"lcc": "gaussian"}, {"lcc_form": "l2"}, {"window": 7}, {"window": 0}]
)
def test_impossible_choices_are_refused(changes) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(CONFIG, **changes)


def test_a_config_survives_a_weights_header() -> None:
    for config in (CONFIG, dataclasses.replace(CONFIG, perception="none", lcc="off")):
        assert recipes.build(LoCoConfig, recipes.to_dict(config)) == config


def test_later_names_of_the_paper_are_known() -> None:
    torch.manual_seed(0)
    lac = awake(LoCo(dataclasses.replace(CONFIG, perception="lac")))
    assert equal(lac(**videos()), network()(**videos()))
    lcf = LoCo(dataclasses.replace(CONFIG, lcc="lcf"))
    assert lcf.correspondence is not None and lcf.correspondence.targets == "learned"
    assert lcf.state_dict().keys() == network().state_dict().keys()
