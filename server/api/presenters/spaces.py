"""Search spaces, data sets and decoded architectures as resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.domain.json_value import JsonValue
from server.api.schemas.spaces import (
    DatasetResource,
    DecodedResource,
    GeneResource,
    LayerResource,
    NamedArchitectureResource,
    SpaceDetail,
    SpaceResource,
)
from server.service.ports.engine import DatasetDescription, SpaceDescription
from server.service.values.candidate import ArchitectureRecord


def space_resource(space: SpaceDescription) -> SpaceResource:
    """One space, in short."""
    return SpaceResource(
        id=space.id,
        title=space.title,
        num_genes=len(space.genes),
        size=space.size,
        num_classes=space.num_classes,
        input_shapes=[list(shape) for shape in space.input_shapes],
        has_graphs=space.has_graphs,
        named=[NamedArchitectureResource(name=name, source=source) for name, source in space.named.items()],
    )


def space_detail(space: SpaceDescription) -> SpaceDetail:
    """One space with parameters and genes."""
    genes = [
        GeneResource.model_validate(
            {"name": gene.name, "group": gene.group, "kind": gene.kind, "options": list(gene.options)}
        )
        for gene in space.genes
    ]
    return SpaceDetail(**dict(space_resource(space)), parameters=dict(space.parameters), genes=genes)


def decoded_resource(
    record: ArchitectureRecord,
    space: SpaceDescription,
    input_shape: Sequence[int] | None,
    layers: Sequence[Mapping[str, JsonValue]] | None,
    svg: str | None,
) -> DecodedResource:
    """One architecture with what it costs."""
    return DecodedResource(
        space=space.id,
        arch_id=record.arch_id,
        genotype=None if record.genotype is None else list(record.genotype),
        architecture=record.architecture.choices_value(),
        num_classes=space.num_classes,
        input_shape=None if input_shape is None else list(input_shape),
        macs=record.macs,
        params=record.params,
        peak_activation_bytes=record.peak_activation_bytes,
        layers=None if layers is None else [LayerResource.model_validate(layer) for layer in layers],
        svg=svg,
    )


def dataset_resource(dataset: DatasetDescription) -> DatasetResource:
    """One data set."""
    return DatasetResource(
        name=dataset.name,
        title=dataset.title,
        num_classes=dataset.num_classes,
        image_shape=None if dataset.image_shape is None else list(dataset.image_shape),
        num_train_images=dataset.num_train,
        num_validation_images=dataset.num_validation,
        num_test_images=dataset.num_test,
    )
