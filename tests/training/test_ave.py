"""Training on AVE: the published step, the published schedule, both supervisions, and resuming."""

from __future__ import annotations

import itertools
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from avel_cli import localizers, recipes
from avel_cli.datasets.ave_clips import of_clips
from avel_cli.errors import UsageError
from avel_cli.hub import weights_file
from avel_cli.localizers.base import ClipBatch
from avel_cli.localizers.cace_net.loss import bag_loss, cace_net_loss
from avel_cli.localizers.cace_net.published import official_views
from avel_cli.localizers.cace_net.weak import WeakCACENet, WeakCACENetConfig
from avel_cli.tasks.base import Data
from avel_cli.tasks.clips import Clips, predict
from avel_cli.training.batches import shuffled
from avel_cli.training.loop import fit
from avel_cli.training.recipe import Recipe
from avel_cli.training.record import read
from avel_cli.training.train import Learner, save, train
from tests.localizers.cace_net_reference import relative_error
from tests.localizers.conftest import clips, network, official, one_thread, parameters, reference  # noqa: F401
from tests.training.made_clips import SMALL, MadeClips


def recipe(name: str = "cace-net.ave", *changes: str) -> Recipe:
    return recipes.load(Recipe, name, (*SMALL, *changes))


def data(made: MadeClips) -> Data:
    return of_clips({"train": made}, made.names, ("vggish", "vgg19"))


def score_of(made: MadeClips):
    return lambda found: Clips().figures(found, data(made), "train").score


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return model


def test_one_step_of_the_headline_recipe_is_the_published_one(network, clips, reference, parameters, tmp_path):  # noqa: F811
    model = without_dropout(network("co-guide"))
    headline = recipes.load(Recipe, "cace-net.ave", ["schedule.precision=fp64", "schedule.epochs=1"])
    batch = ClipBatch(
        clips["audio"], clips["visual"], clips["noise"], clips["labels"], torch.tensor([5, 17]), torch.arange(2)
    )
    learner = Learner(model, headline.loss_weights())

    def loss_at(step: int) -> dict[str, torch.Tensor]:
        model.advance(headline.loss_weights(), 1, 1)
        return learner.terms(batch)

    fit(learner, loss_at, headline.schedule.in_steps(1), tmp_path, name="m", recipe={}, every=1)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = {name: view.norm().item() for name, view in official_views(model, gradients).items()}
    clipped = 0.5 / float(reference["co_guide/grad_total_norm"])
    expected = dict(
        zip((entry["name"] for entry in parameters), reference["co_guide/grad_norms"] * clipped, strict=True)
    )
    worst = max(abs(norm - expected[name]) for name, norm in norms.items())
    assert worst / np.nanmax(list(expected.values())) < 1e-5
    row = read(tmp_path / "m.csv")[0]
    for ours, theirs in {"loss": "total_on", "event": "event_on", "gate": "gate", "contrastive": "contrastive"}.items():
        assert float(row[ours]) == pytest.approx(float(reference[f"co_guide/loss_{theirs}"]), abs=1e-5)
    with torch.no_grad():
        after = cace_net_loss(
            model(clips["audio"].double(), clips["visual"].double(), noise=clips["noise"].double()), clips["labels"]
        )
    assert relative_error(after.total, reference["co_guide/after_step/loss_total_on"]) < 1e-5


def test_the_headline_schedule_is_the_published_one():
    headline = recipes.load(Recipe, "cace-net.ave")
    schedule = headline.schedule.in_steps(53)
    assert (schedule.steps, schedule.batch, schedule.optimizer, schedule.weight_decay) == (10600, 64, "adam", 0.0)
    rates = [schedule.rate(53 * epoch) for epoch in (0, 9, 10, 20, 30, 199)]
    assert rates == [7e-4, 7e-4, 3.5e-4, 1.75e-4, 8.75e-5, 8.75e-5]
    assert schedule.rate(53 * 10 - 1) == 7e-4
    assert (schedule.clip, schedule.ema, headline.seed, headline.select) == (0.5, 0.0, 3917, "val")
    assert round(headline.loss_weights().contrastive_from * schedule.steps) == 25 * 53
    config = headline.config({})
    assert (config.guide, config.psi, config.event_lambda, config.contrastive) == ("co-guide", 0.3, 0.6, True)


