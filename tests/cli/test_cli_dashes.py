"""Videos whose names begin with `-`, as identifiers of YouTube's and so of UnAV-100's may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Avel = Callable[..., tuple[int, str, str]]
Clips = Callable[..., None]
NAME = "-Rjmgv0O_p0"


def test_behind_two_dashes_a_name_is_a_name(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(**{NAME: "dog", "--help": "dog dog"})
    code, _, err = avel("detect", "-f", "csv", "--", f"{NAME}.mp4", "--help.mp4")
    assert code == 0, err
    assert Path(f"{NAME}.avel.csv").read_text().splitlines()[1].startswith(f"{NAME}.mp4,0.000")
    assert len(Path("--help.avel.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("argument", ["-films", f"./{NAME}.mp4", "@list.txt"])
def test_folders_paths_and_lists_lead_to_such_names_too(avel: Avel, fake_clips: Clips, argument: str) -> None:
    fake_clips(**{f"-films__{NAME}": "dog", NAME: "dog"})
    Path("list.txt").write_text(f"{NAME}.mp4\n")
    code, _, err = avel("detect", "-o", "-out", "--", argument)
    assert code == 0, err
    assert [path.name for path in Path("-out").iterdir()] == [f"{NAME}.avel.csv"]


def test_a_file_taken_for_options_is_explained(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(**{NAME: "dog"})
    code, _, err = avel("detect", f"{NAME}.mp4")
    assert code == 2
    assert err.endswith(f"For the file of that name: -- {NAME}.mp4 at the end\n")
    assert "For the file" not in avel("detect", "--nonsense", "clip.mp4")[2]
