"""A pipeline without networks: what it finds in a "video" is what the file's text says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from avel_cli.cli.main import run
from avel_cli.errors import MediaError
from avel_cli.hub import registry
from avel_cli.timeline.events import Event, Second, Timeline

LABELS = ("dog", "drum", "speech")
CARD = registry.ModelCard(
    name="cace-net.test",
    localizer="cace-net",
    description="knows three labels",
    labels=LABELS,
    licence="CC0-1.0",
    size_bytes=2_500_000,
    encoders=("sound.test", "picture.test"),
    grid={"start": 0.0, "stride": 1.0, "window": 1.0},
    figures={"accuracy": 0.5},
    path=Path("weights/cace-net.test.safetensors"),
    card=Path("weights/cace-net.test.md"),
)


class FakeOptions(SimpleNamespace):
    """Whatever the command line hands over."""


class FakeDetector:
    """Finds one dog for each time the text of the file says so."""

    description = "cace-net.test: knows three labels"
    labels = LABELS
    made: ClassVar[list[tuple[str, str]]] = []
    asked: ClassVar[list[FakeOptions]] = []

    def __init__(self, model: str = "auto", device: str = "auto", **settings: object) -> None:
        self.made.append((model, device))

    def detect(
        self, path: Path, options: FakeOptions, progress: Callable[[float, float], None] | None = None
    ) -> Timeline:
        self.asked.append(options)
        text = path.read_text()
        if text == "damaged":
            raise MediaError(f"{str(path)!r} cannot be read as video or sound:\nno header")
        if text == "bug":
            raise KeyError("oops")
        if text == "interrupt":
            raise KeyboardInterrupt
        if progress:
            progress(5.0, 10.0)
        events = tuple(Event(2 * i, 2 * i + 1, "dog", 0.5) for i in range(text.count("dog")))
        reason = "the audio track is silent" if text == "silent" else None
        warnings = ("decoded 8.0 of 14.0 s",) if text.endswith("short") else ()
        best = ("drum", 0.12) if text == "guess" else None
        seconds = (Second(3.0, ("dog", 0.9), ("drum", 0.25), ("dog", 0.5)),) if text == "dog" else ()
        return Timeline(str(path), 100.0, events, LABELS, reason, warnings, grid=CARD.grid, best=best, seconds=seconds)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeDetector]:
    """Replaces pipeline and models, and makes an empty folder the current one."""
    FakeDetector.made, FakeDetector.asked = [], []
    fake = SimpleNamespace(Detector=FakeDetector, Options=FakeOptions)
    monkeypatch.setitem(sys.modules, "avel_cli.pipeline", fake)
    monkeypatch.setitem(sys.modules, "avel_cli.published", SimpleNamespace(prepare=lambda names, **settings: {}))
    monkeypatch.setattr(registry, "models", lambda: [CARD])
    monkeypatch.setattr(registry, "DEFAULT", CARD.name)
    monkeypatch.chdir(tmp_path)
    return FakeDetector


@pytest.fixture
def avel(pipeline: type[FakeDetector], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line with the pipeline replaced: exit code, stdout, stderr."""

    def call(*args: str) -> tuple[int, str, str]:
        code = run(args)
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def fake_clips(tmp_path: Path) -> Callable[..., None]:
    """Writes files: name → text, with `__` for a slash."""

    def make(**texts: str) -> None:
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.mp4"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return make
