"""The network under each of its switches, beside formulas written out here, and what it promises its callers."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from avel_cli.localizers.ccln.branch import CrossModalBranch, CrossModalConfig
from avel_cli.localizers.ccln.loss import CCLNWeights, ccln_loss, cross_modal_loss, weak_ccln_loss
from avel_cli.localizers.ccln.network import CCLN, BimodalInteraction, CCLNConfig, CCLNOutput, FusionGate
from avel_cli.metrics.segments import decode_segments

OFF = {"sbi_gate": "none", "fee": "off", "wccl": False, "branch": False}
SWITCHES = [
    {},
    {"sbi_gate": "none"},
    {"sbi_gate": "threshold"},
    {"fee": "off"},
    {"wccl": False},
    {"wccl": False, "branch": False},
    {"guide": "cmran"},
    OFF,
]
VARIANTS = list(product(SWITCHES, ["full", "weak"]))
LABELS = torch.tensor([[5, 1, 1, 5, 5, 1], [0] * 6, [5, 5, 5, 5, 2, 2], [5, 1, 5, 5, 5, 5]])
ON_BRANCH = ("audio_logits", "visual_logits", "audio_view", "visual_view", "fused_view")


def small(**changes: object) -> CCLNConfig:
    return CCLNConfig(**({"audio_dim": 24, "visual_dim": 20, "num_classes": 5, "d_model": 16} | changes))


def model(**changes: object) -> CCLN:
    torch.manual_seed(1)
    return CCLN(small(**changes))


def clips(config: CCLNConfig, batch: int = 4, length: int = 6, size: tuple[int, int] = (2, 3)) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.rand(batch, length, config.audio_dim), torch.rand(batch, length, *size, config.visual_dim)]


def loss_of(output: CCLNOutput, labels: Tensor, task: str) -> Tensor:
    return (ccln_loss(output, labels) if task == "full" else weak_ccln_loss(output, labels.amin(dim=1))).total


def untouched(network: torch.nn.Module) -> list[str]:
    """Names of the parameters that got no gradient, or none that is finite."""
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return [name for name, g in gradients.items() if g is None or not g.any() or not g.isfinite().all()]


@pytest.mark.parametrize("changes, task", VARIANTS)
def test_every_parameter_gets_a_gradient_in_training(changes, task) -> None:
    network = model(task=task, **changes)
    loss_of(network(*clips(network.config)), LABELS, task).backward()
    assert untouched(network) == []


@pytest.mark.parametrize("changes, task", VARIANTS)
@torch.no_grad()
def test_permuting_the_batch_permutes_the_output_and_leaves_the_loss(changes, task) -> None:
    network = model(task=task, **changes).eval()
    audio, visual = clips(network.config)
    order = torch.tensor([2, 0, 3, 1])
    output, permuted = network(audio, visual, branch=True), network(audio[order], visual[order], branch=True)
    for ours, theirs in zip(output, permuted, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours[order], theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss_of(output, LABELS, task), loss_of(permuted, LABELS[order], task))


def attend_by_hand(attention: BimodalInteraction, audio: Tensor, visual: Tensor, fused: Tensor) -> tuple[Tensor, ...]:
    """Both directions of the interaction for one clip `[T, D]` in evaluation, weights found element by element."""
    width, length = audio.shape[1], len(audio)
    part = width // 4
    query, key = attention.query(visual), attention.key(audio)
    shown = attention.gate.shown(fused) if attention.gate else None

    def weight(head: int, row: int, column: int) -> tuple[float, float]:
        """Correlation of a visual and an audio segment, and the gate of the two moments."""
        own = slice(head * part, (head + 1) * part)
        gate = 1.0
        if shown is not None:
            agreement = (shown[row, own] @ shown[column, own]) / math.sqrt(part) + attention.gate.bias[head, 0, 0]
            gate = 1 / (1 + math.exp(-agreement))
        return float(query[row, own] @ key[column, own]) / math.sqrt(part), gate

    def shares(pairs: list[tuple[float, float]]) -> list[float]:
        if attention.threshold is not None:
            positive = [max(score, 0.0) for score, _ in pairs]
            kept = [p if p / (sum(positive) + 1e-6) >= attention.threshold else 0.0 for p in positive]
            kept = [k / (sum(positive) + 1e-6) for k in kept]
        else:
            every = sum(math.exp(score) for score, _ in pairs)
            kept = [math.exp(score) / every * gate for score, gate in pairs]
            if attention.gate is None:
                return kept
        return [k / (sum(kept) + 1e-6) for k in kept]

    def receive(receiver: torch.nn.Module, x: Tensor, other: Tensor, transposed: bool) -> Tensor:
        value, taken = receiver.value(other), torch.zeros_like(x)
        for head, row in product(range(4), range(length)):
            own = slice(head * part, (head + 1) * part)
            pairs = [weight(head, *((c, row) if transposed else (row, c))) for c in range(length)]
            for column, share in enumerate(shares(pairs)):
                taken[row, own] += share * value[column, own]
        x = receiver.norm1(x + receiver.out(taken))
        return receiver.norm2(x + receiver.forward_net(x))

    return receive(attention.audio, audio, visual, True), receive(attention.visual, visual, audio, False)


@pytest.mark.parametrize("gate", ["none", "fused", "threshold"])
@torch.no_grad()
def test_the_interaction_is_co_attention_over_one_matrix_gated_as_its_switch_says(gate) -> None:
    torch.manual_seed(0)
    attention = BimodalInteraction(small(sbi_gate=gate)).double().eval()
    if attention.gate:
        attention.gate.bias.copy_(torch.tensor([-1.0, 0.0, 0.5, 2.0]).view(4, 1, 1))
    audio, visual, fused = torch.randn(3, 2, 5, 16, dtype=torch.double).unbind()
    ours = attention(audio, visual, fused)
    for clip in range(2):
        by_hand = attend_by_hand(attention, audio[clip], visual[clip], fused[clip])
        for part, expected in zip(ours, by_hand, strict=True):
            torch.testing.assert_close(part[clip], expected)


@torch.no_grad()
def test_a_gate_that_is_the_same_everywhere_is_no_gate() -> None:
    gated, plain = model().eval(), model(sbi_gate="none").eval()
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("interaction.gate")})
    inputs = clips(gated.config)
    assert not torch.allclose(gated(*inputs).event_logits, plain(*inputs).event_logits, atol=1e-5)
    gate = gated.interaction.gate
    assert gate is not None
    gate.shown.weight.zero_()
    gate.shown.bias.zero_()
    torch.testing.assert_close(gated(*inputs).event_logits, plain(*inputs).event_logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_gate_is_symmetric_and_judges_by_the_fusion() -> None:
    torch.manual_seed(0)
    gate = FusionGate(16)
    fused = torch.randn(2, 6, 16)
    values = gate(fused)
    assert values.shape == (2, 4, 6, 6) and values.min() > 0 and values.max() < 1
    torch.testing.assert_close(values, values.mT)
    fused[:, 1] = fused[:, 0]
    twin = gate(fused)
    torch.testing.assert_close(twin[:, :, 0], twin[:, :, 1])


def baseline_by_hand(weights: dict[str, Tensor], audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    """Event and category logits of the documented baseline, from the weights and functions of torch alone."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def lstm(x: Tensor, name: str) -> Tensor:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        flat = [weights[f"{name}.rnn.{n}{end}"] for end in ("", "_reverse") for n in names]
        start = x.new_zeros(2, len(x), flat[1].shape[1])
        return torch.lstm(x, [start, start], flat, True, 1, 0.0, False, True, True)[0]

    def attend(scores: Tensor, value: Tensor) -> Tensor:
        return (scores.softmax(-1) @ heads(value)).transpose(1, 2).flatten(2)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (4, -1)).transpose(1, 2)

    def receive(x: Tensor, other: Tensor, scores: Tensor, name: str) -> Tensor:
        x = norm(x + linear(attend(scores, linear(other, f"{name}.value")), f"{name}.out"), f"{name}.norm1")
        hidden = linear(x, f"{name}.forward_net.0").relu()
        return norm(x + linear(hidden, f"{name}.forward_net.3"), f"{name}.norm2")

    def encode(x: Tensor, name: str) -> Tensor:
        inner = f"{name}.layer.attention"
        qkv = F.linear(x, weights[f"{inner}.in_proj_weight"], weights[f"{inner}.in_proj_bias"]).chunk(3, dim=-1)
        scores = heads(qkv[0]) @ heads(qkv[1]).mT / math.sqrt(x.shape[-1] / 4)
        x = norm(x + linear(attend(scores, qkv[2]), f"{inner}.out_proj"), f"{name}.layer.norm1")
        hidden = linear(x, f"{name}.layer.linear1").relu()
        return norm(x + linear(hidden, f"{name}.layer.linear2"), f"{name}.layer.norm2")

    frames = visual.flatten(2, 3)
    hints = linear(frames, "guide.from_visual") + linear(audio, "guide.from_audio").unsqueeze(2)
    places = linear(hints.tanh(), "guide.score").softmax(2)
    seen = lstm(linear((places * frames).sum(2), "visual.0.0").relu(), "visual.1")
    heard = lstm(audio, "audio")
    fused = norm(linear(torch.cat((seen, heard), -1), "fusion.both") + seen * heard, "fusion.norm")
    scores = heads(linear(seen, "interaction.query")) @ heads(linear(heard, "interaction.key")).mT
    scores = scores / math.sqrt(seen.shape[-1] / 4)
    seen_1 = receive(seen, heard, scores, "interaction.visual")
    heard_1 = receive(heard, seen, scores.mT, "interaction.audio")
    parts = encode(seen_1, "integration.visual"), encode(heard_1, "integration.audio"), fused
    z = norm(linear(torch.cat(parts, -1), "integration.all"), "integration.norm")
    return linear(z, "event_head").squeeze(-1), linear(z.amax(1), "category_head")


