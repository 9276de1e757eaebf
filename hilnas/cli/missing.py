"""What a command says where a package is not installed; of the standard library alone."""

from __future__ import annotations

import sys

from hilnas.cli.exit_status import ExitStatus
from hilnas.cli.nouns import NOUNS, OLD_SPELLINGS

COMPLETION_VARIABLE = "_HILNAS_COMPLETE"
"""Set by shells that ask what may come next."""
_OURS = frozenset({"server", "nas_engine", "device_agent", "hilnas"})


def is_ours(error: ModuleNotFoundError) -> bool:
    """Whether what is missing is a part of this product: a mistake in it, and no extra."""
    return (error.name or "").partition(".")[0] in _OURS


def missing(name: str, error: ModuleNotFoundError) -> int:
    """Say which package a command misses and what installs it; returns the exit status."""
    noun = NOUNS.get(OLD_SPELLINGS[name][0] if name in OLD_SPELLINGS else name)
    sys.stderr.write(
        f"hilnas{f' {name}' if name else ''}: the package {error.name!r} is not installed here: "
        f"pip install 'hilnas[{'client' if noun is None else noun.extra}]'\n"
    )
    return ExitStatus.MISSING_PACKAGE
