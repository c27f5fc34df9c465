import pytest

from avel_cli import recipes
from avel_cli.errors import UsageError
from avel_cli.training.dense import DenseRecipe
from avel_cli.training.encoders import EncoderRecipe
from avel_cli.training.finetune import FinetuneRecipe
from avel_cli.training.starter import StarterRecipe
from avel_cli.training.unav100 import UnAV100Recipe

SHIPPED = {
    "starter-sound": EncoderRecipe,
    "starter-picture": EncoderRecipe,
    "cace-net.starter": StarterRecipe,
    "ccln.starter": StarterRecipe,
    "resnet50.finetune": FinetuneRecipe,
    "vgg19.finetune": FinetuneRecipe,
    "loco.starter": DenseRecipe,
    "loco.tiny": DenseRecipe,
    "loco.unav100-i3d": UnAV100Recipe,
    "loco.unav100-onepeace": UnAV100Recipe,
    "unav.unav100-i3d": UnAV100Recipe,
}


def test_every_recipe_that_ships_is_listed_here():
    assert {path.stem for path in recipes.FOLDER.glob("*.toml")} == SHIPPED.keys()


@pytest.mark.parametrize(("name", "kind"), SHIPPED.items())
def test_shipped_recipes_load_and_survive_a_round_trip(name, kind):
    recipe = recipes.load(kind, name)
    assert recipes.build(kind, recipes.to_dict(recipe)) == recipe


def test_an_unknown_key_names_the_nearest_one():
    with pytest.raises(UsageError, match=r'"schedule\.batsch"; did you mean "batch"'):
        recipes.load(EncoderRecipe, "starter-sound", ["schedule.batsch=3"])


def test_changes_are_applied_with_their_types():
    recipe = recipes.load(EncoderRecipe, "starter-sound", ["schedule.lr=1", "width=8", "licences=['CC0']"])
    assert recipe.schedule.lr == 1.0
    assert isinstance(recipe.schedule.lr, float)
    assert (recipe.width, recipe.licences) == (8, ("CC0",))


@pytest.mark.parametrize(
    ("change", "message"),
    [("width=wide", "not a int"), ("width", "KEY=VALUE"), ("schedule=3", "not a Schedule"), ("width.x=1", "no part")],
)
def test_bad_changes_are_usage_errors(change, message):
    with pytest.raises(UsageError, match=message):
        recipes.load(EncoderRecipe, "starter-sound", [change])


def test_an_unknown_recipe_names_those_that_ship():
    with pytest.raises(UsageError, match=r"cace-net\.starter.*loco\.starter.*starter-picture, starter-sound"):
        recipes.load(EncoderRecipe, "nonsense")


def test_a_choice_of_two_lists_knows_both():
    assert recipes.load(DenseRecipe, "loco.tiny", ["model.lcc=off"]).model["lcc"] == "off"
    with pytest.raises(UsageError, match="is not one of off, .*, learned"):
        recipes.load(DenseRecipe, "loco.tiny", ["model.lcc=of"])


def test_a_broken_file_is_named(tmp_path):
    broken = tmp_path / "x.toml"
    broken.write_text("width = = 3")
    with pytest.raises(UsageError, match=r"x\.toml: not valid TOML"):
        recipes.load(EncoderRecipe, str(broken))
    broken.write_text("seed = 3")
    with pytest.raises(UsageError, match="does not fit"):
        recipes.load(EncoderRecipe, str(broken))
