"""`avel train`: data and a recipe in, weights out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.errors import UsageError

if TYPE_CHECKING:
    from avel_cli.training.starter import StarterRecipe

MODELS = {"cace-net": "cace-net.starter", "starter-sound": "starter-sound", "starter-picture": "starter-picture"}


@click.command(short_help="Train weights.")
@click.option("--dataset", type=click.Choice(["starter"]), required=True, help="What to train on.")
@click.option("--model", type=click.Choice(list(MODELS)), required=True, help="What to train.")
@options.packs
@click.option(
    "--pretrain-data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of class folders of pictures, where the recipe pretrains.",
)
@click.option("--recipe", help="A recipe file, or the name of one that ships.  [default: the model's]")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change the recipe, e.g. schedule.lr=1e-3.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Train this many times, with seeds from the recipe's on, and report mean and spread (localizers).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder for weights, checkpoints and logs.",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the output folder.")
@options.verbosity
@click.pass_obj
def train(
    console: Console,
    /,
    dataset: str,
    model: str,
    data: Sequence[Path],
    pretrain_data: Path | None,
    recipe: str | None,
    changes: Sequence[str],
    seeds: int,
    output: Path,
    resume: bool,
) -> None:
    """Train the starter encoders or a localizer on the starter packs.

    \b
    avel train --dataset starter --model starter-sound --data packs/starter --data packs/starter_extra
    """
    from avel_cli import recipes

    if seeds > 1 and model != "cace-net":
        raise UsageError("--seeds is for localizers; an encoder is trained once")
    if pretrain_data and model != "starter-picture":
        raise UsageError("--pretrain-data is for starter-picture; nothing else is pretrained")
    name = recipe or MODELS[model]
    if model == "cace-net":
        from avel_cli.training.starter import StarterRecipe

        _localizer(console, recipes.load(StarterRecipe, name, changes), data, seeds, output, resume)
        return
    from avel_cli.training.encoders import EncoderRecipe, train_encoder

    path = train_encoder(model, recipes.load(EncoderRecipe, name, changes), data, output, pretrain_data, resume)
    console.say(f"weights written to {path}")


def _localizer(
    console: Console, recipe: StarterRecipe, data: Sequence[Path], seeds: int, output: Path, resume: bool
) -> None:
    """Train with each seed; the weights of the first are written, accuracies of all are told."""
    import statistics
    from dataclasses import replace

    from avel_cli.evaluation.starter import localizer_accuracy
    from avel_cli.training import starter

    learnt_from, test = (starter.composed(recipe, data, split, output) for split in (recipe.split, "test"))
    rows, accuracies = [], []
    for seed in range(recipe.seed, recipe.seed + seeds):
        trained = starter.train(replace(recipe, seed=seed), learnt_from, output, resume=resume)
        own, accuracy = (localizer_accuracy(trained, clips) for clips in (learnt_from, test))
        rows.append([str(seed), f"{own:.2f}", f"{accuracy:.2f}"])
        accuracies.append(accuracy)
        if seed == recipe.seed:
            path = output / f"{recipe.name}.safetensors"
            starter.save(trained, recipe, path, {"composed test, segment accuracy": round(accuracy, 2)})
            console.say(f"weights of seed {seed} written to {path}")
    console.table(["seed", "learnt from", "test"], rows, title=f"{recipe.name}: segment accuracy in percent")
    if seeds > 1:
        console.say(f"test {statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f} over {seeds} seeds")
