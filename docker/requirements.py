"""Print what some extras of pyproject.toml need, one requirement a line: lets images install it before our own code."""

import sys
import tomllib
from pathlib import Path


def requirements(extras: list[str]) -> list[str]:
    """Requirements of the extras; extras of our own that they name are resolved, not printed."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: list[str] = list(project["dependencies"])
    waiting, seen = list(extras), set[str]()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in project["optional-dependencies"][extra]:
            own, _, rest = requirement.partition("[")
            if own == project["name"]:
                waiting += rest.rstrip("]").split(",")
            else:
                found.append(requirement)
    return sorted(set(found))


sys.stdout.write("\n".join(requirements(sys.argv[1:])) + "\n")
