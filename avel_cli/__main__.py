"""`python -m avel_cli` is `avel`."""

import sys

from avel_cli.cli.main import run

sys.exit(run())
