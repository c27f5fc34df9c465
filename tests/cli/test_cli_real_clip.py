"""The real thing: a real clip, the weights that ship, results on disk."""

from __future__ import annotations

import csv
import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from avel_cli.cli.main import run
from avel_cli.hub import registry


@pytest.mark.shared
@pytest.mark.skipif(not registry.models(), reason="the weights that ship are not here")
def test_a_real_clip_becomes_valid_results_in_every_format(clips: Path, tmp_path: Path) -> None:
    formats = ["-f", "csv", "-f", "json", "-f", "srt"]
    assert run(["detect", str(clips / "vas_dog_02677.mp4"), *formats, "-o", str(tmp_path), "--device", "cpu"]) == 0
    found = json.loads((tmp_path / "vas_dog_02677.avel.json").read_text(encoding="utf-8"))
    schema = json.loads(resources.files("avel_cli.writers").joinpath("timeline.schema.json").read_text())
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    assert found["media"]["video"]["codec"] == "h264" and found["duration"] == pytest.approx(6, abs=0.1)
    assert all(len(digest) == 64 for digest in found["model"]["sha256"].values())
    with (tmp_path / "vas_dog_02677.avel.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == [event["label"] for event in found["events"]]
    cues = (tmp_path / "vas_dog_02677.avel.srt").read_text(encoding="utf-8")
    assert all(event["label"] in cues for event in found["events"])
