"""I3D and its preprocessing against the published extractor, and both namings of the published files."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.optical_flow import raft_large

from avel_cli.encoders.frames import centre_crop
from avel_cli.encoders.i3d import I3DRGB, I3DFlow, I3DFlowConfig, I3DRGBConfig, InceptionI3D
from tests.encoders.published import (
    NETWORK_TOLERANCE,
    deviation,
    fixture,
    published_shapes,
    relative_deviation,
    rule_weights,
)

RGB_SHAPES = published_shapes("i3d")
FLOW_SHAPES = RGB_SHAPES | published_shapes("i3d", "flow_overrides")
GREY_LEVEL = 1


def noise_frames(seed: int, height: int, width: int) -> Tensor:
    """One frame uint8 `[1, H, W, 3]`."""
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8))[None]


def published_rgb() -> dict[str, Tensor]:
    return rule_weights(RGB_SHAPES)


def loaded(encoder, state):
    """`encoder` with `state`, of which only counters may be missing."""
    missing, unexpected = encoder.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def rgb() -> I3DRGB:
    return loaded(I3DRGB(I3DRGBConfig()), I3DRGB.from_published(published_rgb()))


@pytest.fixture(scope="module")
def raft_state() -> dict[str, Tensor]:
    """Weights under torchvision's names."""
    state = raft_large().state_dict()
    return state | rule_weights({name: tensor.shape for name, tensor in state.items()})


@pytest.fixture(scope="module")
def flow(raft_state) -> I3DFlow:
    state = I3DFlow.from_published(rule_weights(FLOW_SHAPES), raft_state)
    return loaded(I3DFlow(I3DFlowConfig(flow_updates=1)), state)


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """Random frames uint8 `[1, 24, 3, 224, 224]`."""
    frames = torch.randint(0, 256, (24, 3, 224, 224), generator=torch.Generator().manual_seed(42))
    return frames.to(torch.uint8)[None]


def test_the_names_and_shapes_are_the_published_ones():
    for channels, shapes in ((3, RGB_SHAPES), (2, FLOW_SHAPES)):
        with torch.device("meta"):
            state = InceptionI3D(channels).state_dict()
        assert {name: list(tensor.shape) for name, tensor in state.items()} == shapes


def test_rgb_features_and_logits_are_the_published_ones(rgb, clip):
    stem: list[Tensor] = []
    hook = rgb.network.conv3d_1a_7x7.register_forward_hook(lambda _module, _inputs, output: stem.append(output))
    features = rgb.encode(clip)
    hook.remove()
    ours = {
        "i3d_rgb_features": features,
        "i3d_rgb_logits": rgb.network.logits(features),
        "i3d_rgb_stem_sel": stem[0][0, ::16, ::4, ::16, ::16],
        "i3d_rgb_features_T16": rgb.encode(clip[:, :16]),
    }
    errors = {key: relative_deviation(value, fixture()[key]) for key, value in ours.items()}
    assert max(errors.values()) <= NETWORK_TOLERANCE, errors


def test_flow_features_and_logits_are_the_published_ones(flow):
    pixels = torch.randn((24, 2, 224, 224), generator=torch.Generator().manual_seed(43)) * 8
    levels = flow.quantised(pixels)
    seen = (2 * levels.float() / 255 - 1).transpose(0, 1)
    features = flow.encode(levels[None])
    ours = {
        "i3d_flow_input_sel": seen[:, ::8, ::56, ::56],
        "i3d_flow_features": features,
        "i3d_flow_logits": flow.network.logits(features),
    }
    errors = {key: relative_deviation(value, fixture()[key]) for key, value in ours.items()}
    assert max(errors.values()) <= NETWORK_TOLERANCE, errors


def test_flow_is_clamped_and_its_top_level_is_256():
    flow = torch.tensor([-99.0, -20.0, 0.0, 20.0, 99.0])
    assert I3DFlow.quantised(flow).tolist() == [0, 0, 128, 256, 256]  # 0.5 and 255.5 go to the even level


