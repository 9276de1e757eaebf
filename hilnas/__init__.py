"""The Python door to a hilnas server.

    import hilnas

    with hilnas.connect() as nas:
        search = nas.searches.create({"space": {"id": "spos"}, ...}).wait()
        search.to_pandas()

`connect` finds the address and the token as the ``hilnas`` command does; `connect_async` gives a client whose calls are
awaited. The public names are those of
`hilnas.public`, and those of `hilnas.plugins`, which packages declare with what they bring. Importing this package
loads the standard library alone; they are loaded when the first of them is used, and those of `hilnas.public` need the
``client`` extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hilnas.plugins import *  # noqa: F403
    from hilnas.public import *  # noqa: F403


def __getattr__(name: str) -> object:
    """Give a public name its value.

    Raises:
        ModuleNotFoundError: the ``client`` extra is not installed.
    """
    # Python asks for these while it imports a package: they must not load anything.
    if name.startswith("_"):
        raise AttributeError(f"module 'hilnas' has no attribute {name!r}")
    plugins = import_module("hilnas.plugins")
    source = plugins if name in plugins.__all__ else import_module("hilnas.public")
    if name not in source.__all__:
        names = ", ".join((*source.__all__, *plugins.__all__))
        raise AttributeError(f"module 'hilnas' has no attribute {name!r}: it has {names}")
    value: object = getattr(source, name)
    return value


def __dir__() -> list[str]:
    names = (import_module(module).__all__ for module in ("hilnas.plugins", "hilnas.public"))
    return sorted({*globals(), *(name for of_module in names for name in of_module)})
