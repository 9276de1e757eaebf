"""What a command's exit status says: the one list, which the reference prints."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MISSING_PACKAGE = 3
    UNKNOWN_SIGNER = 4
    UNREACHABLE = 5
    CANNOT_BE_TOLD = 6
    INTERRUPTED = 130


MEANINGS = {
    ExitStatus.DONE: "what was asked for is done; with `--follow`, it was completed",
    ExitStatus.FAILED: "it was refused or failed; one line on standard error says why",
    ExitStatus.USAGE: "the command is spelt wrongly: no such noun, verb or option, or a value that cannot be one",
    ExitStatus.MISSING_PACKAGE: "a package is not installed; the line names the extra that brings it",
    ExitStatus.UNKNOWN_SIGNER: "`hilnas bundles verify`: the bundle is intact, and anybody may have signed it",
    ExitStatus.UNREACHABLE: "no server answers; the line says at which address, and where that was found",
    ExitStatus.CANNOT_BE_TOLD: "`hilnas bundles verify --on`: too noisy to be called the same or not",
    ExitStatus.INTERRUPTED: "Ctrl-C",
}