@pytest.mark.parametrize(("key", "frame"), [("resize", (77, 90, 160)), ("resize_down", (78, 360, 640))])
def test_frames_are_resized_as_pillow_does(key, frame):
    pixels = I3DRGB.short_side(noise_frames(*frame))[0]
    assert list(pixels.shape) == fixture()[f"i3d_{key}_shape"].tolist()
    selection = "i3d_resize_crop_sel" if key == "resize" else f"i3d_{key}_sel"
    assert deviation(centre_crop(pixels, 224)[:, ::7, ::7].int(), fixture()[selection].astype(int)) <= GREY_LEVEL


def test_rgb_keeps_bytes_and_drops_the_frame_that_only_flow_needs(rgb):
    frames = noise_frames(1, 40, 30).expand(4, -1, -1, -1)
    assert rgb.short_side(frames).shape == (4, 3, 341, 256)  # 341.33 rounded down
    prepared = rgb.prepare(frames)
    assert prepared.shape == (3, 3, 224, 224)
    assert prepared.dtype == torch.uint8
    assert torch.equal(prepared, rgb.short_side(frames)[:3, :, 58:282, 16:240])


def test_each_pair_of_frames_is_seen_once_whatever_the_batches(flow, monkeypatch):
    frames = torch.stack([noise_frames(seed, 64, 64)[0] for seed in range(4)])
    seen: list[tuple[Tensor, Tensor]] = []

    def raft(first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        seen.extend(zip(first, second, strict=True))
        return [first[:, :2] * 0, first[:, :2] * 20]

    monkeypatch.setattr(flow.raft, "forward", raft)
    monkeypatch.setattr("avel_cli.encoders.i3d.PAIRS", 2)
    prepared = flow.prepare(frames)
    expected = 2 * flow.short_side(frames).float() / 255 - 1
    assert len(seen) == 3
    for index, (first, second) in enumerate(seen):
        assert torch.equal(first, expected[index])
        assert torch.equal(second, expected[index + 1])
    assert torch.equal(prepared, flow.quantised(centre_crop(expected[:-1, :2] * 20, 224)))  # the last refinement


def test_frames_are_padded_to_eights_on_both_sides_and_the_crop_is_of_the_padded(flow, monkeypatch):
    frames = noise_frames(2, 64, 85).expand(2, -1, -1, -1)  # 256 x 340
    shown = 2 * flow.short_side(frames).float() / 255 - 1
    monkeypatch.setattr(flow.raft, "forward", lambda first, second, num_flow_updates: [first[:, :2] * 20])
    given = torch.cat([shown[:1, :2, :, :1].expand(-1, -1, -1, 2), shown[:1, :2]], -1)
    prepared = flow.prepare(frames)
    assert prepared.shape == (1, 2, 224, 224)
    assert torch.equal(prepared, flow.quantised(given[..., 16:240, 60:284] * 20))


def test_flow_of_a_pair_does_not_depend_on_the_others_nor_on_autocast(flow):
    frames = torch.stack([noise_frames(seed, 64, 64)[0] for seed in range(3)])
    both = flow.prepare(frames)
    assert both.shape == (2, 2, 224, 224)
    assert len(both.unique()) > 2
    with torch.autocast("cpu", torch.bfloat16):
        second = flow.prepare(frames[1:])
    assert (second - both[1:]).abs().max() <= GREY_LEVEL


def test_the_features_of_a_window_do_not_depend_on_its_neighbours(rgb, clip):
    short = clip[:, :16]
    pair = torch.cat([short, short.flip(1)])
    assert relative_deviation(rgb.encode(pair)[:1], rgb.encode(short)) <= NETWORK_TOLERANCE


def test_autocast_moves_features_little(rgb, clip):
    short = clip[:, :16]
    with torch.autocast("cpu", torch.bfloat16):
        features = rgb.encode(short)
    assert features.dtype == torch.float32
    assert relative_deviation(features, fixture()["i3d_rgb_features_T16"]) < 0.02


def test_eps_is_a_setting():
    with torch.device("meta"):
        networks = I3DRGB(I3DRGBConfig(eps=1e-3)), I3DFlow(I3DFlowConfig(eps=1e-3))
    norms = [m for n in networks for m in n.network.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert len(norms) == 2 * 57 and all(norm.eps == 1e-3 for norm in norms)


def piergiaj_name(name: str) -> str:
    """The other port's name of a tensor."""
    name = name.replace("conv3d_0c_1x1", "logits").replace("batch3d", "bn")
    name = re.sub(r"^(conv3d|mixed)_", lambda found: found[0].capitalize(), name)
    name = name.replace("branch_0", "b0").replace("branch_3.1", "b3b")
    return re.sub(r"branch_(\d)\.(\d)", lambda found: f"b{found[1]}{'ab'[int(found[2])]}", name)


def test_the_names_of_piergiaj_are_those_of_hassony2_one_to_one():
    theirs = {piergiaj_name(name): tensor for name, tensor in published_rgb().items()}
    assert {"Conv3d_1a_7x7.bn.weight", "Mixed_4f.b2b.conv3d.weight", "logits.conv3d.bias"} <= theirs.keys()
    assert len(theirs.keys() - published_rgb().keys()) == len(published_rgb())
    ours, expected = I3DRGB.from_published(theirs), I3DRGB.from_published(published_rgb())
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def princeton_name(name: str) -> str:
    """The original name of a tensor of torchvision's RAFT."""
    for theirs, original in (
        ("feature_encoder", "fnet"),
        ("context_encoder", "cnet"),
        ("motion_encoder.convcorr", "encoder.convc"),
        ("motion_encoder.convflow", "encoder.convf"),
        ("motion_encoder.conv.0", "encoder.conv"),
        ("mask_predictor.convrelu.0", "update_block.mask.0"),
        ("mask_predictor.conv", "update_block.mask.2"),
    ):
        name = name.replace(theirs, original)
    name = re.sub(r"(encoder\.conv[cf]\d)\.0", r"\1", name)
    name = re.sub(r"recurrent_block\.convgru(\d)\.conv(\w)", r"gru.conv\2\1", name)
    name = re.sub(r"^([fc]net)\.conv\.", r"\1.conv2.", name)
    name = re.sub(r"^([fc]net)\.convnormrelu\.(\d)", lambda m: f"{m[1]}.{('conv1', 'norm1')[int(m[2])]}", name)
    name = re.sub(r"convnormrelu(\d)\.(\d)", lambda m: f"{('conv', 'norm')[int(m[2])]}{m[1]}", name)
    return f"module.{name}"


def test_the_names_of_princeton_become_torchvisions_and_the_flow_stays_bit_equal(raft_state):
    theirs = {princeton_name(name): tensor for name, tensor in raft_state.items()}
    alias = {re.sub(r"downsample\.1", "norm3", n): t for n, t in theirs.items() if "cnet" in n and "downsample.1" in n}
    assert len(alias) == 2 * 5  # both strided blocks
    assert {
        "module.cnet.norm1.running_mean",
        "module.fnet.layer2.0.downsample.0.weight",
        "module.cnet.layer3.1.norm2.bias",
        "module.update_block.encoder.convf2.weight",
        "module.update_block.encoder.conv.bias",
        "module.update_block.gru.convq2.weight",
        "module.update_block.flow_head.conv1.weight",
        "module.update_block.mask.2.bias",
    } <= theirs.keys()
    renamed = I3DFlow.from_published({}, theirs | alias)
    assert renamed == I3DFlow.from_published({}, raft_state)  # the very same tensors
    networks = [raft_large().eval().requires_grad_(False) for _ in range(2)]
    networks[0].load_state_dict(raft_state)
    networks[1].load_state_dict({name.removeprefix("raft."): tensor for name, tensor in renamed.items()})
    pair = torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, second = (network(*pair, num_flow_updates=2)[-1] for network in networks)
    assert torch.equal(first, second) and first.std() > 0.1
