"""Versions of the agent and of the protocol it speaks."""

from __future__ import annotations

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


def agent_version() -> str:
    """Look up the installed version. Measuring processes are given it: the look-up is slow beside their start."""
    import importlib.metadata

    try:
        return importlib.metadata.version("hilnas")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "0+unknown"
