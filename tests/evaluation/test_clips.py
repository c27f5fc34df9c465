"""What is judged of clips, and which weights may be."""

from __future__ import annotations

import pytest

from avel_cli.errors import UsageError
from avel_cli.evaluation import clips
from tests.training.made_clips import MadeClips


def test_weights_for_as_many_other_labels_are_refused_and_the_first_is_named() -> None:
    made = MadeClips(4)
    clips.check_labels(list(made.names), made, "x.safetensors")
    text = "^x.safetensors knows other labels than the data: label 2 is 'church bell' there, 'bark' here$"
    with pytest.raises(UsageError, match=text):
        clips.check_labels(["anvil", "church bell", "bark"], made, "x.safetensors")
