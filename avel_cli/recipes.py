"""Recipes: TOML files that become frozen dataclasses, with strict keys.

A key that the dataclass does not know is an error that names the nearest one that it does.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from avel_cli.errors import UsageError, nearest

T = TypeVar("T")
LARGEST = 1e12  # of any number in a recipe
RANGES = {
    "lr": (0.0, 10.0),
    "weight_decay": (0.0, 10.0),
    "ema": (0.0, 0.9999999),
    "clip": (0.0, LARGEST),
    "warmup": (0, 10**9),
    "every": (0, 10**9),
    "batch": (1, 10**6),
    "steps": (0, 10**9),
    "epochs": (0, 10**6),
    "dropout": (0.0, 0.999),
    "threshold": (0.0, 1.0),
    "min_score": (0.0, 1.0),
}
FOLDER = Path(__file__).parent / "recipes"
KINDS = ("localizer", "distil", "finetune")


def shipped() -> list[str]:
    """Names of the recipes that ship, without those that are only the base of others."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "everyday")


def read(name: str, changes: Sequence[str] = ()) -> tuple[str, dict[str, Any]]:
    """The kind of a recipe, and its values with `changes` applied; `build` makes its dataclass of them.

    Raises:
        UsageError: as `load`.
    """
    values = _read(name, ())
    for change in changes:
        _apply(values, change)
    kind = values.pop("kind", "localizer")
    if kind not in KINDS:
        raise UsageError(f"{name}: kind is {kind!r}, not one of {', '.join(KINDS)}")
    return kind, values


def load(kind: type[T], name: str, changes: Sequence[str] = ()) -> T:
    """The recipe `name` (a file, or one that ships: `starter-sound`), with `changes` like `schedule.lr=1e-3` applied.

    A recipe may name another one as its `base`, and then says only what is different.

    Raises:
        UsageError: if there is no such recipe, a key is unknown, or a value has the wrong type.
    """
    return build(kind, read(name, changes)[1])


def _read(name: str, above: tuple[str, ...]) -> dict[str, Any]:
    """The values of a recipe on top of those of its base; `above` are the recipes that are based on it."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f'no recipe "{name}"{nearest(name, shipped())}; or give a .toml file')
    if name in above:
        raise UsageError(f"{path}: is its own base, by way of {', '.join(above)}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no TOML, no UTF-8, endless digits
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    base = values.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise UsageError(f"{path}: base is {base!r}, not the name of a recipe")
    return _over(_read(base, (*above, name)), values) if base else values


def _over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `values` says otherwise, table by table."""
    shared = base.keys() & values.keys()
    tables = [key for key in shared if isinstance(base[key], dict) and isinstance(values[key], dict)]
    return {**base, **values, **{key: _over(base[key], values[key]) for key in tables}}


def build(kind: type[T], values: dict[str, Any], where: str = "") -> T:
    """A dataclass `kind` made of a nested dict; lists become tuples, ints become floats where floats are wanted."""
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise UsageError(f'unknown key "{where}{key}"{nearest(key, hints)}')
    fields = {key: _convert(hints[key], value, f"{where}{key}") for key, value in values.items()}
    for key, value in fields.items():
        _require_range(key, value, where)
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise UsageError(f"does not fit: {error}") from None


def _require_range(key: str, value: Any, where: str) -> None:
    """Names mean the same in every recipe, so each has one range; NaN is in none."""
    if not where and key == "name" and not (isinstance(value, str) and re.fullmatch(r"[\w+-][\w.+-]{0,99}", value)):
        raise UsageError(f'recipe key "name": {value!r} cannot be a file\'s name; letters, digits, ".", "_", "+", "-"')
    low, high = RANGES.get("dropout" if "dropout" in key else key, (-LARGEST, LARGEST))
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, int | float) and not low <= number <= high:
            raise UsageError(f'recipe key "{where}{key}": {number} is not from {low:g} to {high:g}')


def to_dict(recipe: Any) -> dict[str, Any]:
    """The recipe as plain values, for checkpoints and logs."""
    return dataclasses.asdict(recipe)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return build(typing.cast(type, hint), value, f"{where}.")
    if hint is Any:
        return value
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and all(typing.get_origin(part) is typing.Literal for part in parts):
        origin, parts = typing.Literal, tuple(value for part in parts for value in typing.get_args(part))
    if origin is typing.Literal:
        if value not in parts:
            raise UsageError(f'key "{where}": {value!r} is not one of {", ".join(parts)}')
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(typing.get_args(hint)[0], v, where) for v in value)
    if origin is dict and isinstance(value, dict):
        return {k: _convert(typing.get_args(hint)[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict) and (inner := [part for part in parts if dataclasses.is_dataclass(part)]):
        return _convert(inner[0], value, where)
    kinds = parts if isinstance(hint, types.UnionType) else (origin or hint,)
    if not isinstance(value, kinds):
        raise UsageError(f'key "{where}": {value!r} is not a {getattr(hint, "__name__", hint)}')
    return value


def _apply(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise UsageError(f'--set takes KEY=VALUE, for example schedule.lr=1e-3; "{change}" has no "="')
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UsageError(f'--set {change}: "{parent}" is a value, it has no part "{leaf}"')
    try:
        values[leaf] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[leaf] = text
    except (ValueError, RecursionError):
        raise UsageError(f"--set {key}: the value is too long or too deep") from None
