"""Supernets that were trained elsewhere: read, checked against their space, uploaded with where they come from.

The one part of ``hilnas supernets`` that needs the extra `engine`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import TrainingSpec
from nas_engine.spaces.registry import create_space

if TYPE_CHECKING:
    from hilnas.client.core.group import Document
    from nas_engine.supernet.weights import WeightStore

OWN_LAYOUT = "hilnas"


@dataclass(frozen=True, slots=True)
class ImportedSupernet:
    """What is registered of a file.

    Attributes:
        spec: that the weights were trained with.
        weights: of exactly the spec's space.
        provenance: by name, for people.
        remarks: what of the file was left out, and the licence of its weights.
    """

    spec: TrainingSpec
    weights: WeightStore
    provenance: Mapping[str, str]
    remarks: tuple[str, ...]


def imported_supernet(file: Path, layout: str, document: Document, changes: Document) -> ImportedSupernet:
    """Read a file of weights, all of it or not at all.

    Args:
        layout: `hilnas` for what `nas_engine.training.command` or a server wrote, else one of the published.
        document: spec of the training; of a published layout absent fields are those of the paper's preset.
        changes: options of the command, which win.

    Raises:
        SpecFileError: there is no such layout, or no spec.
        WeightsError: the file is not of the layout, or of another space.
    """
    from nas_engine.supernet.published.checkpoint import read_checkpoint
    from nas_engine.supernet.published.layouts import LAYOUTS
    from nas_engine.supernet.weights import WeightStore

    digest = _digest(file)
    if layout == OWN_LAYOUT:
        document = document or _recipe_in(file)
        if not document:
            raise SpecFileError(f"{file} does not say what it was trained with: give --spec FILE")
        spec = _spec({**document, **changes})
        space = create_space(spec.space.id, spec.space.parameters)
        weights = WeightStore.load(file, tuple(space.supernet_graphs()))
        return ImportedSupernet(spec, weights, {"file": file.name, "file_sha256": digest}, ())
    if layout not in LAYOUTS:
        known = (OWN_LAYOUT, *LAYOUTS)
        raise SpecFileError(f"unknown layout {layout!r}: known are {', '.join(known)}{did_you_mean(layout, known)}")
    published = LAYOUTS[layout]
    preset = TRAINING_PRESETS[published.preset].spec.model_dump(mode="json")
    spec = _spec({**preset, "name": f"{layout}-published", **document, **changes})
    if (spec.space.id, dict(spec.space.parameters)) != (published.space_id, {}):
        raise SpecFileError(f"weights of layout {layout} are of space {published.space_id} as published: leave it so")
    read = published.read(read_checkpoint(file))
    provenance = {
        "layout": layout,
        "source": published.source,
        "licence": published.licence,
        "file": file.name,
        "file_sha256": digest,
    }
    remarks = [f"licence of these weights: {published.licence}"]
    remarks += [f"{one.num_tensors} tensors ({one.num_numbers} numbers) left out: {one.rule}" for one in read.left_out]
    remarks += [f"changed on the way: {one}" for one in published.changes]
    return ImportedSupernet(spec, read.weights, provenance, tuple(remarks))


def _spec(document: Mapping[str, JsonValue]) -> TrainingSpec:
    try:
        return TrainingSpec.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecFileError(f"/{'/'.join(map(str, first['loc']))}: {first['msg']}") from error


def _recipe_in(file: Path) -> Document:
    """The recipe that `nas_engine.training.command` writes beside the weights; empty where there is none."""
    from nas_engine.supernet.tensor_file import read_tensors

    _, metadata = read_tensors(file)
    recipe = json.loads(metadata.get("recipe", "{}"))
    return {field: value for field, value in recipe.items() if field != "images"}


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
