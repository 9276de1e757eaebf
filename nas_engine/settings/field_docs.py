"""Descriptions of fields from the text below them in the source, read where a schema is asked for.

Pydantic's own `use_attribute_docstrings` reads the source of every class as it is made, which is a third of what
starting a server takes; schemas are asked for rarely.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Documented(BaseModel):
    """Base of documents whose fields are described by the text below them.

    Not for models of query parameters: what is said of those is asked for as the routes are made.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties: dict[str, Any] = handler.resolve_ref_schema(schema).get("properties", {})
        for base in cls.__mro__:
            for name, text in _docs_of_module(base.__module__).get(base.__qualname__, {}).items():
                if name in properties:
                    properties[name].setdefault("description", text)
        return schema


@cache
def _docs_of_module(name: str) -> Mapping[str, Mapping[str, str]]:
    """For each class by its qualified name, the text below each annotated field; nothing where there is no source."""
    try:
        source = inspect.getsource(sys.modules[name])
    except (KeyError, OSError, TypeError):
        return {}
    return {qualname: dict(_docs_below_fields(node.body)) for qualname, node in _classes(ast.parse(source).body, "")}


def _classes(statements: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for statement in statements:
        if isinstance(statement, ast.ClassDef):
            yield prefix + statement.name, statement
            yield from _classes(statement.body, f"{prefix}{statement.name}.")


def _docs_below_fields(statements: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in itertools.pairwise(statements):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            yield field.target.id, inspect.cleandoc(below.value.value)
