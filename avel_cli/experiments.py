"""`train` and `evaluate`: data and a recipe in, weights out; weights and data in, figures out.

The commands `avel train` and `avel eval` are these functions; their options have the same names and defaults.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avel_cli import localizers, published, recipes
from avel_cli.datasets import DATASETS, FOLDER
from avel_cli.datasets import dataset as dataset_of
from avel_cli.datasets.base import PARTS, Listener, Part, Request
from avel_cli.errors import ModelError, UsageError
from avel_cli.evaluation.cross_modal_ave import check_lists, evaluate_cross_modal
from avel_cli.evaluation.reports import REPORTS, Subject
from avel_cli.hub import foreign, registry, weights_file
from avel_cli.inputs import find_inputs
from avel_cli.localizers.base import Localizer
from avel_cli.localizers.unav.network import UnAV
from avel_cli.localizers.unav.published import from_official, official_config
from avel_cli.metrics.report import Report
from avel_cli.pipeline import choose_device
from avel_cli.tasks import task_of
from avel_cli.tasks.base import Data
from avel_cli.training import defaults, distil, finetune, finetune_data, runs
from avel_cli.training.processes import accelerator, use
from avel_cli.training.recipe import Recipe

log = logging.getLogger("avel")
UNAV = "unav"  # what `weights` calls a checkpoint as UnAV's authors publish it
EvalTask = Literal["full", "weak", "cross-modal"]


def _silent(_: str) -> AbstractContextManager[Listener | None]:
    return nullcontext()


@dataclass(frozen=True)
class Hooks:
    """Who is told how the work goes.

    Attributes:
        say: gets lines of information.
        watch: gives a listener for the progress of one file.
        download: the same for a download.
        fail: gets the error of an input that others go on after.
    """

    say: Callable[[str], None] = log.info
    watch: Callable[[str], AbstractContextManager[Listener | None]] = _silent
    download: Callable[[str], AbstractContextManager[Listener | None]] = _silent
    fail: Callable[[Exception], None] = log.error


SILENT = Hooks()


def train(
    dataset: str | Path,
    model: str,
    data: Sequence[str | Path] = (),
    *,
    weights: Mapping[str, Path] | None = None,
    recipe: str | None = None,
    changes: Sequence[str] = (),
    select: Literal["val", "test", "last"] | None = None,
    precision: Literal["fp32", "bf16", "fp64"] | None = None,
    encoders: Sequence[str] = (),
    in_memory: bool = False,
    seeds: int = 1,
    output: str | Path = "runs",
    resume: bool = False,
    device: str = "auto",
    hooks: Hooks = SILENT,
) -> Report | None:
    """Train a localizer or an encoder; weights, tables, curves and figures are written to `output`.

    Args:
        dataset: a name that `avel train --help` lists, or the folder of one's own videos with `labels.csv`.
        model: what to train.
        data: folders of the data set.
        weights: files to use in place of what is published, by name.
        recipe: a file, or the name of a recipe that ships; None takes the model's.
        changes: of the recipe, each like `schedule.lr=1e-3`.
        select: the part that chooses the epoch; None takes the recipe's.
        precision: of the arithmetic; None takes the recipe's.
        encoders: for one's own videos: one of sound, one of pictures.
        in_memory: read all features at the start.
        seeds: number of seeds; the report has mean and spread.
        output: folder for everything that is written.
        resume: go on from the last checkpoints in `output`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        hooks: who is told how it goes.

    Returns:
        The report of a localizer; None for encoders, and for all but the first of several processes.

    Raises:
        UsageError: if there is no such recipe, it does not fit, or the loss is no longer finite.
        SetupError: if data or the packages for training are missing.
        ModelError: if weights cannot be had.
    """
    use(device)
    if not runs.is_first():  # one of several processes speaks
        log.setLevel(logging.ERROR)
        hooks = Hooks(lambda _: None)
    own = _is_own(dataset)
    folders = tuple(map(Path, (dataset, *data) if own else data))
    name = FOLDER if own else str(dataset)
    found = recipe or defaults.default(name, model)
    given = {"select": select, "schedule.precision": precision, "encoders": list(encoders) or None}
    changes = [*changes, *(f"{key}={_toml(value)}" for key, value in given.items() if value)]
    kind, values = recipes.read(found, changes)
    if not folders:
        raise UsageError(f"--dataset {dataset} wants its folder: --data DIR")
    if encoders and not own:
        raise UsageError("--encoder is for your own videos; the features of a data set are there already")
    if weights and kind != "distil":
        raise UsageError("--weights is for the teacher of starter-sound")
    if kind != "localizer":
        if seeds > 1 or in_memory or encoders:
            option = "--seeds" if seeds > 1 else "--in-memory" if in_memory else "--encoder"
            raise UsageError(f"{option} is not for {model}, an encoder, which is trained once")
        work = {"distil": _distil, "finetune": _finetune}[kind]
        work(values, name, model, folders, Path(output), dict(weights or {}), resume, hooks)
        return None
    plan = recipes.build(Recipe, values)
    if plan.dataset.removesuffix("-matching") != name or plan.trains != model:
        raise UsageError(
            f"recipe {found} trains {plan.trains} on {plan.dataset}, not {model} on {name}; leave --recipe out, "
            f"or change --model and --dataset"
        )
    parts = PARTS if plan.select != "last" else ("train", "test")
    request = Request(
        folders,
        plan.encoders,
        plan.data_options(),
        Path(output),
        parts,
        in_memory=in_memory,
        say=hooks.say,
        watch=hooks.watch,
    )
    with accelerator().main_process_first():  # the others find what the first has made
        opened = dataset_of(plan.dataset).open(request)
    return runs.run(plan, opened, Path(output), seeds=seeds, resume=resume, say=hooks.say)


def _is_own(dataset: str | Path) -> bool:
    return Path(dataset).is_dir() and str(dataset) not in DATASETS


def _toml(value: Any) -> str:
    return f"[{', '.join(repr(item) for item in value)}]" if isinstance(value, list) else str(value)


def _distil(
    values: dict[str, Any],
    dataset: str,
    model: str,
    folders: Sequence[Path],
    out: Path,
    weights: dict[str, Path],
    resume: bool,
    hooks: Hooks,
) -> None:
    """Teach the sound encoder."""
    recipe = recipes.build(distil.DistilRecipe, values)
    if dataset != "sounds":
        raise UsageError(f"{model} learns from sounds, not from {dataset}")
    files = {name or recipe.teacher: path for name, path in weights.items()}
    path = distil.train(recipe, folders, out, weights=files, resume=resume)
    hooks.say(f"weights written to {path}")


def _finetune(
    values: dict[str, Any],
    dataset: str,
    model: str,
    folders: Sequence[Path],
    out: Path,
    weights: dict[str, Path],
    resume: bool,
    hooks: Hooks,
) -> None:
    """Tune a picture encoder to sounds, on the train and val videos of AVE or of one's own table."""
    recipe = recipes.build(finetune.FinetuneRecipe, values)
    if recipe.picture != model:
        raise UsageError(f"this recipe trains {recipe.picture}, not {model}")
    if len(folders) != 1:
        raise UsageError(f"{dataset} wants one folder with --data, not {len(folders)}")
    if dataset == FOLDER:
        videos = finetune_data.own_videos(folders[0])
    else:
        videos = finetune_data.ave_videos(folders[0], find_inputs([str(folders[0])], recursive=True))
    path = finetune.run(recipe, videos, out, resume=resume, say=hooks.say)
    hooks.say(f"written: {path}; avel extract -e {model} --weights {model}={path} uses it")


