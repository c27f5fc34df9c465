"""Documents tell the truth: commands, options, versions, figures."""

import re
import shlex
from pathlib import Path

import click
import pytest

import avel_cli
from avel_cli.cli.main import COMMANDS, avel
from avel_cli.hub import registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_all_its_options_have_help(command):
    assert f"avel {command}" in README
    found = avel.get_command(None, command)
    assert all(option.help for option in found.params if isinstance(option, click.Option))


def test_the_version_is_the_newest_of_the_changelog():
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1] == avel_cli.__version__


PAGES = [
    "README.md",
    *(f"{path.parent.name}/{path.name}" for name in ("weights", "docs") for path in (ROOT / name).glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_no_figure_is_left_open_and_no_link_is_broken(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.search(r"@[A-Z_]+@", text)
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert all((ROOT / page).parent.joinpath(link).exists() for link in links)


@pytest.mark.parametrize("card", registry.models(), ids=lambda card: card.name)
def test_models_come_with_labels_figures_a_licence_and_a_card(card):
    assert card.labels
    assert card.figures
    assert card.licence in card.card.read_text(encoding="utf-8")
    if all(source.package for asset in card.assets for source in asset.sources):  # those that ship
        assert all(label in README for label in card.labels)


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("weights")])
def test_commands_in_the_documents_are_commands(page):
    """Names and options of each line in a block of shell are known."""
    for line in re.findall(
        r"^(?:.* && )?avel ([a-z].*?)(?:\s+#.*| \| .*| && .*)?$", (ROOT / page).read_text("utf-8"), re.M
    ):
        name, *words = shlex.split(line)
        command = avel.get_command(None, name)
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command, line
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if re.match(r"-{1,2}[a-z]", word)} <= known, line


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
