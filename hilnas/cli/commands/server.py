"""``hilnas server``: the API process."""

from __future__ import annotations

from collections.abc import Sequence

from server.bootstrap import api


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas server``."""
    return api.main(argv)
