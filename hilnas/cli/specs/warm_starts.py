"""Warm starts as options write them: where the first candidates of a search come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue

MEASURED = "measured"
SEARCH_PREFIX = "srch_"
NAME_PREFIX = "search:"
FILE_PREFIX = "@"


def warm_start_document(sources: Sequence[str], max_candidates: int | None) -> dict[str, JsonValue]:
    """The ``warm_start`` of a spec.

    Args:
        sources: each ``measured``, the id of a search, ``search:NAME``, ``@FILE`` with a list of architectures (JSON or
            YAML), or one architecture: a published name, or a genotype as JSON.
        max_candidates: most that are taken from a search and from the measurements, each; None: the server's default.

    Raises:
        SpecFileError: a file cannot be read, or two searches are named.
    """
    document: dict[str, JsonValue] = {}
    architectures: list[JsonValue] = []
    for source in sources:
        if source == MEASURED:
            document["measured"] = True
        elif source.startswith((SEARCH_PREFIX, NAME_PREFIX)):
            search = source.removeprefix(NAME_PREFIX)
            if document.setdefault("search", search) != search:
                raise SpecFileError(f"a warm start takes one search: {document['search']} or {search}")
        elif source.startswith(FILE_PREFIX):
            architectures += _read(Path(source.removeprefix(FILE_PREFIX)))
        else:
            architectures.append(_architecture(source))
    if architectures:
        document["architectures"] = architectures
    if max_candidates is not None:
        document["max_candidates"] = max_candidates
    return document


def warm_start_text(report: Mapping[str, JsonValue]) -> str | None:
    """Outcome of a warm start in one line; None where a search had none."""
    match report.get("warm_start"):
        case {
            "num_offered": int(num_offered),
            "num_accepted": int(num_accepted),
            "accepted_from": Mapping() as sources,
        }:
            parts = ", ".join(f"{num} from {source}" for source, num in sources.items())
            return f"{num_accepted} of {num_offered} accepted" + (f" ({parts})" if parts else "")
        case _:
            return None


def _architecture(text: str) -> JsonValue:
    try:
        document: JsonValue = json.loads(text)
    except ValueError:
        return text
    # A net_config is a list too; the space reads it as text.
    is_genotype = isinstance(document, list) and all(isinstance(gene, int) for gene in document)
    return document if is_genotype or isinstance(document, dict) else text


def _read(path: Path) -> list[JsonValue]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecFileError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, list) or not document:
        raise SpecFileError(f"{path} holds no architectures: a list of names, genotypes or descriptions is needed")
    return document
