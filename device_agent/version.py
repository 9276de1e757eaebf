"""Versions of the agent and of the protocol it speaks."""

from __future__ import annotations

import importlib.metadata

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


def _installed_version() -> str:
    try:
        return importlib.metadata.version("hilnas")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "0+unknown"


AGENT_VERSION = _installed_version()
