"""JSON merge patches (RFC 7396), and what two documents differ in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nas_engine.domain.json_value import JsonValue


def merged(target: JsonValue, patch: JsonValue) -> JsonValue:
    """Apply a patch: members of objects are merged, null takes one away, everything else replaces what there is."""
    if not isinstance(patch, Mapping):
        return patch
    found: dict[str, JsonValue] = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def differences(
    old: JsonValue, new: JsonValue, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], JsonValue, JsonValue]]:
    """Yield each member that differs, with its path and both values, null where one is absent; lists are one value."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            yield from differences(old.get(name), new.get(name), (*path, name))
    elif old != new:
        yield path, old, new
