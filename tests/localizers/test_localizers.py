"""The table of localizers."""

import subprocess
import sys

import pytest
import torch

from avel_cli.errors import UsageError
from avel_cli.localizers import LOCALIZERS, localizer_class
from avel_cli.localizers.tagged.tags import TagsConfig

LONE = TagsConfig(1, 1280, ((0,),), ((0,),), ((),))  # one label
NEEDED = {"tagged": {"network": "cace-net", "tags": LONE}, "tagged-loco": {"tags": LONE}}


def test_reading_the_table_does_not_load_torch() -> None:
    code = "import sys, avel_cli.localizers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", LOCALIZERS)
def test_every_entry_is_a_network_built_from_its_config(name) -> None:
    localizer = localizer_class(name)
    config = localizer.Config(**NEEDED.get(name, {}))
    with torch.device("meta"):
        assert localizer(config).config == config


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all() -> None:
    with pytest.raises(UsageError, match='did you mean "cace-net"'):
        localizer_class("cacenet")
    with pytest.raises(UsageError, match=r"there are .*cace-net"):
        localizer_class("xyz")