def test_there_is_a_recipe_for_every_published_run():
    loaded = {path.stem: recipes.load(Recipe, path.stem) for path in recipes.FOLDER.glob("*net.ave*.toml")}
    assert all(name == found.name for name, found in loaded.items())
    configs = {name: found.config({}) for name, found in loaded.items()}
    bare = {name.removeprefix("cace-net.ave-"): c for name, c in configs.items() if not getattr(c, "contrastive", True)}
    assert {config.guide for config in bare.values()} >= {"none", "audio-guide", "visual-guide", "co-guide"}
    lambdas = {c.event_lambda for name, c in configs.items() if hasattr(c, "event_lambda")}
    assert lambdas == {0.2, 0.4, 0.6, 0.8}
    assert {c.psi for c in configs.values()} == {0.15, 0.3, 0.45}
    assert configs["cace-net.ave-psi-0"] == configs["cace-net.ave-audio-guide"]
    assert not any(configs[f"cace-net.ave-psi-{psi}"].contrastive for psi in ("0", "0.15", "0.45"))
    bece = configs["cace-net.ave-bece"]
    assert (bece.guide, bece.contrastive, bece.event_lambda) == ("audio-guide", True, 0.6)
    assert [name for name, c in configs.items() if getattr(c, "enhance_category", False)] == ["cace-net.ave-category"]
    assert {found.loss_weights().contrastive for found in loaded.values() if found.network == "cace-net"} == {
        1,
        2,
        3,
        4,
        5,
    }
    assert loaded["cace-net.ave-efficient-tuned"].encoders == ("cnn14", "resnet50")
    weak = loaded["cace-net.ave-weak"]
    assert (weak.network, weak.seed, weak.schedule.lr, weak.schedule.halve_at) == (
        "cace-net-weak",
        666,
        6e-4,
        (10, 20, 40),
    )


def test_a_recipe_with_wrong_switches_is_refused_before_data_is_read():
    with pytest.raises(UsageError, match=r'"model\.psy"; did you mean "psi"'):
        recipe("cace-net.ave", "model.psy=0.1")
    with pytest.raises(UsageError, match="either steps or epochs"):
        recipe("cace-net.ave", "schedule.steps=10")
    with pytest.raises(UsageError, match="two"):
        recipe("cace-net.ave", "encoders=['vggish']")


def test_every_epoch_goes_through_all_clips_in_another_order():
    epochs = [[shuffled(11, recipe(), step, 3) for step in range(3 * e, 3 * e + 3)] for e in range(3)]
    assert all([len(rows) for rows in epoch] == [4, 4, 3] for epoch in epochs)
    orders = [torch.cat(epoch).tolist() for epoch in epochs]
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    assert shuffled(11, replace(recipe(), seed=1), 0, 3).tolist() != epochs[0][0].tolist()


def test_contrast_and_the_enhanced_head_begin_after_an_eighth(tmp_path):
    made, late = MadeClips(8), recipe("cace-net.ave", "schedule.epochs=16")
    train(late, data(made), tmp_path)
    rows = read(tmp_path / f"{late.name}-seed{late.seed}.csv")
    assert [float(row["contrastive"]) > 0 for row in rows] == [False] * 4 + [True] * 28
    assert all(float(row["loss"]) > 0 for row in rows)


@pytest.mark.parametrize("name", ["cace-net.ave", "ccln.ave", "ccln.ave-weak", "cace-net.ave-weak"])
def test_a_killed_run_continues_to_the_same_weights_bit_for_bit(name, tmp_path, monkeypatch):
    made, plan = MadeClips(11), recipe(name)
    score = score_of(made)
    whole = train(plan, data(made), tmp_path / "whole", score=score)
    terms, steps = Learner.terms, iter(range(100))

    def dies(learner, batch):
        if next(steps) == 7:  # in the third epoch, before its last, smaller batch
            raise KeyboardInterrupt
        return terms(learner, batch)

    monkeypatch.setattr(Learner, "terms", dies)
    with pytest.raises(KeyboardInterrupt):
        train(plan, data(made), tmp_path / "killed", score=score)
    monkeypatch.setattr(Learner, "terms", terms)
    resumed = train(plan, data(made), tmp_path / "killed", score=score, resume=True)
    assert resumed[1:] == whole[1:]
    ours, theirs = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    tables = [read(tmp_path / run / f"{plan.name}-seed{plan.seed}.csv") for run in ("whole", "killed")]
    assert all(a | {"seconds": ""} == b | {"seconds": ""} for a, b in zip(*tables, strict=True))
    assert [row["step"] for row in tables[1]] == [str(step) for step in range(1, 13)]
    assert [bool(row["score_val"]) for row in tables[1]] == [False, False, True] * 4


