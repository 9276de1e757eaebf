"""How many files and connections this process may hold open."""

from __future__ import annotations

import resource

_ENOUGH = 65_536


def raise_file_limit() -> None:
    """Take as many files and connections as the system allows: a thousand open event streams need as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
