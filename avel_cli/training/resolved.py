"""A recipe with everything that it is based on, as TOML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from avel_cli import recipes
from avel_cli.training.distil import DistilRecipe
from avel_cli.training.finetune import FinetuneRecipe
from avel_cli.training.recipe import Recipe

KINDS: dict[str, type] = {"localizer": Recipe, "distil": DistilRecipe, "finetune": FinetuneRecipe}


def to_toml(name: str, changes: Sequence[str] = ()) -> str:
    """The recipe with every default and change, so that the text is a recipe file of the same meaning.

    Raises:
        UsageError: if there is no such recipe, or it does not fit.
    """
    kind, values = recipes.read(name, changes)
    recipe: Any = recipes.build(KINDS[kind], values)
    facts = asdict(recipe)
    if isinstance(recipe, Recipe):
        facts |= {"loss": asdict(recipe.loss_weights()), "data": asdict(recipe.data_options())}
        config = recipe.config(recipe.smallest())
        facts["model"] = {**asdict(config), **recipe.model}
        for size in ("audio_dim", "visual_dim", "num_classes", "tags", "known"):  # the data say them
            facts["model"].pop(size, None)
    return "\n".join(_lines({"kind": kind, **facts}, "")) + "\n"


def _lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    if name:
        yield f"\n[{name}]"
    yield from (f"{_key(key)} = {_value(value)}" for key, value in table.items() if key not in tables)
    for key, inner in tables.items():
        yield from _lines(inner, f"{name}.{_key(key)}" if name else _key(key))


def _key(text: str) -> str:
    return text if text.replace("-", "").replace("_", "").isalnum() and text.isascii() else json.dumps(text)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
