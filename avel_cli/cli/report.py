"""`avel report`: pages to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli import options, sources
from avel_cli.cli.console import Console
from avel_cli.cli.sources import Sources
from avel_cli.errors import InputError, MediaError, UsageError
from avel_cli.inputs import find_inputs
from avel_cli.timeline.events import Timeline
from avel_cli.writers.files import atomic_write, make_folder, plan_files

if TYPE_CHECKING:
    from avel_cli.media import Media

INDEX = "avel.html"


@click.command(short_help="Make pages that show films with their events.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@sources.detecting
@click.option(
    "--show",
    type=click.Choice(["both", "heard", "seen", "all"]),
    default="both",
    show_default=True,
    help="Show what is both seen and heard; also what is only heard, only seen, or either.",
)
@click.option("--embed", is_flag=True, help="Put a small copy of the film into the page, in place of a link to it.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("."), help="Folder for the pages.")
@click.option("-r", "--recursive", is_flag=True, help="Look into the sub-folders of folders.")
@click.option("--overwrite", is_flag=True, help="Replace existing pages.")
@options.verbosity
@click.pass_obj
def report(
    console: Console,
    /,
    paths: Sequence[str],
    embed: bool,
    output: Path,
    recursive: bool,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Make one HTML page for each film: the film, its events under it, and what sound and picture look like.

    PATH is a film, a folder of films, @list.txt with one of these per line, or a timeline saved by avel detect -f json.
    clip.mp4 makes clip.avel.html; several make an index too, avel.html. Pages need no server and no network. They link
    to the film by its place beside them: move both together, or use --embed.

    \b
    avel report clip.mp4
    avel report films/ -o pages
    """
    given = Sources(console, keep_scores=True, **settings)
    inputs = find_inputs(paths, recursive)
    plan = {path: files[0] for path, files in _plan(inputs, output, overwrite).items()}

    def make(path: Path, progress: str) -> tuple[str, Timeline]:
        timeline = given.timeline(path, progress)
        page = _page(console, timeline, given.film(path, timeline), output, embed)
        with atomic_write(plan[path]) as stream:
            stream.write(page)
        console.say(f"{path}: {len(timeline)} event{'s' * (len(timeline) != 1)} → {plan[path]}")
        return plan[path].name, timeline

    pages: dict[str, Timeline] = {}
    try:
        for name, timeline in sources.each(console, list(plan), make):
            pages[name] = timeline
    finally:
        if len(inputs) > 1 and pages:
            _write_index(console, output / INDEX, pages)


def _plan(inputs: Sequence[Path], output: Path, overwrite: bool) -> dict[Path, list[Path]]:
    """The page of each input, and room for the index."""
    if len(inputs) > 1 and (output / INDEX).exists() and not overwrite:
        raise UsageError(f"{output / INDEX} exists. Use --overwrite, or another folder with -o")
    make_folder(output)
    plain = [sources.plain(path) for path in inputs]
    if len(set(plain)) < len(inputs):
        plain = list(inputs)
    plan = plan_files(plain, ["html"], output, overwrite=overwrite, skip_existing=False)
    return dict(zip(inputs, plan.values(), strict=True))


def _page(console: Console, timeline: Timeline, film: Path, folder: Path, embed: bool) -> str:
    from avel_cli.films.preview import preview
    from avel_cli.report.page import film_page, link
    from avel_cli.report.strips import Strips

    if not film.is_file():
        console.say(f"warning: {film} is not there, so the page shows the events alone; see --films")
        return film_page(timeline)
    strips, address = Strips(), link(film, folder)
    try:
        media, track = Sources.media(film, timeline)
        strips = _strips(console, media, track)
        address = preview(media, track) if embed else address
    except InputError as error:
        console.say(f"warning: {error}")
    return film_page(timeline, address, strips)


def _strips(console: Console, media: Media, track: int | None) -> Any:
    from avel_cli.report.strips import Strips, draw

    try:
        return draw(media, track)
    except MediaError as error:  # pictures or sound that cannot be decoded: the events are shown all the same
        console.say(f"warning: {error}")
        return Strips()


def _write_index(console: Console, path: Path, pages: dict[str, Timeline]) -> None:
    from avel_cli.report.page import index_page

    with atomic_write(path) as stream:
        stream.write(index_page(pages))
    console.say(f"{len(pages)} films → {path}")
