"""The spec of a search that is launched again from another, with changes."""

from __future__ import annotations

from collections.abc import Mapping

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.training import TrainingSpec
from server.candidates.search import Search
from server.candidates.spec import SearchSpec
from server.core.errors import InvalidSpecError, SpecViolation
from server.core.merge_patch import merged


def cloned_document(search: Search, spec: SearchSpec, patch: JsonValue, *, train_again: bool) -> dict[str, JsonValue]:
    """Give the document of a search spec made from another one's by a JSON merge patch (RFC 7396).

    Two members are read with their meaning. A supernet that was trained with the search is named by its id, so that it
    is not trained again, unless `train_again` or the patch gives settings of its training. Settings of another kind of
    algorithm than the patch names are left out.

    Args:
        search: that is cloned.
        spec: of it, as it stands or as it was launched.
        patch: what is to be different.
        train_again: whether the training that the spec holds is ordered anew.

    Raises:
        InvalidSpecError: the patch is no object.
    """
    if not isinstance(patch, Mapping):
        message = f"a merge patch of a search spec is an object of its members, not {type(patch).__name__}"
        raise InvalidSpecError([SpecViolation("", message)])
    document: dict[str, JsonValue] = spec.model_dump(mode="json")
    trains = train_again or isinstance(patch.get("supernet"), Mapping)
    if isinstance(spec.supernet, TrainingSpec) and search.supernet_id is not None and not trains:
        document["supernet"] = search.supernet_id
    match patch.get("algorithm"):
        case {"kind": kind} if kind != spec.algorithm.kind:
            document.pop("algorithm")
    found = merged(document, patch)
    assert isinstance(found, dict)
    return found
