import itertools
import math

import pytest
import torch
from torch import nn

from avel_cli.errors import SetupError, UsageError
from avel_cli.training.loop import Schedule, fit
from avel_cli.training.record import Record, read
from avel_cli.training.seeds import seeded


def _run(folder, steps, *, resume=False, die_at=None, score=None, nan_from=math.inf, data=""):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 1))

    def loss_at(step):
        if step == die_at:
            raise KeyboardInterrupt
        spoilt = math.nan if step >= nan_from else 1.0
        x = spoilt * torch.randn(16, 4, generator=seeded(1, step))
        return (model(x) - x.sum(1, keepdim=True)).pow(2).mean()

    schedule = Schedule(steps=steps, lr=1e-2, warmup=2, precision="fp32")
    recipe = {"steps": steps}
    return fit(
        model, loss_at, schedule, folder, name="m", recipe=recipe, data=data, resume=resume, every=5, score=score
    ).state_dict()


def test_a_killed_run_continues_to_the_same_weights_bit_for_bit(tmp_path):
    whole = _run(tmp_path / "whole", 30)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "killed", 30, die_at=17)
    resumed = _run(tmp_path / "killed", 30, resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_lowers_the_loss_and_records_it(tmp_path):
    _run(tmp_path, 200)
    rows = [line.split(",") for line in (tmp_path / "m.csv").read_text().split()]
    assert rows[0] == ["step", "loss", "lr", "seconds"]
    assert float(rows[-1][1]) < 0.5 * float(rows[1][1])


def test_the_rate_warms_up_and_decays_to_zero():
    schedule = Schedule(steps=100, lr=1.0, warmup=10)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == max(rates) == 1.0
    assert rates[100] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))


def test_a_checkpoint_of_another_recipe_is_not_resumed(tmp_path):
    _run(tmp_path, 10)
    with pytest.raises(UsageError, match="made by another recipe"):
        _run(tmp_path, 20, resume=True)


def test_the_average_with_the_highest_score_is_kept_through_a_resume(tmp_path):
    averages, scores = [], [0.2, 0.9, 0.9, 0.1, 0.5, 0.3]

    def score(average):
        averages.append({name: value.clone() for name, value in average.state_dict().items()})
        return scores[len(averages) - 1]

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, 30, die_at=17, score=score)
    chosen = _run(tmp_path, 30, resume=True, score=score)
    assert len(averages) == 6
    assert all(torch.equal(chosen[name], averages[1][name]) for name in chosen)


def test_a_run_whose_loss_is_no_longer_finite_ends_and_keeps_what_was_good(tmp_path):
    scores = []
    with pytest.raises(UsageError, match="m: loss nan by step 10; try a lower rate"):
        _run(tmp_path, 30, nan_from=7, score=lambda average: scores.append(0) or 0.5)
    assert len(scores) == 1
    kept = torch.load(tmp_path / "m.checkpoint.pt", weights_only=True)
    assert kept["step"] == 5 and all(value.isfinite().all() for value in kept["model"].values())
    assert "nan" in (tmp_path / "m.csv").read_text()


def test_a_second_run_does_not_replace_the_first_unasked(tmp_path):
    _run(tmp_path, 10, score=lambda average: 0.5)
    before = {path: path.read_bytes() for path in tmp_path.glob("m.*")}
    assert len(before) == 3
    with pytest.raises(UsageError, match=r"m\.checkpoint\.pt is there; --resume goes on with it, another folder"):
        _run(tmp_path, 10, score=lambda average: 0.5)
    assert {path: path.read_bytes() for path in tmp_path.glob("m.*")} == before


def test_a_checkpoint_of_other_data_is_not_resumed(tmp_path):
    _run(tmp_path, 10, data="a")
    _run(tmp_path, 10, data="a", resume=True)
    with pytest.raises(UsageError, match="made of other data"):
        _run(tmp_path, 10, data="b", resume=True)


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_damaged_checkpoint_is_said_to_be_damaged(tmp_path, kept):
    _run(tmp_path, 10)
    path = tmp_path / "m.checkpoint.pt"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SetupError, match=r"m\.checkpoint\.pt: damaged; delete it"):
        _run(tmp_path, 10, resume=True)


def test_a_table_is_never_lost_while_it_is_rewritten(tmp_path, monkeypatch):
    _run(tmp_path, 10)
    before = (tmp_path / "m.csv").read_text()

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("csv.DictWriter.writerows", dies)
        Record(tmp_path, "m", 5)
    assert (tmp_path / "m.csv").read_text() == before
    Record(tmp_path, "m", 5).close()
    assert [row["step"] for row in read(tmp_path / "m.csv")] == ["1", "2", "3", "4", "5"]
