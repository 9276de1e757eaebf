"""Groups of calls of the SDK, and answers as the models that the API's documents are made of."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from pydantic import BaseModel, ValidationError

from hilnas.client.core.calls import Carrier, ClientBound, M
from hilnas.client.core.exchange import Exchange
from hilnas.client.core.steps import Call, Item, Items, Params
from hilnas.client.errors import ProtocolError
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.base import STORED

R = TypeVar("R", bound=BaseModel)
Document = Mapping[str, JsonValue]


def read(model: type[R], document: JsonValue) -> R:
    """An answer as its model; names that packages on the server bring need not be known here.

    Raises:
        ProtocolError: it is not one.
    """
    try:
        return model.model_validate(document, context=STORED)
    except ValidationError as error:
        raise ProtocolError(f"the server's answer is no {model.__name__}: {error}") from error


def spec_document(spec: BaseModel | Document) -> JsonValue:
    """What is sent for a spec."""
    return cast(JsonValue, spec.model_dump(mode="json")) if isinstance(spec, BaseModel) else spec


def filters_of(states: Sequence[str], owner: str | None, find: str | None, labels: Mapping[str, str] | None) -> Params:
    """What lists of things with owners and labels are filtered by."""
    carried = [f"{name}:{value}" for name, value in (labels or {}).items()]
    return {"state": list(states), "owner": owner, "find": find, "label": carried}


class Group(ClientBound[M]):
    """Calls that a client carries out."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    @property
    def _http(self) -> Exchange:
        return self._carrier.exchange

    def items(self, path: str, model: type[R], params: Params, limit: int | None = None) -> Items[R]:
        """Every item of a listing, page by page as it is consumed."""
        token: str | None = None
        num = 0
        page_size = 200 if limit is None else min(limit, 200)
        while limit is None or num < limit:
            page = yield from self._http.get(path, {**params, "page_size": page_size, "page_token": token})
            if not isinstance(page, Mapping) or not isinstance(page.get("items"), Sequence):
                raise ProtocolError(f"{path} did not answer with a page of items")
            for item in cast("Sequence[JsonValue]", page["items"]):
                yield Item(self.read(model, item))
                num += 1
                if num == limit:
                    return
            token = cast("str | None", page.get("next_page_token"))
            if token is None:
                return

    def chunks(
        self, path: str, headers: Mapping[str, str], timeout_s: float, params: Params | None = None
    ) -> Items[bytes]:
        """The bytes of an answer as they come."""
        yield from self._http.open(path, headers, timeout_s, params)
        while (chunk := (yield from self._http.chunk())) is not None:
            yield Item(chunk)

    def bundle_of(self, address: str, path: Path, name: str) -> Call[str]:
        """Fetch an evidence bundle into a file, or into a folder under the server's name for it; else under `name`."""
        response = yield from self._http.open(address, {}, 600.0)
        said = re.search(r'filename="([A-Za-z0-9][A-Za-z0-9._+-]*)"', response.headers.get("content-disposition", ""))
        target = path / (f"{name}-evidence.zip" if said is None else said[1]) if path.is_dir() else path
        partial = target.with_name(target.name + ".part")
        with partial.open("wb") as file:
            while (chunk := (yield from self._http.chunk())) is not None:
                file.write(chunk)
        os.replace(partial, target)
        return str(target)

    def read(self, model: type[R], document: JsonValue) -> R:
        """An answer as its model, which is given the client where it has calls of its own. Raises ProtocolError."""
        found = read(model, document)
        if isinstance(found, ClientBound):
            found._carrier = self._carrier
        return found
