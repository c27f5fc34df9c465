"""Both towers of ONE-PEACE against the published code, at a small size; the published size by its parameter counts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.encoders import one_peace_picture, one_peace_sound
from avel_cli.encoders.one_peace_picture import OnePeacePicture, OnePeacePictureConfig
from avel_cli.encoders.one_peace_sound import OnePeaceSound, OnePeaceSoundConfig
from tests.encoders.published import (
    NETWORK_TOLERANCE,
    fixture,
    published_shapes,
    relative_deviation,
    rule_weights,
    signal,
)

SOUND = OnePeaceSoundConfig(width=48, heads=4, hidden=96, layers=2, channels=32, position_groups=4)
PICTURE = OnePeacePictureConfig(width=48, heads=4, hidden=96, layers=2, frames=4, size=64)


def sound_weights() -> dict[str, Tensor]:
    return rule_weights(published_shapes("onepeace_audio_tiny"))


def picture_weights() -> dict[str, Tensor]:
    return rule_weights(published_shapes("onepeace_video_tiny"))


@pytest.fixture(scope="module")
def sound() -> OnePeaceSound:
    encoder = OnePeaceSound(SOUND).eval().requires_grad_(False)
    encoder.load_state_dict(OnePeaceSound.from_published(sound_weights()))
    return encoder


@pytest.fixture(scope="module")
def picture() -> OnePeacePicture:
    encoder = OnePeacePicture(PICTURE).eval().requires_grad_(False)
    encoder.load_state_dict(OnePeacePicture.from_published(picture_weights()))
    return encoder


@pytest.fixture(scope="module")
def seconds(sound) -> Tensor:
    """Overlapping windows of samples `[9, 16000]`."""
    return torch.from_numpy(signal(16000, 3, 1234)).float().unfold(0, sound.window, sound.stride)


@pytest.fixture(scope="module")
def clips() -> Tensor:
    """Random frames uint8 `[2, 4, 3, 64, 64]`."""
    return torch.randint(0, 256, (2, 4, 3, 64, 64), generator=torch.Generator().manual_seed(44)).to(torch.uint8)


def test_sound_features_are_the_published_ones(sound, seconds):
    features = sound.encode(seconds)
    ours = {"onepeace_audio_tiny_cls": sound.cls(seconds), "onepeace_audio_tiny_feature": features}
    errors = {key: relative_deviation(value, fixture()[key]) for key, value in ours.items()}
    assert max(errors.values()) <= NETWORK_TOLERANCE, errors
    assert torch.allclose(features.norm(dim=1), torch.ones(9))


def test_picture_features_are_the_published_ones(picture, clips):
    ours = {
        "onepeace_video_tiny_cls": picture.cls(clips).mT,
        "onepeace_video_tiny_feature": picture.encode(clips),
    }
    errors = {key: relative_deviation(value, fixture()[key]) for key, value in ours.items()}
    assert max(errors.values()) <= NETWORK_TOLERANCE, errors


def test_position_biases_are_looked_up_where_the_published_code_does():
    rows = one_peace_sound.bias_rows(1023).numpy()
    far = [1, 2, 100, 255, 256, 257, 258, 300, 500, 700, 1000, 1023]
    np.testing.assert_array_equal(rows[:64:7, :64:7], fixture()["onepeace_audio_bucket_sel"])
    np.testing.assert_array_equal(rows[1, far], fixture()["onepeace_audio_bucket_far"])
    np.testing.assert_array_equal(rows[1:, 1:] - 511, 511 - rows[1:, 1:].T)  # the other direction mirrors it
    np.testing.assert_array_equal(one_peace_picture.bias_rows(4).numpy(), fixture()["onepeace_video_bucket"])


@pytest.mark.parametrize("name", ["sound", "picture"])
def test_the_features_of_a_window_do_not_depend_on_its_neighbours(name, request):
    encoder, windows = (request.getfixturevalue(n) for n in (name, "seconds" if name == "sound" else "clips"))
    alone = torch.cat([encoder.encode(window) for window in windows.split(1)])
    assert relative_deviation(encoder.encode(windows), alone) <= NETWORK_TOLERANCE


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.005)])
@pytest.mark.parametrize("name", ["sound", "picture"])
def test_autocast_moves_features_little(name, precision, tolerance, request):
    encoder, windows = (request.getfixturevalue(n) for n in (name, "seconds" if name == "sound" else "clips"))
    with torch.autocast("cpu", precision):
        features = encoder.encode(windows)
    assert features.dtype == torch.float32
    assert 0 < relative_deviation(features, encoder.encode(windows)) < tolerance


def test_the_level_of_sound_does_not_matter_and_silence_is_finite(sound, seconds):
    assert relative_deviation(sound.encode(seconds * 0.1), sound.encode(seconds)) < 0.01
    assert sound.encode(torch.zeros(1, 16000)).isfinite().all()


def test_the_order_of_the_frames_matters(picture, clips):
    assert relative_deviation(picture.encode(clips.flip(1)), picture.encode(clips)) > 0.001


def test_a_network_built_without_memory_is_complete_once_its_weights_are_assigned(sound, picture, seconds, clips):
    for encoder, windows in ((sound, seconds), (picture, clips)):
        with torch.device("meta"):
            again = type(encoder)(encoder.config).eval().requires_grad_(False)
        again.load_state_dict(encoder.state_dict(), assign=True)
        assert torch.equal(again.encode(windows), encoder.encode(windows))


def test_the_published_sizes_have_the_published_weights():
    with torch.device("meta"):
        networks = OnePeaceSound(OnePeaceSoundConfig()), OnePeacePicture(OnePeacePictureConfig())
    sound, picture = (4 * sum(parameter.numel() for parameter in network.parameters()) for network in networks)
    assert sound == pytest.approx(4 * 1.53e9, rel=0.005)
    # the published file also holds the classifier and an integer table
    others = 4 * 400 * (1536 + 1) + 8 * 257**2
    assert picture + others == pytest.approx(6629055726, rel=1e-4)


def test_the_published_sizes_are_the_defaults():
    with torch.device("meta"):
        sound, picture = OnePeaceSound(OnePeaceSoundConfig()), OnePeacePicture(OnePeacePictureConfig())
        assert sound.encode(torch.empty(2, 16000)).shape == (2, 1536)
        assert picture.encode(torch.empty(2, 16, 3, 256, 256)).shape == (2, 1536)
    assert len(sound.layers) == len(picture.layers) == 40
    assert sound.shape == picture.shape == (1536,)
    assert sound.bias_table.weight.shape == (1026, 24)
    assert picture.bias_table.weight.shape == (964, 24)
    assert picture.pos_embed.shape == (257, 1536)
    assert picture.temporal_embedding.shape == (1, 16, 1536)
    assert picture.layers[39].space_adapter[0].weight.shape == (384, 1536)


def test_sound_is_taken_out_of_the_whole_model():
    state = sound_weights()
    others = {
        "encoder_wrapper.text_adapter.embed_tokens.weight": torch.zeros(2),
        "encoder_wrapper.fusion_model.layers.0.image_ffn.0.wi_0.weight": torch.zeros(2),
        "encoder_wrapper.fusion_model.text_layer_norm.weight": torch.zeros(2),
        "image_proj.weight": torch.zeros(2),
        "encoder_wrapper.audio_adapter.rp_bucket": torch.zeros(2),
        "logit_scale": torch.zeros(1),
    }
    named = OnePeaceSound.from_published({"cfg": {}, "model": state | others})
    assert named.keys() == OnePeaceSound.from_published(state).keys() == OnePeaceSound(SOUND).state_dict().keys()


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
def test_the_picture_tower_is_taken_out_of_the_classifier(wrapper):
    state = {f"backbone.{name}": tensor for name, tensor in picture_weights().items()}
    whole = state | {
        "cls_head.fc_cls.weight": torch.zeros(2),
        "backbone.image_adapter.rp_bucket": torch.zeros(2),
    }
    named = OnePeacePicture.from_published({wrapper: whole} if wrapper else whole)
    assert named.keys() == OnePeacePicture(PICTURE).state_dict().keys()
    assert named["layers.1.feed_adapter.2.bias"] is state["backbone.encoder.layers.1.MLP_Adapter.D_fc2.bias"]


@pytest.mark.parametrize(("height", "width", "across"), [(90, 161, 458), (256, 300, 300)])
def test_the_middle_of_a_frame_is_kept_in_bytes(height, width, across):
    """The long side is rounded, 457.96 to 458, and sampled as OpenCV does."""
    with torch.device("meta"):
        encoder = OnePeacePicture(OnePeacePictureConfig(layers=0))
    ramp = torch.linspace(0, 255, width).round().to(torch.uint8).expand(1, height, width)
    prepared = encoder.prepare(ramp[..., None].expand(-1, -1, -1, 3))
    assert prepared.shape == (1, 3, 256, 256)
    assert prepared.dtype == torch.uint8
    places = ((torch.arange(256) + (across - 256) // 2 + 0.5) / across * width - 0.5) / (width - 1) * 255
    assert (prepared[0, 0, 0] - places).abs().max() <= 1
    assert torch.equal(prepared, encoder.prepare(ramp.mT[..., None].expand(-1, -1, -1, 3)).mT)
