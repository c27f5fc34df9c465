"""`avel query`: which part of the picture track belongs to a sound, and the reverse."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli import options
from avel_cli.cli.console import Console
from avel_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from avel_cli.pipeline import Detector


NUMBER = r"(\d+\.?\d*|\.\d+)"


def _span(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[float, float] | None:
    """Begin and end in seconds."""
    if text is None:
        return None
    found = re.fullmatch(rf"\s*{NUMBER}\s*-\s*{NUMBER}\s*", text, re.ASCII)
    if not found:
        raise click.BadParameter(f"{text!r} is not START-END in seconds, for example 3-5 or 0.5-2.25")
    begin, end = map(float, found.groups())
    if begin >= end:
        raise click.BadParameter(f"{text!r} must begin before it ends")
    return begin, end


@click.command(short_help="Find the picture that belongs to a sound, or the reverse.")
@click.argument("path", metavar="FILE")
@click.option(
    "--sound", callback=_span, metavar="START-END", help="Find the pictures that belong to what is heard there."
)
@click.option(
    "--picture", callback=_span, metavar="START-END", help="Find the sounds that belong to what is seen there."
)
@click.option(
    "-m",
    "--model",
    default="ccln.starter",
    show_default=True,
    help="Weights of CCLN by name, or a file of your own.",
)
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="Show the closest so many.")
@click.option("--json", "as_json", is_flag=True, help="Write the answer as JSON.")
@options.device
@options.listening
@options.encoding
@options.verbosity
@click.pass_obj
def query(
    console: Console,
    /,
    path: str,
    sound: tuple[float, float] | None,
    picture: tuple[float, float] | None,
    model: str,
    top_k: int,
    as_json: bool,
    audio_track: int | None,
    **settings: Any,
) -> None:
    """Find the part of the picture track that belongs to a sound of FILE, or the sound that belongs to a picture.

    START and END are seconds. The answer is a list of windows as long as the query, the closest first; distances go
    from 0 to 2. The model is small and a reconstruction: see its card, and avel models show ccln.starter.

    \b
    avel query clip.mp4 --sound 3-5       where is what is heard from 3 to 5 s?
    avel query clip.mp4 --picture 0.5-2   what does it sound like?
    """
    if (sound is None) == (picture is None):
        raise UsageError("ask for one thing: --sound START-END or --picture START-END")
    if not os.path.exists(path):
        raise InputError(f"{path!r} does not exist")
    detector = _load(console, model, settings)
    from avel_cli.query import query as ask

    asked, span = ("sound", sound) if sound else ("picture", picture)
    with console.progress(Path(path).name) as listener:
        answer = ask(detector, path, asked, span, top_k=top_k, audio_track=audio_track, progress=listener)  # type: ignore[arg-type]
    for warning in answer.warnings:
        console.say(f"warning: {path}: {warning}")
    if as_json:
        console.result_stream().write(json.dumps(answer.to_dict(), indent=2, ensure_ascii=False) + "\n")
        return
    rows = [
        [str(rank), f"{match.start:g}", f"{match.end:g}", f"{match.distance:.3f}"]
        for rank, match in enumerate(answer.matches, 1)
    ]
    other = "picture" if asked == "sound" else "sound"
    console.table(
        ["rank", "start", "end", "distance"],
        rows,
        title=f"{other} for the {asked} of {answer.start:g}-{answer.end:g} s",
    )


def _load(console: Console, model: str, settings: dict[str, Any]) -> Detector:
    """The weights; a wrong name is found before the only slow import."""
    from avel_cli.hub import registry

    card = registry.model(model)
    from avel_cli.pipeline import Detector
    from avel_cli.published import prepare

    files = options.named(settings.pop("weights"), [card.name])
    prepare(card.needs, offline=settings["offline"], files=files, say=console.say, watch=console.download)
    return Detector(model, weights=files, **settings)
