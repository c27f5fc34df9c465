"""The library as people use it: options by name, timelines that can be looped over, read again and shown."""

from __future__ import annotations

import inspect
import json

import click
import pytest

import avel_cli
from avel_cli.cli.main import avel
from avel_cli.errors import InputError, UsageError
from avel_cli.timeline.events import Event, Timeline

SAVED = {
    "schema": "avel.timeline/1", "avel": "0.1.0", "file": "a.mp4", "duration": 9.0, "media": {}, "model": {},
    "grid": {}, "parameters": {}, "labels": ["dog"], "events": [], "reason": None, "warnings": [],
}  # fmt: skip
WRONG = {
    "file": 1, "duration": 1e999, "model": [], "parameters": [1], "labels": [1], "reason": 5, "warnings": [{}],
    "scores": 1, "events": [{"start": 0, "end": 1, "label": 5, "score": 0.5}],
}  # fmt: skip
HOSTILE = [json.dumps({**SAVED, name: value}) for name, value in WRONG.items()]
TIMELINE = Timeline(
    "a<b>.mp4",
    9.0,
    (Event(0, 2, "dog", 0.75, 0.5, 0.25), Event(1.5, 4, "<i>speech</i>", 0.5)),
    ("dog", "<i>speech</i>"),
    best=("dog", 0.75),
)


def test_the_names_of_the_package_are_those_that_it_promises() -> None:
    assert set(dir(avel_cli)) == {"__version__", *avel_cli.__all__}
    assert all(getattr(avel_cli, name) for name in avel_cli.__all__)


def test_a_timeline_is_looped_over_counted_and_shown() -> None:
    assert [event.label for event in TIMELINE] == ["dog", "<i>speech</i>"]
    assert (len(TIMELINE), len(Timeline("a", 1))) == (2, 0)
    assert Timeline("a", 1)  # nothing found is a result
    assert repr(TIMELINE) == "<Timeline of a<b>.mp4: 2 events in 9.0 s>"
    page = TIMELINE._repr_html_()
    assert "<td>dog</td>" in page and "&lt;i&gt;speech" in page and "<i>" not in page


def test_a_timeline_is_read_as_it_was_written(tmp_path) -> None:
    TIMELINE.write(tmp_path / "a.json")
    assert Timeline.read(tmp_path / "a.json") == TIMELINE


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", *HOSTILE, '{"schema": "avel.timeline/1", "avel": "0", "events": [1]}', "[" * 9999]
)
def test_what_is_no_timeline_is_an_input_error(text, tmp_path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="not a timeline of avel"):
        Timeline.read(tmp_path / "a.json")
    with pytest.raises(InputError, match="No such file"):
        Timeline.read(tmp_path / "b.json")


def test_detect_takes_all_that_a_detector_takes() -> None:
    of_detector = inspect.signature(avel_cli.Detector).parameters
    of_detect = inspect.signature(avel_cli.detect).parameters
    assert {name: kept.default for name, kept in of_detector.items()}.items() <= {
        name: kept.default for name, kept in of_detect.items()
    }.items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_scor": 0.5}, 'no option is called "min_scor"; did you mean "min_score"'),
        ({"min_score": 1.5}, "min_score is 1.5; it must be from 0 to 1"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"min_duration": -1}, "min_duration is -1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"show": "none"}, "show is 'none'; it must be one of both, heard, seen, all"),
    ],
)
def test_options_are_checked(changes, message) -> None:
    from avel_cli.pipeline import chosen

    with pytest.raises(UsageError, match=message):
        chosen(avel_cli.Options(), changes)


def test_one_label_may_stand_for_a_tuple_of_it() -> None:
    from avel_cli.pipeline import chosen

    assert chosen(avel_cli.Options(top_k=3), {"labels": "dog"}) == avel_cli.Options(labels=("dog",), top_k=3)


@pytest.mark.parametrize(("verb", "command"), [("train", "train"), ("evaluate", "eval"), ("extract", "extract")])
def test_functions_take_what_their_commands_take_with_the_same_defaults(verb: str, command: str) -> None:
    program = avel.get_command(click.Context(avel), command)
    options = {param.name: param for param in program.params if param.expose_value and param.name != "as_json"}
    arguments = dict(inspect.signature(getattr(avel_cli, verb)).parameters)
    assert arguments.pop("hooks").default is not None
    assert options.keys() == arguments.keys()
    for name, argument in arguments.items():
        if argument.default is not inspect.Parameter.empty:
            default = options[name].to_info_dict()["default"]
            assert str(default or None) == str(argument.default or None), name
