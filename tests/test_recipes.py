import pytest

from avel_cli import recipes
from avel_cli.errors import UsageError
from avel_cli.training.ave import AVERecipe
from avel_cli.training.cross_modal import CrossModalRecipe
from avel_cli.training.dense import DenseRecipe
from avel_cli.training.distil import DistilRecipe
from avel_cli.training.finetune import FinetuneRecipe
from avel_cli.training.starter import StarterRecipe
from avel_cli.training.unav100 import UnAV100Recipe

SHIPPED = {
    "starter-sound": DistilRecipe,
    "cace-net.everyday": StarterRecipe,
    "cace-net.starter": StarterRecipe,
    "ccln.ave-cross-modal": CrossModalRecipe,
    "ccln.starter": StarterRecipe,
    "resnet50.finetune": FinetuneRecipe,
    "vgg19.finetune": FinetuneRecipe,
    "loco.starter": DenseRecipe,
    "loco.tiny": DenseRecipe,
    "loco.unav100-i3d": UnAV100Recipe,
    "loco.unav100-onepeace": UnAV100Recipe,
    "unav.unav100-i3d": UnAV100Recipe,
    "cace-net.folder": AVERecipe,
    "cace-net.ave": AVERecipe,
    "ccln.ave": AVERecipe,
    "ccln.ave-weak": AVERecipe,
}
AVE_RUNS = """
none audio-guide visual-guide co-guide lambda-0.2 lambda-0.4 lambda-0.8 psi-0 psi-0.15 psi-0.45
contrast-2 contrast-3 contrast-4 contrast-5 efficient efficient-tuned weak
"""
SHIPPED |= {f"cace-net.ave-{run}": AVERecipe for run in AVE_RUNS.split()}


def test_every_recipe_that_ships_is_listed_here():
    assert {path.stem for path in recipes.FOLDER.glob("*.toml")} == SHIPPED.keys() | {"everyday"}  # a vocabulary


@pytest.mark.parametrize(("name", "kind"), SHIPPED.items())
def test_shipped_recipes_load_and_survive_a_round_trip(name, kind):
    recipe = recipes.load(kind, name)
    assert recipes.build(kind, recipes.to_dict(recipe)) == recipe


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
    assert recipes.load(DenseRecipe, "loco.tiny", ["model.lcc=off"]).model["lcc"] == "off"
    with pytest.raises(UsageError, match=r"is not one of off, .*, learned"):
        recipes.load(DenseRecipe, "loco.tiny", ["model.lcc=of"])


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
        recipes.load(AVERecipe, str(path))
