"""Hand-written fakes of the service's engine ports: one small space and two data sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import Dtype
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import MACS, PARAMS, PEAK_ACTIVATION_BYTES, TOP1
from nas_engine.domain.plugins.doors import own_provider
from server.spaces.architecture import ArchitectureRecord, KnownValue
from server.spaces.descriptions import DatasetDescription, GeneDescription, MetricBounds, SpaceDescription

NUM_GENES, NUM_CHOICES = 4, 4
MACS_PER_CHOICE, BASE_MACS = 1000, 10_000


class FakeSpaces:
    """Space ``toy``: four genes of four choices, MACs grow with the sum of the genes; ``table`` has no graphs."""

    def space_ids(self) -> Sequence[str]:
        return ("toy", "table")

    def describe(self, space_id: str, parameters: Mapping[str, JsonValue]) -> SpaceDescription:
        if space_id not in self.space_ids():
            raise InvalidSpaceError(f"unknown search space {space_id!r}: known are toy, table")
        unknown = set(parameters) - {"num_classes"}
        if unknown:
            raise InvalidSpaceError(f"unknown parameters {sorted(unknown)} of space {space_id}: it takes num_classes")
        num_classes = parameters.get("num_classes", 10)
        assert isinstance(num_classes, int)
        options = tuple(str(choice) for choice in range(NUM_CHOICES))
        return SpaceDescription(
            id=space_id,
            title="A toy",
            parameters={"num_classes": num_classes},
            genes=tuple(
                GeneDescription(name=f"g{i}", options=options, group="all", kind="leaf") for i in range(NUM_GENES)
            ),
            size=NUM_CHOICES**NUM_GENES,
            num_classes=num_classes,
            input_shapes=((1, 28, 28),),
            named={},
            has_graphs=space_id == "toy",
            columns=() if space_id == "toy" else (TOP1, MACS, PARAMS),
            num_rows=None if space_id == "toy" else NUM_CHOICES**NUM_GENES,
        )

    def bounds(
        self,
        space_id: str,
        parameters: Mapping[str, JsonValue],
        metric_settings: Mapping[str, Mapping[str, JsonValue]] | None = None,
    ) -> Mapping[Metric, MetricBounds]:
        del metric_settings
        if not self.describe(space_id, parameters).has_graphs:
            return {}
        most = BASE_MACS + NUM_GENES * (NUM_CHOICES - 1) * MACS_PER_CHOICE
        return {
            MACS: MetricBounds(minimum=BASE_MACS, maximum=most),
            PARAMS: MetricBounds(minimum=100, maximum=100 + NUM_GENES * (NUM_CHOICES - 1)),
            PEAK_ACTIVATION_BYTES: MetricBounds(minimum=4096, maximum=4096),
        }

    def record(self, space_id: str, parameters: Mapping[str, JsonValue], document: JsonValue) -> ArchitectureRecord:
        if not isinstance(document, list):
            raise InvalidArchitectureError(f"{document!r} is not a genotype: give {NUM_GENES} choices")
        return self.decode(space_id, parameters, tuple(document))

    def decode(self, space_id: str, parameters: Mapping[str, JsonValue], genotype: Genotype) -> ArchitectureRecord:
        space = self.describe(space_id, parameters)
        return toy_record(genotype, space.num_classes, space_id)

    def knows(self, space_id: str) -> bool:
        return space_id in self.space_ids()

    def known_values(
        self, space_id: str, parameters: Mapping[str, JsonValue], genotype: Genotype
    ) -> Mapping[Metric, KnownValue]:
        if self.describe(space_id, parameters).has_graphs:
            return {}
        share = sum(genotype) / (NUM_GENES * (NUM_CHOICES - 1))
        return {TOP1: KnownValue(value=share, standard_error=0.01)}

    def latency_key(self, architecture: Architecture, *, dtype: Dtype, batch: int) -> str | None:
        # Like the real one it does not see everything: the last gene changes no latency.
        shape = json.loads(architecture.choices)[:-1]
        return hashlib.sha256(f"{shape}{dtype.value}{batch}".encode()).hexdigest()

    def picture_svg(self, architecture: Architecture, compared_with: Architecture | None = None) -> str:
        del compared_with
        return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{architecture.arch_id}</title></svg>'

    def input_shape(self, architecture: Architecture) -> tuple[int, ...] | None:
        del architecture
        return (1, 28, 28)

    def layers(self, architecture: Architecture) -> Sequence[Mapping[str, JsonValue]]:
        del architecture
        return ()

    def export_onnx(self, architecture: Architecture, *, batch: int, seed: int) -> bytes:
        return f"{architecture.choices}{batch}{seed}".encode()


def toy_record(genotype: Genotype, num_classes: int = 10, space_id: str = "toy") -> ArchitectureRecord:
    """The record of a genotype of the toy space."""
    return ArchitectureRecord(
        architecture=Architecture.of(space_id, {"num_classes": num_classes}, list(genotype)),
        genotype=genotype,
        values={
            "macs": BASE_MACS + sum(genotype) * MACS_PER_CHOICE,
            "params": 100 + sum(genotype),
            "peak_activation_bytes": 4096,
        },
    )


class FakeDatasets:
    """``digits`` with 10 classes, ``animals`` with 37."""

    def __init__(self) -> None:
        hilnas = own_provider()
        self._all = (
            DatasetDescription(name="animals", title="Animals", num_classes=37, kind="folder", provider=hilnas),
            DatasetDescription(
                name="digits", title="Digits", num_classes=10, image_shape=(1, 28, 28), kind="mnist", provider=hilnas
            ),
        )

    def describe(self, name: str) -> DatasetDescription | None:
        return next((d for d in self._all if d.name == name), None)

    def all(self) -> Sequence[DatasetDescription]:
        return self._all

    def absence(self, name: str) -> str:
        return f"unknown data set {name!r}: known are animals, digits"
