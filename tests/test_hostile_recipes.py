"""A stranger's recipe becomes a run or one line."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avel_cli import recipes
from avel_cli.errors import UsageError
from avel_cli.training.recipe import Recipe


@pytest.mark.parametrize(
    "change",
    [
        "schedule.lr=nan",
        "schedule.lr=-1.0",
        "schedule.lr=inf",
        "schedule.ema=nan",
        "schedule.ema=1.5",
        "schedule.batch=0",
        "schedule.steps=-5",
        "schedule.weight_decay=-0.1",
        "model.dropout=5.0",
        "threshold=nan",
        'name="../x"',
        'name="/etc/x"',
        'name=""',
        "seed=" + "9" * 5000,
        "seed=" + "9" * 400,
        "model=" + "[" * 5000 + "]" * 5000,
    ],
    ids=lambda change: change[:24],
)
def test_values_out_of_range_are_refused_in_one_line(change):
    with pytest.raises(UsageError) as caught:
        recipes.load(Recipe, "cace-net.starter", [change])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a = '\ud800'"], ids=["deep", "long", "half"]
)
def test_a_file_that_no_parser_bears_is_one_line(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UsageError, match="not valid TOML"):
        recipes.load(Recipe, str(path))


def test_recipes_that_ship_are_within_their_ranges():
    for name in recipes.shipped():
        kind, values = recipes.read(name)
        if kind == "localizer":
            recipes.build(Recipe, values)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        ["schedule.lr", "schedule.ema", "schedule.steps", "schedule.halve_at", "seed", "name", "model", "data"]
    ),
    st.one_of(
        st.floats().map(str), st.integers().map(str), st.text(max_size=10), st.lists(st.integers(), max_size=3).map(str)
    ),
)
def test_any_value_is_a_recipe_or_one_line(key, value):
    try:
        recipe = recipes.load(Recipe, "cace-net.starter", [f"{key}={value}"])
    except UsageError as error:
        assert str(error)
    else:
        assert 0 <= recipe.schedule.lr <= 10 and 0 <= recipe.schedule.ema < 1