def evaluate(
    dataset: str | Path,
    model: str = "auto",
    data: Sequence[str | Path] = (),
    *,
    weights: Mapping[str, Path] | None = None,
    task: EvalTask | None = None,
    output: str | Path = "runs",
    offline: bool = False,
    device: str = "auto",
    hooks: Hooks = SILENT,
) -> Report:
    """Measure weights on the test part of a data set; pictures of the figures are written to `output`.

    Args:
        dataset: a name that `avel eval --help` lists, or the folder of one's own videos with `labels.csv`.
        model: weights by name, or a weights file.
        data: folders of the data set.
        weights: files of published models, by name; `unav` is a checkpoint as UnAV's authors publish it.
        task: `cross-modal` asks where in one modality the event of the other is; None takes that of the weights.
        output: folder for pictures, and for what is made of the data.
        offline: open no connection.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        hooks: who is told how it goes.

    Raises:
        UsageError: if the weights are for something else.
        ModelError: if they cannot be had.
        SetupError: if data are missing.
    """
    own, out = _is_own(dataset), Path(output)
    name = FOLDER if own else str(dataset)
    folders = tuple(map(Path, (dataset, *data) if own else data))
    files = dict(weights or {})
    if not folders:
        raise UsageError(f"--dataset {dataset} wants its folder: --data DIR")
    if files and (name == "starter" or model.endswith(".safetensors")):
        raise UsageError("--weights is for files of published models; give what avel train wrote with -m FILE")
    if task and name in ("starter", "unav100"):
        raise UsageError(f"--task is for AVE and your own clips; {name} has one task")
    if task == "cross-modal" and own:
        raise UsageError("--task cross-modal is for AVE, whose lists it has; videos of one's own have none")
    if name == "unav100" and files:
        return _measure(*_official(files), name, folders, (), out, offline, device, hooks)
    path = _weights(model, files, offline, hooks)
    header = weights_file.read_header(path)
    subject = Subject(header["name"], weights_file.sha256(path), _selection(header), tuple(header["labels"]))
    if name == "ave" and task == "cross-modal":
        figures = evaluate_cross_modal(path, _only(folders), device=device)
        return REPORTS["matching"](subject, figures, Data({}, (), {}, ()), out)
    if name == "ave":
        check_lists(path, _only(folders), "localization")
    localizer = localizers.load(path)
    if task == "weak" != localizer.supervision:
        raise UsageError(f"{path}: learnt with labels of segments; there is no weak protocol for it")
    options = _composed(header) if name == "starter" else {}
    return _measure(subject, localizer, name, folders, tuple(header["encoders"]), out, offline, device, hooks, options)