@torch.no_grad()
def test_with_all_switches_off_it_is_the_documented_baseline() -> None:
    network = model(**OFF).double().eval()
    inputs = [x.double() for x in clips(network.config)]
    output = network(*inputs)
    event, category = baseline_by_hand(network.state_dict(), *inputs)
    torch.testing.assert_close(output.event_logits, event)
    torch.testing.assert_close(output.category_logits, category)
    assert output.enhanced is None and output[4:] == (None,) * 5


@torch.no_grad()
def test_enhancement_of_no_strength_is_no_enhancement() -> None:
    with_fee, without = model().eval(), model(fee="off").eval()
    without.load_state_dict({k: v for k, v in with_fee.state_dict().items() if k != "enhancement"})
    inputs = clips(with_fee.config)
    features = without(*inputs, branch=True)
    assert not torch.equal(with_fee(*inputs).event_logits, features.event_logits)
    assert with_fee.enhancement is not None
    assert with_fee.enhancement.item() == pytest.approx(0.1)
    with_fee.enhancement.zero_()
    assert torch.equal(with_fee(*inputs).event_logits, features.event_logits)


@pytest.mark.parametrize("guide", ["ave", "cmran"])
@torch.no_grad()
def test_each_half_of_the_branch_knows_its_own_modality_alone(guide) -> None:
    network = model(guide=guide).eval()
    audio, visual = clips(network.config)
    before = network(audio, visual, branch=True)
    other_sound = network(audio.flip(0), visual, branch=True)
    other_sight = network(audio, visual.flip(0), branch=True)
    for name in ("logits", "view"):
        assert torch.equal(getattr(before, f"visual_{name}"), getattr(other_sound, f"visual_{name}"))
        assert torch.equal(getattr(before, f"audio_{name}"), getattr(other_sight, f"audio_{name}"))
        assert not torch.allclose(getattr(before, f"visual_{name}"), getattr(other_sight, f"visual_{name}"), atol=1e-6)
    assert not torch.allclose(before.fused_view, other_sound.fused_view, atol=1e-6)


