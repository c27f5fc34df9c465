"""Imports point one way, and nothing slow is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import avel_cli

PACKAGE = Path(avel_cli.__file__).parent
# From top to bottom: a part may import what stands below it or beside it, but not in a circle.
LAYERS = [
    {"cli"},
    {"experiments", "features"},
    {"training", "evaluation"},
    {"datasets"},
    {"pipeline", "extraction", "query", "published", "search", "words"},
    {"tasks"},
    {"localizers", "encoders"},
    {"metrics", "recipes", "hub"},
    {"report", "summary", "batch"},
    {"films"},
    {"writers", "timeline"},
    {"media"},
    {"errors", "inputs", "strangers", "text"},
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
SLOW = ("torch", "numpy", "pandas", "rich")


def imports(path: Path) -> Iterator[str]:
    """Full names of everything a source file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def part_imports() -> dict[str, set[str]]:
    """Part of the package → the parts that it imports; the package itself and `__main__` are none."""
    graph: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        names = [name.split(".")[1] for name in imports(path) if name.startswith("avel_cli.")]
        if not part.startswith("__"):
            graph[part] |= {name for name in names if name != part and not name.startswith("__")}
    return dict(graph)


def test_every_part_has_a_place_in_the_layers() -> None:
    assert part_imports().keys() <= RANK.keys()


@pytest.mark.parametrize("part", sorted(RANK))
def test_no_part_imports_one_above_it(part: str) -> None:
    assert {name for name in part_imports().get(part, set()) if RANK[name] < RANK[part]} == set()


def test_parts_do_not_import_each_other_in_a_circle() -> None:
    graph = {part: set(names) for part, names in part_imports().items()}
    graph["timeline"].remove("writers")  # `Timeline.write`, on use: a convenience for users of the library
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("part", ["timeline", "writers"])
def test_results_know_no_torch(part: str) -> None:
    assert part_imports()[part] <= {"timeline", "writers", "errors", "strangers"}
    names = {name.split(".")[0] for path in (PACKAGE / part).glob("*.py") for name in imports(path)}
    assert not names & {"torch", "torchvision", "torchaudio", "safetensors"}


def loaded_by(code: str) -> set[str]:
    """Which of the slow packages a fresh Python has loaded after `code`."""
    report = f"\nimport sys; print('', *(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import avel_cli",
        "from avel_cli import Event, Timeline, MediaError",
        "import avel_cli.writers",
        "from avel_cli.cli.main import run; run(['--help'])",
        "from avel_cli.cli.main import run; run(['detect', '--help'])",
        "from avel_cli.cli.main import run; run(['train', '--help'])",
        "from avel_cli.cli.main import run; assert run(['models']) == 0",
    ],
)
def test_nothing_slow_is_loaded_by(code: str) -> None:
    assert loaded_by(code) == set()


@pytest.mark.parametrize(
    "args", ["['clip.mp4']", "['detect']", "['detect', 'a.mp4', '--top-k', '0']", "['detect', 'a.mp4', '-m', 'x']"]
)
def test_a_wrong_command_line_is_answered_without_torch(args: str) -> None:
    assert "torch" not in loaded_by(f"from avel_cli.cli.main import run; assert run({args}) > 1")


def test_every_public_name_can_be_imported() -> None:
    assert sorted(avel_cli.__all__) == avel_cli.__all__
    assert all(getattr(avel_cli, name).__name__ == name for name in avel_cli.__all__)
    with pytest.raises(AttributeError, match="detekt"):
        avel_cli.detekt  # noqa: B018