@pytest.mark.parametrize(
    "name", ["cace-net.ave", "cace-net.ave-none", "cace-net.ave-weak", "ccln.ave", "ccln.ave-weak"]
)
def test_training_learns_and_its_weights_answer_the_same_from_disk(name, tmp_path):
    plan = recipe(name, "schedule.epochs=20", "schedule.lr=1e-2", "schedule.batch=16", "schedule.halve_at=[]")
    learn, test = MadeClips(64), MadeClips(32, seed=1)
    trained = train(plan, data(learn), tmp_path, score=score_of(learn))
    said, _ = predict(trained.network, test)
    truth = test.labels.argmax(-1)
    background = float((truth == 3).double().mean())
    if trained.network.supervision == "full":
        assert float((said == truth).double().mean()) > background + 0.2
    else:  # categories of clips are learnt, where in the clip an event is need not be
        assert float((said.amin(1) == truth.amin(1)).double().mean()) > 0.5
    path = tmp_path / "w.safetensors"
    save(trained.network, plan, data(learn), path, {"accuracy": 1.0})
    assert torch.equal(predict(localizers.load(path), test)[0], said)
    header = weights_file.read_header(path)
    assert (header["network"], header["labels"], header["encoders"]) == (
        plan.network,
        list(learn.names),
        ["vggish", "vgg19"],
    )
    assert (header["threshold"], header["min_score"], header["selection"]) == (0.5, 0.0, "epoch chosen on val")
    assert recipes.build(Recipe, header["recipe"]) == plan


def test_weights_say_so_when_their_epoch_was_chosen_on_test():
    assert "TEST, as in the literature" in recipe("cace-net.ave", "select=test").selection


def test_an_epoch_from_before_the_contrast_is_kept_without_it(tmp_path):
    made, scores = MadeClips(8), iter([0.9] + [0.1] * 15)
    plan = recipe("cace-net.ave", "schedule.epochs=16")
    trained = train(plan, data(made), tmp_path, score=lambda _: next(scores))
    assert (trained.epoch, trained.score) == (1.0, 0.9)
    assert trained.network.contrast is None and not trained.network.config.contrastive
    on, off = (trained.network(made.audio, made.visual, enhance=flag).event_logits for flag in (True, False))
    assert torch.equal(on, off)


def test_lower_and_higher_precision_agree_with_float32(tmp_path):
    made, losses = MadeClips(8), {}
    for precision in ("fp32", "fp64", "bf16"):
        plan = recipe("cace-net.ave", "schedule.epochs=1", "loss.contrastive_from=0", f"schedule.precision={precision}")
        model = train(plan, data(made), tmp_path / precision).network
        assert next(model.parameters()).dtype == (torch.float64 if precision == "fp64" else torch.float32)
        rows = read(tmp_path / precision / f"{plan.name}-seed{plan.seed}.csv")
        losses[precision] = float(rows[0]["loss"])
    assert losses["fp64"] == pytest.approx(losses["fp32"], rel=0.3)  # dropout draws differently in float64
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


def test_tensorboard_has_the_same_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    plan, made = recipe("cace-net.ave", "schedule.epochs=2"), MadeClips(8)
    train(plan, data(made), tmp_path, score=score_of(made))
    name = f"{plan.name}-seed{plan.seed}"
    curves = EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload()
    assert {"total", "event", "lr", "score_val"} <= set(curves.Tags()["scalars"])
    rows = read(tmp_path / f"{name}.csv")
    assert [point.value for point in curves.Scalars("total")] == pytest.approx(
        [float(r["loss"]) for r in rows], abs=1e-4
    )
    assert [point.step for point in curves.Scalars("score_val")] == [2, 4]


def test_the_weak_network_has_the_sizes_of_what_it_was_made_from():
    with torch.device("meta"):
        model = WeakCACENet()
    audio, visual = model.audio, model.visual
    assert audio.encoder.layers[0].linear1.out_features == 2048
    assert visual.decoder.layer.linear1.out_features == 1024
    assert audio.interaction.attention.num_heads == 2
    assert model.classify.weight.shape == (29, 256) and model.classify.bias is None
    assert (audio.encoder.project.in_features, visual.encoder.project.in_features) == (128, 512)
    config = WeakCACENetConfig()
    assert (config.alpha, config.beta, config.gamma) == (0.2, 0.5, 0.5)
    assert (config.guide_dropout, config.fusion_dropout, config.dropout) == (0.2, 0.2, 0.1)
    assert model.visual_adapter[-1].p == 0.1
    with pytest.raises(ValueError, match="guide is 'x'"):
        WeakCACENetConfig(guide="x")  # type: ignore[arg-type]