def _composed(header: Mapping[str, Any]) -> dict[str, Any]:
    """What the clips or sequences were composed of that weights learnt from.

    Raises:
        ModelError: if they did not learn from any.
    """
    recipe = header.get("recipe", {})
    if "data" not in recipe and header["name"] in recipes.shipped():  # written before recipes had a table of data
        recipe = recipes.read(header["name"])[1]
    if recipe.get("dataset") != "starter":
        raise ModelError(f"{header['name']} was not trained on composed clips; there is nothing to measure it on")
    options: dict[str, Any] = recipe["data"]
    return options


def _only(folders: Sequence[Path]) -> Path:
    if len(folders) != 1:
        raise UsageError(f"ave wants one folder with --data, not {len(folders)}")
    return folders[0]


def _selection(header: Mapping[str, Any]) -> str:
    return str(header.get("selection") or header["figures"].get("selection") or "as published")


def _weights(model: str, files: Mapping[str, Path], offline: bool, hooks: Hooks) -> Path:
    """The weights file, fetched if it must be."""
    card = registry.model(model)
    if card.own or (card.path.is_file() and not files):
        return card.path
    named = {name or card.name: path for name, path in files.items()}
    ready = published.prepare([card.name], offline=offline, files=named, say=hooks.say, watch=hooks.download)
    return ready[card.name]


def _official(files: Mapping[str, Path]) -> tuple[Subject, Localizer]:
    """A checkpoint of UnAV as its authors publish it, whose inputs are padded as theirs.

    Raises:
        UsageError: if the file stands for something else.
        ModelError: if it is no such checkpoint.
    """
    if len(files) != 1 or not files.keys() <= {UNAV, ""}:
        raise UsageError(f"--weights can be given for {UNAV} here, not for {', '.join(files)}; or use -m FILE")
    (path,) = files.values()
    state = foreign.read(path, objects=True)  # their training keeps its optimizer and schedule in the file
    config = official_config(state, 224)
    network = UnAV(config)
    network.load_state_dict(from_official(state, config))
    network.eval().requires_grad_(False)
    return Subject("unav.official", weights_file.sha256(path), "as its authors publish it"), network


def _measure(
    subject: Subject,
    localizer: Localizer,
    name: str,
    folders: tuple[Path, ...],
    encoders: tuple[str, ...],
    out: Path,
    offline: bool,
    device: str,
    hooks: Hooks,
    options: Mapping[str, Any] | None = None,
) -> Report:
    """Figures on the test part of the data that the localizer is for."""
    row = dataset_of(name)
    if localizer.task not in row.tasks:
        raise UsageError(f"{subject.name}: its task is {localizer.task}; {name} is for {' and '.join(row.tasks)}")
    parts: tuple[Part, ...] = ("val", "test") if localizer.task == "labels" else ("test",)
    chosen: Any = recipes.build(row.Options, row.options_for(localizer, dict(options or {})), "data.")
    request = Request(folders, encoders, chosen, out, parts, offline=offline, say=hooks.say, watch=hooks.watch)
    data = row.open(request)
    if data.note:
        hooks.say(data.note)
    _check(subject, localizer, data)
    figures = task_of(localizer).figures(localizer.to(choose_device(device)), data, "test")
    return REPORTS[localizer.task](subject, figures, data, out)


def _check(subject: Subject, localizer: Localizer, data: Data) -> None:
    """Whether the features and labels are those that a network was made for.

    Raises:
        UsageError: if they are not; the text names the first difference.
    """
    config = localizer.config
    here = {**data.sizes, "num_classes": len(data.labels)}
    wanted = {key: getattr(config, key) for key in here}
    if here != wanted:
        raise UsageError(
            f"{subject.name} is for sound features {wanted.get('audio_dim')} wide, pictures {wanted.get('visual_dim')} "
            f"wide and {wanted['num_classes']} labels; the data has {here.get('audio_dim')}, {here.get('visual_dim')} "
            f"and {here['num_classes']}"
        )
    for number, (own, other) in enumerate(zip(subject.labels or data.labels, data.labels, strict=True), 1):
        if own != other:
            raise UsageError(
                f"{subject.name} knows other labels than the data: label {number} is {own!r} there, {other!r} here"
            )
