"""The Python door to a hilnas server.

    import hilnas

    with hilnas.connect() as nas:
        search = nas.searches.create({"space": {"id": "spos"}, ...})
        for event in nas.searches.events(search.id):
            print(event.type, event.data)

`connect` finds the address and the token as the ``hilnas`` command does. The public names are those of
`hilnas.public`. Importing this package loads the standard library alone; they are loaded when the first of them is
used, which needs the ``client`` extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hilnas.public import *  # noqa: F403


def __getattr__(name: str) -> object:
    """Give a public name its value.

    Raises:
        ModuleNotFoundError: the ``client`` extra is not installed.
    """
    # Python asks for these while it imports a package: they must not load anything.
    if name.startswith("_"):
        raise AttributeError(f"module 'hilnas' has no attribute {name!r}")
    public = import_module("hilnas.public")
    if name not in public.__all__:
        raise AttributeError(f"module 'hilnas' has no attribute {name!r}: it has {', '.join(public.__all__)}")
    value: object = getattr(public, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("hilnas.public").__all__})
