"""Documents tell the truth: commands, options, versions, figures."""

import re
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


@pytest.mark.parametrize("page", ["README.md", *(f"weights/{path.name}" for path in (ROOT / "weights").glob("*.md"))])
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