@torch.no_grad()
def test_the_branch_is_for_training_and_changes_nothing_else() -> None:
    network = model().eval()
    inputs = clips(network.config)
    without, with_branch = network(*inputs), network(*inputs, branch=True)
    assert all(getattr(without, name) is None for name in ON_BRANCH)
    assert torch.equal(without.event_logits, with_branch.event_logits)
    assert torch.equal(without.clip_logits, with_branch.clip_logits)
    assert all(getattr(network.train()(*inputs), name) is not None for name in ON_BRANCH)


@pytest.mark.parametrize("guide", ["ave", "cmran"])
@torch.no_grad()
def test_embeddings_of_segments_come_from_maps_and_from_their_means_alike(guide) -> None:
    network = model(guide=guide).eval()
    audio, visual = clips(network.config)
    heard, seen = network.embed_audio(audio), network.embed_visual(visual)
    assert heard.shape == seen.shape == (4, 6, 8)
    constant = visual[:, :, :1, :1].expand_as(visual)
    torch.testing.assert_close(network.embed_visual(constant), network.embed_visual(visual[:, :, 0, 0]))
    if guide == "ave":
        torch.testing.assert_close(seen, network.embed_visual(visual.mean(dim=(2, 3))))


@pytest.mark.parametrize("changes", [{"wccl": False}, {"wccl": False, "branch": False}])
def test_without_its_space_a_network_refuses_to_compare(changes) -> None:
    with pytest.raises(ValueError, match="no space in which sound and picture can be compared"):
        model(**changes).embed_audio(torch.rand(1, 2, 24))


