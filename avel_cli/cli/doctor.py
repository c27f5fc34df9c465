"""`avel doctor`: what a bug report should say about this machine."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from avel_cli import __version__
from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.errors import SetupError


@click.command(short_help="Check FFmpeg, devices and weights.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
@options.verbosity
@click.pass_obj
def doctor(console: Console, as_json: bool) -> None:
    """Print versions, devices and weights; the exit code is 4 if FFmpeg or torch does not work."""
    problems: list[str] = []
    facts = {
        "avel": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "torch": _version("torch"),
        "devices": _devices(problems),
        **_ffmpeg(problems),
        "models": _models(),
    }
    if as_json:
        console.result_stream().write(json.dumps(facts, indent=2) + "\n")
    else:
        console.facts(
            {name: (", ".join(fact) if isinstance(fact, list) else fact) or "none" for name, fact in facts.items()}
        )
    if problems:
        raise SetupError("; ".join(problems))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _ffmpeg(problems: list[str]) -> dict[str, str | None]:
    from avel_cli.media.ffmpeg import ffmpeg_version, find_ffmpeg

    try:
        return {"ffmpeg": ffmpeg_version(), "ffmpeg path": find_ffmpeg()}
    except SetupError as error:
        problems.append(str(error))
        return {"ffmpeg": None, "ffmpeg path": None}


def _devices(problems: list[str]) -> list[str]:
    """Names that `--device` takes here."""
    try:
        import torch
    except (ImportError, OSError) as error:
        problems.append(f"torch cannot be loaded ({error}); reinstall it")
        return []
    cuda = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _models() -> list[str]:
    from avel_cli.hub import registry

    return [card.name for card in registry.models()]
