"""The notebook of the docs, cell by cell, against a real server, worker and agent."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.support.processes.rig import Installation

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs/tutorial/search_from_python.ipynb"


def _cells() -> list[str]:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


def _shown_by(loop: asyncio.AbstractEventLoop, cell: str, names: dict[str, Any], filename: str) -> Any:
    """Run a cell as a notebook does, `await` at its top included; what its last expression is."""
    tree = ast.parse(cell, filename)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    _run(loop, compile(tree, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if not isinstance(last, ast.Expr):
        return None
    return _run(loop, compile(ast.Expression(last.value), filename, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)


def _run(loop: asyncio.AbstractEventLoop, code: CodeType, names: dict[str, Any]) -> Any:
    given = eval(code, names)
    return loop.run_until_complete(given) if inspect.isawaitable(given) else given


def test_the_notebook_runs_from_a_supernet_to_the_network_to_ship(
    nas: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    nas.start("board-1")
    monkeypatch.setenv("HILNAS_URL", nas.api.url)
    monkeypatch.setenv("HILNAS_HOME", str(nas.home))
    names: dict[str, Any] = {}
    shown: list[str] = []
    loop = asyncio.new_event_loop()
    try:
        for number, cell in enumerate(_cells(), 1):
            value = _shown_by(loop, cell, names, f"cell {number}")
            if hasattr(value, "_repr_html_"):
                shown.append(value._repr_html_())
    finally:
        loop.close()
        names["nas"].close()
    assert names["report"].valid
    assert len(names["candidates"]) == 12
    assert all(shown)
    assert sum("<svg" in one for one in shown) >= 4  # curve, search, front, hypervolume
    assert names["answer"].headline
    assert names["names"] == ["notebook search"]
    steps = [point.step for point in names["curve"].points]
    assert steps == sorted(set(steps))
    assert steps[-1] == 100


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
