"""`avel` and `python -m avel_cli`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; Ctrl-C is one line even while modules are still being imported."""
    try:
        from avel_cli.cli.main import run

        return run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
