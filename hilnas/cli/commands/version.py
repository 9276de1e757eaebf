"""``hilnas version``: needs nothing but the standard library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version


def main(argv: Sequence[str]) -> int:
    """Print the installed version."""
    if argv and argv[0] not in {"-h", "--help"}:
        sys.stderr.write(f"hilnas version takes no arguments, got {argv[0]!r}\n")
        return 2
    sys.stdout.write(f"hilnas {version('hilnas')}\n")
    return 0