def test_the_weak_network_says_what_its_formulas_say():
    torch.manual_seed(0)
    config = WeakCACENetConfig(audio_dim=6, visual_dim=5, num_classes=3, d_model=8)
    model = WeakCACENet(config).eval()
    made, kept = MadeClips(4), {}

    def keep(name: str):
        return lambda module, given, made: kept.__setitem__(name, made)

    for name in (
        "audio.encoder",
        "visual.encoder",
        "audio.interaction",
        "visual.interaction",
        "audio.decoder",
        "visual.decoder",
    ):
        model.get_submodule(name).register_forward_hook(keep(name))
    with torch.no_grad():
        output = model(made.audio, made.visual)
        gate_a = model.audio.gate(kept["audio.encoder"]).sigmoid()
        gate_v = model.visual.gate(kept["visual.encoder"]).sigmoid()
        heard = kept["audio.decoder"] * (0.8 + 0.2 * gate_a)
        seen = kept["visual.decoder"] * (0.8 + 0.2 * gate_v)
        cas = model.audio.class_activation(heard).sigmoid() + model.visual.class_activation(seen).sigmoid()
        fused = (kept["audio.interaction"] + kept["visual.interaction"]) / 2
        scores = (fused @ model.classify.weight.T) * 0.5 * cas
        best = scores.sort(dim=1, descending=True).values[:, :4].mean(1)
        gate = (gate_a + gate_v) / 2
        expected = (gate * best[:, None]).amax(1)
    torch.testing.assert_close(output.clip_logits, expected)
    torch.testing.assert_close(output.event_logits.sigmoid(), gate.squeeze(-1))
    categories = made.bags.argmax(-1)
    wanted = nn.functional.multilabel_soft_margin_loss(expected.softmax(-1), made.bags)
    torch.testing.assert_close(bag_loss(output.clip_logits, categories), wanted)
    events, names = output.decodable
    empty = output.clip_logits.argmax(1) == 3
    assert torch.equal(events[empty], torch.full_like(events[empty], -torch.inf)) and names.shape == (4, 3)


def test_the_official_weak_reading_says_one_thing_of_a_whole_clip():
    torch.manual_seed(0)
    config = WeakCACENetConfig(audio_dim=6, visual_dim=5, num_classes=3, d_model=8)
    _, official_reading = predict(WeakCACENet(config).eval(), MadeClips(32))
    assert official_reading is not None
    assert torch.equal(official_reading, official_reading[:, :1].expand(-1, 10))


def test_shipped_recipes_of_one_family_are_the_same_but_for_what_they_say():
    headline, other = (
        asdict(recipes.load(Recipe, "cace-net.ave")),
        asdict(recipes.load(Recipe, "cace-net.ave-lambda-0.2")),
    )
    assert {key for key in headline if headline[key] != other[key]} == {"name", "model"}
    assert {key: value for key, value in other["model"].items() if headline["model"].get(key) != value} == {
        "event_lambda": 0.2
    }


def test_the_run_of_a_seed_has_files_of_its_own(tmp_path: Path):
    made = MadeClips(4)
    for seed in (1, 2):
        train(
            replace(recipe("cace-net.ave", "schedule.epochs=1", "schedule.halve_at=[]"), seed=seed),
            data(made),
            tmp_path,
        )
    assert {path.name for path in tmp_path.glob("*.csv")} == {"cace-net.ave-seed1.csv", "cace-net.ave-seed2.csv"}


def test_a_run_does_not_go_on_with_other_clips(tmp_path: Path):
    plan, made = recipe("cace-net.ave", "schedule.epochs=1", "schedule.halve_at=[]"), MadeClips(8)
    train(plan, data(made), tmp_path)
    train(plan, data(MadeClips(8)), tmp_path, resume=True)
    other = MadeClips(8)
    other.labels = other.labels.flip(0)
    with pytest.raises(UsageError, match="made of other data"):
        train(plan, data(other), tmp_path, resume=True)
    renamed = MadeClips(8)
    renamed.names = ("anvil", "church bell", "bark")
    with pytest.raises(UsageError, match="made of other data"):
        train(plan, data(renamed), tmp_path, resume=True)
