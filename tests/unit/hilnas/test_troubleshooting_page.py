"""The page of troubles has every type of error that there is, and no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from hilnas.client import errors
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Validity
from server.core.http.problem_types import PROBLEM_TYPES

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/troubleshooting.md").read_text(encoding="utf-8")
EXCEPTIONS = {
    name
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.HilnasError) and kind.__module__ == errors.__name__
}
SECTIONS = {
    "In Python": EXCEPTIONS,
    "Answers of the server": set(PROBLEM_TYPES),
    "Jobs that failed": {one.value for one in FailureType},
    "Flags of measurements": {one.value for one in Validity},
}


def rows_of(section: str) -> list[list[str]]:
    """Cells of the rows of a section's table."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_type_is_on_the_page_once_and_no_other(section: str) -> None:
    names = [re.sub(r"[`\s]", "", row[0]) for row in rows_of(section)]
    assert sorted(names) == sorted(SECTIONS[section])


@pytest.mark.parametrize("section", SECTIONS)
def test_every_type_says_what_it_means_and_what_to_do(section: str) -> None:
    for row in rows_of(section):
        assert all(len(cell.strip()) > 3 for cell in row[-2:] if "status" not in cell), row
        assert row[-1].strip().endswith((".", "`.", "anew.")), row


def test_the_page_says_of_problems_what_the_server_says() -> None:
    for row in rows_of("Answers of the server"):
        problem = PROBLEM_TYPES[row[0].strip(" `")]
        assert [cell.strip() for cell in row[1:]] == [str(problem.status.value), problem.title, problem.remedy]
