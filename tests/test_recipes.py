import pytest

from avel_cli import recipes
from avel_cli.errors import UsageError
from avel_cli.training import defaults
from avel_cli.training.distil import DistilRecipe
from avel_cli.training.recipe import Recipe
from avel_cli.training.resolved import KINDS, to_toml


def test_every_default_is_a_recipe_that_ships_and_trains_what_it_says():
    for (dataset, model), name in defaults.defaults().items():
        assert name in recipes.shipped()
        kind, values = recipes.read(name)
        if kind == "localizer":
            recipe = recipes.build(Recipe, values)
            assert (recipe.dataset.removesuffix("-matching"), recipe.trains) == (dataset, model)


@pytest.mark.parametrize("name", recipes.shipped())
def test_shipped_recipes_load_and_survive_a_round_trip(name):
    kind, values = recipes.read(name)
    recipe = recipes.build(KINDS[kind], values)
    assert recipes.build(KINDS[kind], recipes.to_dict(recipe)) == recipe
    if kind == "localizer":
        assert recipe.name == name


@pytest.mark.parametrize("name", recipes.shipped())
def test_a_recipe_that_is_shown_is_a_recipe_of_the_same_meaning(name, tmp_path):
    (tmp_path / "shown.toml").write_text(to_toml(name), encoding="utf-8")
    assert to_toml(str(tmp_path / "shown.toml")) == to_toml(name)


def test_an_unknown_key_names_the_nearest_one():
    with pytest.raises(UsageError, match=r'"schedule\.batsch"; did you mean "batch"'):
        recipes.load(DistilRecipe, "starter-sound", ["schedule.batsch=3"])


def test_changes_are_applied_with_their_types():
    recipe = recipes.load(DistilRecipe, "starter-sound", ["schedule.lr=1", "seed=8", "classes=['free']"])
    assert recipe.schedule.lr == 1.0
    assert isinstance(recipe.schedule.lr, float)
    assert (recipe.seed, recipe.classes) == (8, ("free",))


@pytest.mark.parametrize(
    ("change", "message"),
    [("seed=wide", "not a int"), ("seed", "KEY=VALUE"), ("schedule=3", "not a Schedule"), ("seed.x=1", "no part")],
)
def test_bad_changes_are_usage_errors(change, message):
    with pytest.raises(UsageError, match=message):
        recipes.load(DistilRecipe, "starter-sound", [change])


def test_an_unknown_recipe_names_the_nearest_one():
    with pytest.raises(UsageError, match=r'no recipe "cace-net\.stater"; did you mean "cace-net\.starter"'):
        recipes.load(DistilRecipe, "cace-net.stater")


def test_a_choice_of_two_lists_knows_both():
    assert recipes.load(Recipe, "loco.unav100-i3d", ["model.lcc=off"]).model["lcc"] == "off"
    with pytest.raises(UsageError, match=r"is not one of off, .*, learned"):
        recipes.load(Recipe, "loco.unav100-i3d", ["model.lcc=of"])


def test_a_broken_file_is_named(tmp_path):
    broken = tmp_path / "x.toml"
    broken.write_text("width = = 3")
    with pytest.raises(UsageError, match=r"x\.toml: not valid TOML"):
        recipes.load(DistilRecipe, str(broken))
    broken.write_text("seed = 3")
    with pytest.raises(UsageError, match="does not fit"):
        recipes.load(DistilRecipe, str(broken))


def test_a_recipe_says_only_what_its_base_does_not(tmp_path):
    (tmp_path / "one.toml").write_text('mixed = 0.1\nlicence = "CC0"\nseed = 5\n[schedule]\nsteps = 10\nlr = 0.5\n')
    (tmp_path / "two.toml").write_text(f'base = "{tmp_path / "one.toml"}"\nseed = 6\n[schedule]\nlr = 0.1\n')
    recipe = recipes.load(DistilRecipe, str(tmp_path / "two.toml"), ["schedule.batch=3"])
    assert (recipe.mixed, recipe.seed) == (0.1, 6)
    assert (recipe.schedule.steps, recipe.schedule.lr, recipe.schedule.batch) == (10, 0.1, 3)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ('"{own}"', "is its own base"),
        ('"nonsense"', 'no recipe "nonsense"'),
        ("3", "base is 3, not the name of a recipe"),
    ],
)
def test_a_base_that_makes_no_sense_is_refused(base, message, tmp_path):
    own = tmp_path / "x.toml"
    own.write_text(f"base = {base.format(own=own)}\nseed = 6\n")
    with pytest.raises(UsageError, match=message):
        recipes.load(DistilRecipe, str(own))


def test_keys_stay_strict_on_top_of_a_base(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('base = "cace-net.ave"\n[schedule]\nepoch = 3\n')
    with pytest.raises(UsageError, match=r'"schedule\.epoch"; did you mean "epochs"'):
        recipes.load(Recipe, str(path))
