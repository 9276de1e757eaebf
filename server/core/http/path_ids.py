"""The shape of ids in paths: ``{search_id:id}`` in a route.

A path with anything else in that place matches no route and is a 404; the colon of custom verbs
(``/searches/{id}:pause``) never becomes part of an id.
"""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class _IdConvertor(Convertor[str]):
    regex = "[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"

    def convert(self, value: str) -> str:
        """From the path."""
        return value

    def to_string(self, value: str) -> str:
        """Into a path."""
        return value


register_url_convertor("id", _IdConvertor())
