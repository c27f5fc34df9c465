"""The network and its training step against what the published code computes from the same weights and inputs."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.localizers.cace_net.loss import CACENetLoss, cace_net_loss
from avel_cli.localizers.cace_net.network import NOISE_STD, CACENet, CACENetOutput
from avel_cli.localizers.cace_net.published import official_views
from tests.localizers.cace_net_reference import OFFICIAL_GUIDES, relative_error, seeded_weight

TOLERANCE = 1e-5
TOLERANCE_AFTER = {torch.float64: 1e-5, torch.float32: 2e-5}
TOLERANCE_GRADIENTS = {torch.float64: 1e-5, torch.float32: 5e-5}
SEQUENCE_FIRST = {
    "video_kv": "visual.encoder",
    "audio_kv": "audio.encoder",
    "video_query": "visual.decoder",
    "audio_query": "audio.decoder",
    "av_inter": "visual.interaction",
    "va_inter": "audio.interaction",
    "video_gate": "visual.gate",
    "audio_gate": "audio.gate",
}
INNER = [*SEQUENCE_FIRST.values(), "guidance", "audio.rnn", "visual.rnn", "category_head", "event_head"]
Values = dict[str, Tensor]


@dataclass
class Run:
    """All that one variant computes in one precision, under the names of the reference."""

    guide: str
    dtype: torch.dtype
    forward: Values
    loss: Values
    gradient_norms: dict[str, float]
    gradient_total: Tensor
    after_step: Values

    def errors(self, ours: Values, reference: dict[str, np.ndarray], section: str = "") -> dict[str, float]:
        prefix = f"{self.guide.replace('-', '_')}/{section}"
        return {name: relative_error(tensor, reference[prefix + name]) for name, tensor in ours.items()}


def inner_tensors(model: CACENet, audio: Tensor, visual: Tensor) -> Values:
    """What the parts of the network pass on to each other."""
    given: Values = {}
    made: Values = {}

    def keep(part: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given[part], made[part] = inputs[0], output

    hooks = [
        model.get_submodule(part).register_forward_hook(lambda _, inputs, output, part=part: keep(part, inputs, output))
        for part in INNER
    ]
    with torch.no_grad():
        model(audio, visual, enhance=False)
    for hook in hooks:
        hook.remove()
    tensors = {name: made[part].transpose(0, 1) for name, part in SEQUENCE_FIRST.items()}
    tensors |= {name: tensors[name].sigmoid() for name in ("audio_gate", "video_gate")}
    tensors["guided_audio"], tensors["guided_visual"] = made["guidance"]
    tensors["rnn_audio"], tensors["rnn_visual"] = made["audio.rnn"][0], made["visual.rnn"][0]
    tensors["fused"] = given["event_head"].transpose(0, 1)
    tensors["category_raw"] = made["category_head"]
    return tensors


def named(on: CACENetOutput, off: CACENetOutput) -> Values:
    return {
        "is_event_on": on.event_logits,
        "is_event_off": off.event_logits,
        "event_scores": on.category_logits,
        "av_gate": on.gate,
        "av_score": on.av_score,
        "q": on.q,
        "k": on.k,
    }


def named_losses(on: CACENetLoss, off: CACENetLoss) -> Values:
    shared = {f"loss_{name}": getattr(on, name) for name in ("category", "gate", "cas", "contrastive")}
    events = {"loss_event_on": on.event, "loss_event_off": off.event}
    return shared | events | {"loss_total_on": on.total, "loss_total_off": off.total}


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=str)
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture(scope="module", params=OFFICIAL_GUIDES)
def run(request, dtype, network, clips) -> Run:
    """Forward passes with the enhancement on and off, one training step, and the same passes again."""
    model: CACENet = network(request.param, dtype)
    audio, visual, noise = (clips[name].to(dtype) for name in ("audio", "visual", "noise"))

    def both() -> tuple[CACENetOutput, CACENetOutput, CACENetLoss, CACENetLoss]:
        on, off = (model(audio, visual, enhance=enhance, noise=noise) for enhance in (True, False))
        return on, off, cace_net_loss(on, clips["labels"]), cace_net_loss(off, clips["labels"], 0.0)

    on, off, loss_on, loss_off = both()
    forward = named(on, off) | inner_tensors(model, audio, visual)
    optimizer = torch.optim.Adam(model.parameters(), lr=7e-4)
    (loss_on if request.param == "co-guide" else loss_off).total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = {name: view.norm().item() for name, view in official_views(model, gradients).items()}
    total = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    with torch.no_grad():
        later_on, later_off, later_loss_on, later_loss_off = both()
    after = named(later_on, later_off) | named_losses(later_loss_on, later_loss_off)
    kept = ("is_event_on", "is_event_off", "event_scores", "loss_total_on", "loss_total_off")
    return Run(
        request.param,
        dtype,
        forward,
        named_losses(loss_on, loss_off),
        norms,
        total,
        {name: after[name] for name in kept},
    )


def test_the_generator_draws_what_the_reference_was_made_from(reference, parameters, clips) -> None:
    noise = NOISE_STD * clips["noise"].transpose(0, 1).double()
    for name, drawn in (("visual", clips["visual"]), ("audio", clips["audio"]), ("noise", noise)):
        np.testing.assert_array_equal(drawn.flatten()[:8], reference[f"check/{name}_head"])
        assert drawn.double().sum().item() == pytest.approx(float(reference[f"check/{name}_sum"]), rel=1e-12)
    weights = [seeded_weight(entry).double() for entry in parameters]
    np.testing.assert_allclose([w.sum().item() for w in weights], reference["check/weight_sums"], rtol=1e-9, atol=1e-12)
    assert sum(w.abs().sum().item() for w in weights) == pytest.approx(float(reference["check/weight_abs_sum"]))


def test_every_tensor_is_that_of_the_published_network(reference, run) -> None:
    prefix = f"{run.guide.replace('-', '_')}/"
    names = {key.removeprefix(prefix) for key in reference if key.startswith(prefix)}
    assert run.forward.keys() == {name for name in names if not name.startswith(("loss_", "grad_", "after_step/"))}
    errors = run.errors(run.forward, reference)
    assert max(errors.values()) < TOLERANCE, errors


def test_every_loss_is_that_of_the_published_training(reference, run) -> None:
    errors = run.errors(run.loss, reference)
    assert max(errors.values()) < TOLERANCE, errors


def test_every_gradient_is_that_of_the_published_training(reference, parameters, run) -> None:
    theirs = reference[f"{run.guide.replace('-', '_')}/grad_norms"]
    expected = dict(zip((entry["name"] for entry in parameters), theirs, strict=True))
    # the published audio-guide network gives some parameters a gradient of 0; here they do not exist
    assert {name for name, norm in expected.items() if norm > 0} == run.gradient_norms.keys()
    worst = max(abs(norm - expected[name]) for name, norm in run.gradient_norms.items())
    assert worst / np.nanmax(theirs) < TOLERANCE_GRADIENTS[run.dtype]
    errors = run.errors({"grad_total_norm": run.gradient_total}, reference)
    assert max(errors.values()) < TOLERANCE_GRADIENTS[run.dtype]


def test_a_training_step_leads_where_the_published_one_does(reference, run) -> None:
    errors = run.errors(run.after_step, reference, "after_step/")
    assert max(errors.values()) < TOLERANCE_AFTER[run.dtype], errors
