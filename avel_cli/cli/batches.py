"""Options and words for batches: what `avel detect` does with many inputs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avel_cli.cli.console import Console
from avel_cli.cli.options import Command
from avel_cli.writers.files import check_existing, make_folder, name_files

if TYPE_CHECKING:
    from avel_cli.batch.run import Batch

COUNTED = {
    "done": "done",
    "skipped": "skipped, done before and unchanged",
    "failed": "failed",
    "failed before": "failed before (--retry-failed tries again)",
}
HARMLESS = ("device", "offline")  # settings that do not change what is found


class Shard(click.ParamType[tuple[int, int]]):
    """`i/n`: the part of the inputs that is done here."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Number of the shard, from 1, and how many there are."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(value))
        index, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= index <= count:
            self.fail(f"{value!r} is no shard; write 1/4 to 4/4", param, ctx)
        return index, count


def batching(command: Command) -> Command:
    """Adds --retry-failed, --fail-fast, --shard and --summary."""
    text = "Write how each input ended, to a .csv or a .json; an earlier summary is replaced."
    kind = click.Path(dir_okay=False, path_type=Path)
    command = click.option("--summary", type=kind, metavar="FILE", help=text)(command)
    text = "Do only part i of n of the inputs, chosen by their paths; for many machines, each with a -o of its own."
    command = click.option("--shard", type=Shard(), metavar="I/N", help=text)(command)
    command = click.option("--fail-fast", is_flag=True, help="End at the first input that fails.")(command)
    text = "Try inputs again that have failed before and are unchanged."
    return click.option("--retry-failed", is_flag=True, help=text)(command)


@contextmanager
def opened(
    console: Console,
    inputs: Sequence[Path],
    extensions: Sequence[str],
    folder: Path,
    *,
    overwrite: bool,
    skip_existing: bool,
    retry_failed: bool,
    shard: tuple[int, int] | None,
    asked: Mapping[str, Any],
) -> Iterator[Batch]:
    """The batch of these inputs, with the journal of the folder if they are several.

    Args:
        console: is told what is skipped.
        inputs: all of them; their results are called the same in every shard.
        extensions: how the results of an input end, without the leading dot.
        folder: of the results, made if it is missing.
        overwrite: see `avel detect`, as are the next three.
        skip_existing: …
        retry_failed: …
        shard: …
        asked: model, words, weights, and everything else that results depend on.

    Raises:
        UsageError: if a result exists that is not known to be of its input, and no flag says what to do.
        SetupError: if the journal cannot be used.
    """
    from avel_cli.batch.journal import Journal, Policy, accounted
    from avel_cli.batch.run import Batch, in_shard

    begun = time.time()
    named = name_files(inputs, extensions, folder)
    mine = {path: files for path, files in named.items() if shard is None or in_shard(path, *shard)}
    several = len(inputs) > 1
    plan = check_existing(
        mine,
        overwrite=overwrite,
        skip_existing=skip_existing,
        ours=lambda: accounted(folder, mine) if several else set(),
    )
    make_folder(folder)
    if len(plan) < len(mine):
        console.say(f"{len(mine) - len(plan)} of {len(mine)} inputs skipped, their results exist")
    if not several:
        yield Batch(plan)
        return
    model, settings = made_by(asked)
    policy = Policy(overwrite, retry_failed or skip_existing, begun)
    with closing(Journal(folder)) as journal:
        journal.expect(plan)
        yield Batch(plan, journal, settings, model, policy)


def made_by(asked: Mapping[str, Any]) -> tuple[str, str]:
    """Name of the model, and a digest of all that results depend on, files of weights by their content.

    Raises:
        ModelError: if the model is unknown.
    """
    from avel_cli.batch.journal import content, digest
    from avel_cli.hub import registry
    from avel_cli.words import understood

    words, model = asked["words"], asked["model"]
    card = understood(words, model).card if words else registry.model(model)
    files = {**asked["weights"], "": card.path}
    hashes = {name: content(path) if path.is_file() else None for name, path in files.items()}
    rest = {name: value for name, value in asked.items() if name not in ("model", "weights", *HARMLESS)}
    return card.name, digest({**rest, "model": card.name, "weights": hashes})


def tell(console: Console, batch: Batch) -> None:
    """A line about how the inputs ended, if there is a journal."""
    if batch.journal:
        counts = [f"{batch.counts[state]} {text}" for state, text in COUNTED.items() if batch.counts[state]]
        console.say(f"{len(batch.plan)} inputs: {'; '.join(counts) or 'nothing to do'}")