@pytest.mark.parametrize("guide", ["ave", "cmran"])
@pytest.mark.parametrize("length, size", [(1, (1, 1)), (3, (7, 7)), (13, (2, 5))])
@torch.no_grad()
def test_clips_of_any_length_and_frame_size_fit(guide, length, size) -> None:
    network = model(guide=guide)
    output = network(*clips(network.config, 2, length, size))
    assert output.event_logits.shape == (2, length)
    assert output.category_logits.shape == (2, 5)
    assert all(tensor is not None and tensor.isfinite().all() for tensor in output)


@pytest.mark.parametrize("guide", ["ave", "cmran"])
@pytest.mark.parametrize("dims", [(128, 512, 256), (128, 128, 64), (2048, 2048, 64), (7, 11, 4)])
@torch.no_grad()
def test_features_of_any_width_fit(guide, dims) -> None:
    audio_dim, visual_dim, d_model = dims
    network = model(audio_dim=audio_dim, visual_dim=visual_dim, d_model=d_model, guide=guide).eval()
    assert network(*clips(network.config, 1, 2)).event_logits.shape == (1, 2)


@torch.no_grad()
def test_weak_supervision_decodes_a_clip_that_is_best_explained_by_nothing_as_background() -> None:
    network = model(task="weak").eval()
    output = network(*clips(network.config))
    assert output.clip_logits.shape == (4, 6) and output.category_logits.shape == (4, 5)
    logits = torch.tensor([[1.0, 0, 0, 0, 0, 2], [0, 3.0, 0, 0, 0, 2]])
    output = CCLNOutput(torch.ones(2, 3), logits[:, :5], logits, None)
    assert decode_segments(*output.decodable).tolist() == [[5, 5, 5], [1, 1, 1]]
    full = CCLNOutput(torch.ones(2, 3), logits[:, :5], logits[:, :5], None)
    assert decode_segments(*full.decodable).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_at_the_published_feature_sizes_it_has_the_parameters_of_the_sketch() -> None:
    assert sum(p.numel() for p in CCLN().parameters()) == 6_275_034
    assert sum(p.numel() for p in CCLN(CCLNConfig(**OFF)).parameters()) == 4_319_261


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sbi_gate": "hard"}, "sbi_gate is 'hard'; it must be one of fused, none, threshold"),
        ({"fee": "on"}, "fee is 'on'; it must be one of bg_event, off"),
        ({"guide": "co-guide"}, "guide is 'co-guide'; it must be one of ave, cmran"),
        ({"task": "cross-modal"}, "task is 'cross-modal'; it must be one of full, weak"),
        ({"branch": False}, "with branch = false say wccl = false"),
        ({"d_model": 30}, "d_model is 30; it must be a positive multiple of 4"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def matcher(context: str) -> CrossModalBranch:
    torch.manual_seed(1)
    return CrossModalBranch(CrossModalConfig(24, 20, 16, context))  # type: ignore[arg-type]


@pytest.mark.parametrize("context", ["none", "clip"])
def test_every_parameter_of_the_branch_alone_gets_a_gradient(context) -> None:
    network = matcher(context)
    output = network(*clips(small()))
    cross_modal_loss(output, LABELS, 5, None, CCLNWeights()).backward()
    assert untouched(network) == []


@torch.no_grad()
def test_without_context_a_segment_of_the_branch_does_not_feel_its_clip() -> None:
    audio, visual = clips(small())
    alone, aware = matcher("none").eval(), matcher("clip").eval()
    torch.testing.assert_close(alone.embed_audio(audio)[:, 2:4], alone.embed_audio(audio[:, 2:4]))
    torch.testing.assert_close(alone.embed_visual(visual)[:, 2:4], alone.embed_visual(visual[:, 2:4]))
    assert not torch.allclose(aware.embed_audio(audio)[:, 2:4], aware.embed_audio(audio[:, 2:4]), atol=1e-4)
    assert torch.equal(alone(audio, visual).audio, alone.embed_audio(audio))
    assert torch.equal(alone(audio, visual).visual, alone.embed_visual(visual.mean(dim=(2, 3))))


def test_a_context_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="context is 'some'; it must be one of none, clip"):
        matcher("some")
