"""The reference of permissions is the policy itself, as routes ask it.

Regenerate the page after a change with ``python -m tests.golden.test_permissions``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from server.access.permissions import AGENT_POLICY, POLICY
from server.access.token import Role

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "permissions.md"
_BEGIN, _END = "<!-- {name}: begin -->", "<!-- {name}: end -->"
_ROLES = (Role.VIEWER, Role.ENGINEER, Role.AGENT, Role.ADMIN)


def _policy() -> str:
    lines = ["| thing | action | " + " | ".join(role.value for role in _ROLES) + " | operations |"]
    lines.append("|---|---|" + "---|" * (len(_ROLES) + 1))
    for rule in POLICY:
        verdicts = ["everybody"] * len(_ROLES) if rule.others is None else [rule.verdict(role) for role in _ROLES]
        operations = ", ".join(f"`{operation}`" for operation in rule.operations)
        lines.append("| " + " | ".join([rule.kind.value, rule.action.value, *verdicts, operations]) + " |")
    return "\n".join(lines)


def _agents() -> str:
    lines = ["| call | for the device itself | for others |", "|---|---|---|"]
    lines += [f"| `{rule.call}` | {rule.own} | {rule.others} |" for rule in AGENT_POLICY]
    return "\n".join(lines)


def _page_with_tables(page: str) -> str:
    for name, table in (("policy", _policy()), ("agents", _agents())):
        begin, end = _BEGIN.format(name=name), _END.format(name=name)
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return page


def test_the_reference_of_permissions_is_the_policy() -> None:
    page = _PAGE.read_text(encoding="utf-8")
    assert page == _page_with_tables(page), "the policy has changed: run `python -m tests.golden.test_permissions`"


def test_an_admin_may_do_everything_and_nobody_more_than_an_engineer_beside() -> None:
    for rule in POLICY:
        allowed = {role: rule.verdict(role) for role in _ROLES}
        assert allowed[Role.ADMIN] == "all", rule
        assert (allowed[Role.AGENT] == "all") is (rule.others is None), rule
        if allowed[Role.VIEWER] != "none":
            assert allowed[Role.ENGINEER] in ("all", allowed[Role.VIEWER]), rule


if __name__ == "__main__":
    _PAGE.write_text(_page_with_tables(_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {_PAGE}\n")
