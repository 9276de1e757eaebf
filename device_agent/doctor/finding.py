"""What the doctor finds: one line each, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class FindingLevel(Enum):
    """Whether a finding stands in the way of measuring (FAIL), weakens it (WARN) or is fine."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what it is, what was found, and what to do about it (empty when nothing)."""

    verdict: FindingLevel
    what: str
    found: str
    remedy: str = ""

    def text(self) -> str:
        """One line, and one more for the remedy."""
        mark = "FAIL" if self.verdict is FindingLevel.FAIL else self.verdict.value
        line = f"{mark:>4}  {self.what:<18} {self.found}\n"
        return line + (f"      {'':<18} -> {self.remedy}\n" if self.remedy else "")


def findings_to_json(findings: Sequence[Finding]) -> str:
    """`{"can_measure": ..., "findings": [{"verdict", "what", "found", "remedy"}]}` on one line."""
    rows = [{"verdict": f.verdict.value, "what": f.what, "found": f.found, "remedy": f.remedy} for f in findings]
    return json.dumps({"can_measure": can_measure(findings), "findings": rows}) + "\n"


def can_measure(findings: Sequence[Finding]) -> bool:
    """Whether nothing stands in the way of measuring here."""
    return all(f.verdict is not FindingLevel.FAIL for f in findings)
