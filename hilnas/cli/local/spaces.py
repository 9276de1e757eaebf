"""Search spaces looked at on this machine: no server, no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np

from hilnas.cli.local.tables import SUFFIXES, open_table, row_document
from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.domain.views.complexity import Complexity, complexity
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.domain.views.picture import draw_architecture
from nas_engine.export.operators import npu_fallbacks
from nas_engine.spaces.registry import create_space
from nas_engine.spaces.tables.space import TableSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One architecture with what its deployed layer graph says.

    Attributes:
        genotype: canonical choice indices, or None where the architecture lies outside the space's choices.
        choices: the space's own description.
        input_shape: (channels, height, width).
        peak_activation_bytes: see `nas_engine.domain.views.complexity.Complexity`.
        npu_fallbacks: nodes that an RK3588 would run on its processor, with the reason; empty means NPU only.
        num_layers: convolutions, batch normalisations and linear layers.
    """

    space: str
    arch_id: str
    genotype: Genotype | None
    choices: JsonValue
    num_classes: int
    input_shape: tuple[int, ...]
    macs: int
    params: int
    peak_activation_bytes: int
    num_layers: int
    npu_fallbacks: tuple[str, ...]

    def document(self) -> dict[str, JsonValue]:
        """Plain JSON; ``note`` says so where the architecture is no genotype of the space."""
        document = cast("dict[str, JsonValue]", asdict(self))
        if self.genotype is None:
            document["note"] = "outside the space's own choices: it decodes, but it is no genotype of the space"
        return document


def open_space(space_id: str, num_classes: int | None, settings: Sequence[str]) -> SearchSpace:
    """The space with its parameters.

    Args:
        space_id: of a built-in space, or a file that holds a table of results.
        num_classes: None keeps the published number.
        settings: ``name=value`` with a JSON value, e.g. ``stem_stride=1``.

    Raises:
        InvalidSpaceError: unknown space or parameter, or a setting that cannot be read.
    """
    if space_id.lower().endswith(SUFFIXES):
        if num_classes is not None or settings:
            raise InvalidSpaceError("a table of results takes no parameters")
        return open_table(Path(space_id))
    parameters: dict[str, JsonValue] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InvalidSpaceError(f"parameter {setting!r} is not of the form name=value")
        try:
            parameters[name] = json.loads(text)
        except ValueError as error:
            raise InvalidSpaceError(f"value {text!r} of parameter {name} is not JSON: {error}") from error
    if num_classes is not None:
        parameters["num_classes"] = num_classes
    return create_space(space_id, parameters)


def read_architecture(space: SearchSpace, text: str) -> Architecture:
    """The architecture written as a published name, a genotype, a JSON object, or the space's own text form.

    Raises:
        InvalidArchitectureError, InvalidGenotypeError: with what is wrong and what is allowed.
    """
    if text in space.named:
        return space.parse(text)
    try:
        document: JsonValue = json.loads(text)
    except ValueError:
        return space.parse(text)
    is_genotype = isinstance(document, list) and all(isinstance(gene, int) for gene in document)
    # Any other list is a net_config, which the space reads as text (its strings may be in single quotes).
    return space.parse(document if is_genotype or isinstance(document, dict) else text)


def deployed_graph(space: SearchSpace, architecture: Architecture) -> LayerGraph:
    """The stand-alone network.

    Raises:
        InvalidArchitectureError: the space is a table of results and has no networks.
    """
    graph = space.graph(architecture, Form.DEPLOYED)
    if graph is None:
        raise InvalidArchitectureError(f"space {space.space_id} is a table of results: it has no networks to look at")
    return graph


def describe(space: SearchSpace, architecture: Architecture) -> Decoded:
    """What the deployed graph of an architecture says."""
    graph = deployed_graph(space, architecture)
    cost: Complexity = complexity(graph)
    return Decoded(
        space=space.space_id,
        arch_id=architecture.arch_id,
        genotype=space.genotype_of(architecture),
        choices=architecture.choices_value(),
        num_classes=space.num_classes,
        input_shape=graph.input_shape,
        macs=cost.macs,
        params=cost.params,
        peak_activation_bytes=cost.peak_activation_bytes,
        num_layers=len(cost.layers),
        npu_fallbacks=tuple(f"{fallback.node}: {fallback.reason}" for fallback in npu_fallbacks(graph)),
    )


def document_of(space: SearchSpace, architecture: Architecture) -> dict[str, JsonValue]:
    """What is known of an architecture, as plain JSON: from its graph, or from its row of a table."""
    if isinstance(space, TableSpace):
        return row_document(space, architecture)
    return describe(space, architecture).document()


def draw(space: SearchSpace, architecture: Architecture, name: str) -> str:
    """SVG picture of an architecture."""
    return draw_architecture(deployed_graph(space, architecture), title=f"{space.space_id}: {name}")


def sample(space: SearchSpace, num: int, seed: int) -> list[Architecture]:
    """Uniform draws, gene by gene or row by row of a table; equal seeds give equal architectures."""
    rng = np.random.default_rng(seed)
    if isinstance(space, TableSpace):
        return [space.decode(space.rows[int(row)]) for row in rng.integers(len(space.rows), size=num)]
    return [space.decode(sample_genotype(space.genes, rng)) for _ in range(num)]


def export_with_random_weights(space: SearchSpace, architecture: Architecture, seed: int) -> bytes:
    """ONNX with seeded random weights: good for latency, meaningless for accuracy."""
    # Imported here: looking at a space must not need what exporting needs.
    from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin
    from nas_engine.export.onnx import export_onnx
    from nas_engine.export.random_weights import random_weights

    graph = deployed_graph(space, architecture)
    weights, statistics = random_weights(graph, seed)
    metadata = ModelMetadata(
        arch_id=architecture.arch_id,
        latency_key=latency_key(graph, batch=1, dtype=Dtype.FP32),
        weights=WeightOrigin.RANDOM,
        space=architecture.space_id,
    )
    return export_onnx(graph, weights, statistics, metadata=metadata)
