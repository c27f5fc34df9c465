"""The network at sizes other than the published ones, and what it promises its callers."""

import pytest
import torch

from avel_cli.localizers.cace_net.loss import cace_net_loss
from avel_cli.localizers.cace_net.network import CACENet, CACENetConfig, CACENetOutput

GUIDES = ["co-guide", "audio-guide", "visual-guide", "none"]


def small(**changes: object) -> CACENetConfig:
    return CACENetConfig(**({"audio_dim": 24, "visual_dim": 20, "num_classes": 5, "d_model": 16} | changes))


def clips(config: CACENetConfig, batch: int = 3, length: int = 6, size: tuple[int, int] = (2, 3)) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.rand(batch, length, config.audio_dim), torch.rand(batch, length, *size, config.visual_dim)]


@pytest.mark.parametrize("guide", GUIDES)
def test_every_parameter_gets_a_gradient_in_training(guide) -> None:
    config = small(guide=guide)
    model = CACENet(config)
    labels = torch.tensor([[5, 1, 1, 5, 5, 1], [0] * 6, [5, 5, 5, 5, 2, 2]])
    cace_net_loss(model(*clips(config)), labels).total.backward()
    gradients = {name: torch.zeros(1) if p.grad is None else p.grad for name, p in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("length, size", [(1, (1, 1)), (3, (7, 7)), (13, (2, 5))])
def test_clips_of_any_length_and_frame_size_fit(guide, length, size) -> None:
    config = small(guide=guide)
    output = CACENet(config).eval()(*clips(config, 2, length, size))
    assert output.event_logits.shape == output.gate.shape == (2, length)
    assert output.category_logits.shape == output.av_score.shape == (2, 5)
    assert all(tensor.isfinite().all() for tensor in output if tensor is not None)
    assert output.gate.min() > 0 and output.gate.max() < 1


@pytest.mark.parametrize("dims", [(128, 512, 256), (2048, 2048, 64), (128, 192, 128), (7, 11, 4)])
def test_features_of_any_width_fit_and_d_model_sets_the_width_inside(dims) -> None:
    audio_dim, visual_dim, d_model = dims
    config = small(audio_dim=audio_dim, visual_dim=visual_dim, d_model=d_model)
    model = CACENet(config).eval()
    assert model(*clips(config, 1, 2)).event_logits.shape == (1, 2)
    assert model.audio.rnn.input_size == d_model // 2
    assert model.visual.rnn.input_size == d_model * 2


@pytest.mark.parametrize("guide", GUIDES)
@torch.no_grad()
def test_a_clip_does_not_feel_the_others_in_its_batch(guide) -> None:
    config = small(guide=guide)
    model = CACENet(config).eval()
    audio, visual = clips(config, batch=4)
    together, alone = model(audio, visual), model(audio[2:3], visual[2:3])
    for name in ("event_logits", "category_logits", "gate", "av_score"):
        torch.testing.assert_close(getattr(together, name)[2:3], getattr(alone, name), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_evaluation_is_deterministic_and_leaves_the_second_view_out() -> None:
    config = small()
    model = CACENet(config).eval()
    inputs = clips(config)
    state = torch.get_rng_state()
    first, second = model(*inputs), model(*inputs)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.event_logits, second.event_logits)
    assert first.q is None and first.k is None


def contrastive_features(output: CACENetOutput) -> tuple[torch.Tensor, torch.Tensor]:
    assert output.q is not None and output.k is not None
    return output.q, output.k


def test_training_draws_the_noise_and_gives_unit_features() -> None:
    config = small()
    q, k = contrastive_features(CACENet(config)(*clips(config)))
    ones = torch.ones(3, 6)
    torch.testing.assert_close(q.norm(dim=-1), ones)
    torch.testing.assert_close(k.norm(dim=-1), ones)
    assert not torch.equal(q, k)


@torch.no_grad()
def test_without_noise_both_views_are_the_same() -> None:
    config = small()
    q, k = contrastive_features(CACENet(config).eval()(*clips(config), noise=torch.zeros(3, 6, 16)))
    assert torch.equal(q, k)


@torch.no_grad()
def test_enhancement_moves_the_event_logits_only() -> None:
    config = small()
    model, inputs = CACENet(config).eval(), clips(config)
    on, off = model(*inputs), model(*inputs, enhance=False)
    assert not torch.allclose(on.event_logits, off.event_logits)
    assert torch.equal(on.category_logits, off.category_logits)


@torch.no_grad()
def test_without_a_contrastive_encoder_nothing_is_enhanced() -> None:
    config = small(contrastive=False)
    model, inputs = CACENet(config), clips(config)
    assert model.contrast is None
    assert model(*inputs).q is None  # in training too
    model.eval()
    assert torch.equal(model(*inputs).event_logits, model(*inputs, enhance=False).event_logits)


def test_layers_of_an_encoder_start_alike_and_are_not_shared() -> None:
    first, second = CACENet(small()).audio.encoder.layers
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other) and one is not other


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"guide": "Co-Guide"}, "guide is 'Co-Guide'; it must be one of co-guide, audio-guide, visual-guide, none"),
        ({"d_model": 30}, "d_model is 30; it must be a positive multiple of 4"),
        ({"d_model": 0}, "d_model is 0"),
        ({"psi": 0}, "say guide = 'audio-guide' instead"),
        ({"psi": 0, "guide": "visual-guide"}, "say guide = 'none' instead"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_the_category_takes_the_enhanced_features_where_that_is_asked_for() -> None:
    """Table 2, the row with an asterisk."""
    torch.manual_seed(0)
    plain = CACENet(CACENetConfig(d_model=16, visual_dim=8)).eval()
    both = CACENet(CACENetConfig(d_model=16, visual_dim=8, enhance_category=True)).eval()
    both.load_state_dict(plain.state_dict())
    audio, visual = torch.randn(2, 10, 128), torch.randn(2, 10, 3, 3, 8)
    with torch.no_grad():
        off, on = ([network(audio, visual, enhance=enhance) for network in (plain, both)] for enhance in (False, True))
    torch.testing.assert_close(off[0].category_logits, off[1].category_logits)
    torch.testing.assert_close(on[0].event_logits, on[1].event_logits)
    assert (on[0].category_logits - on[1].category_logits).abs().max() > 1e-3
