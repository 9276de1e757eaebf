"""Reading and writing the pieces of a search checkpoint: plain JSON, exact for every double, checked on the way in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError, SearchStateError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import metric_named
from nas_engine.search.algorithm import Observation


def as_mapping(value: JsonValue, what: str) -> Mapping[str, JsonValue]:
    """`value` as a JSON object.

    Raises:
        SearchStateError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise SearchStateError(f"checkpoint: {what} must be an object, found {type(value).__name__}")
    return value


def as_sequence(value: JsonValue, what: str) -> Sequence[JsonValue]:
    """`value` as a JSON array.

    Raises:
        SearchStateError: it is something else.
    """
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise SearchStateError(f"checkpoint: {what} must be an array, found {type(value).__name__}")
    return value


def as_int(value: JsonValue, what: str) -> int:
    """`value` as an integer.

    Raises:
        SearchStateError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise SearchStateError(f"checkpoint: {what} must be an integer, found {value!r}")
    return value


def field_of(document: Mapping[str, JsonValue], name: str) -> JsonValue:
    """The value of field `name`.

    Raises:
        SearchStateError: the field is missing.
    """
    if name not in document:
        raise SearchStateError(f"checkpoint: field {name!r} is missing; the document is damaged or of another version")
    return document[name]


def encode_float(value: float) -> JsonValue:
    """A double as JSON; infinities (extreme points of a front have an infinite crowding distance) as text."""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if math.isnan(value):
        raise SearchStateError("checkpoint: NaN cannot be stored")
    return float(value)


def decode_float(value: JsonValue, what: str) -> float:
    """Inverse of `encode_float`.

    Raises:
        SearchStateError: neither a number nor an infinity.
    """
    if value in ("inf", "-inf"):
        return math.inf if value == "inf" else -math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SearchStateError(f"checkpoint: {what} must be a number, found {value!r}")
    return float(value)


def encode_rng(rng: np.random.Generator) -> JsonValue:
    """State of a PCG64 generator; its 128-bit integers as decimal text (JSON readers round large integers)."""
    state = rng.bit_generator.state
    return {
        "bit_generator": state["bit_generator"],
        "state": str(state["state"]["state"]),
        "inc": str(state["state"]["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def decode_rng(value: JsonValue) -> np.random.Generator:
    """Inverse of `encode_rng`.

    Raises:
        SearchStateError: not the state of a PCG64 generator.
    """
    document = as_mapping(value, "rng")
    generator = np.random.PCG64()
    try:
        generator.state = {
            "bit_generator": str(field_of(document, "bit_generator")),
            "state": {"state": int(str(document["state"])), "inc": int(str(document["inc"]))},
            "has_uint32": as_int(field_of(document, "has_uint32"), "rng.has_uint32"),
            "uinteger": as_int(field_of(document, "uinteger"), "rng.uinteger"),
        }
    except (SearchStateError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise SearchStateError(f"checkpoint: rng is not the state of a PCG64 generator ({error})") from error
    return np.random.Generator(generator)


def decode_genotype(value: JsonValue, num_choices: Sequence[int]) -> Genotype:
    """A genotype with every gene in range.

    Raises:
        SearchStateError: wrong length or a gene out of range.
    """
    genes = tuple(as_int(item, "gene") for item in as_sequence(value, "genotype"))
    if len(genes) != len(num_choices) or any(not 0 <= g < n for g, n in zip(genes, num_choices, strict=False)):
        raise SearchStateError(f"checkpoint: genotype {list(genes)} does not belong to this search space")
    return genes


def decode_genotypes(value: JsonValue, what: str, num_choices: Sequence[int]) -> list[Genotype]:
    """A list of genotypes. Raises as `decode_genotype`."""
    return [decode_genotype(item, num_choices) for item in as_sequence(value, what)]


def encode_observation(observation: Observation) -> JsonValue:
    """A result as JSON."""
    return {
        "genotype": list(observation.genotype),
        "objectives": {metric.name: float(value) for metric, value in observation.objectives.items()},
        "uncertainty": {metric.name: float(value) for metric, value in observation.uncertainty.items()},
        "violations": {name: float(value) for name, value in observation.violations.items()},
    }


def decode_observation(value: JsonValue, num_choices: Sequence[int], metrics: Sequence[Metric]) -> Observation:
    """Inverse of `encode_observation`.

    Raises:
        SearchStateError: a field is missing, an unknown metric, or a value that may not be told.
    """
    document = as_mapping(value, "result")
    return Observation(
        genotype=decode_genotype(field_of(document, "genotype"), num_choices),
        objectives=decode_metrics(field_of(document, "objectives"), "objectives", metrics),
        uncertainty=decode_metrics(field_of(document, "uncertainty"), "uncertainty", metrics),
        violations={
            name: decode_float(amount, f"violation {name}")
            for name, amount in as_mapping(field_of(document, "violations"), "violations").items()
        },
    )


def decode_metrics(value: JsonValue, what: str, metrics: Sequence[Metric]) -> dict[Metric, float]:
    """Values by metric label; `metrics` are those of the problem.

    Raises:
        SearchStateError: an unknown metric or a value that is no number.
    """
    values = as_mapping(value, what)
    return {decode_metric(name, metrics): decode_float(v, f"{what}.{name}") for name, v in values.items()}


def decode_metric(label: str, metrics: Sequence[Metric]) -> Metric:
    """The metric of a label: one of the problem's, which a search may have declared itself, else a registered one.

    Raises:
        SearchStateError: no metric has that label.
    """
    own = next((metric for metric in metrics if metric.name == label), None)
    try:
        return metric_named(label) if own is None else own
    except EngineError as error:
        raise SearchStateError(f"checkpoint: {error}") from error


def decode_pair(value: JsonValue, what: str) -> tuple[float, float]:
    """An array of exactly two numbers.

    Raises:
        SearchStateError: it is something else.
    """
    items = as_sequence(value, what)
    if len(items) != 2:
        raise SearchStateError(f"checkpoint: {what} must hold pairs, found {len(items)} values")
    return decode_float(items[0], what), decode_float(items[1], what)
