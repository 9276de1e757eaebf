"""Search spaces, data sets and decoded architectures as resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.objective import Metric
from server.core.http.resources import MetricLabel
from server.spaces.architecture import ArchitectureRecord, KnownValue
from server.spaces.descriptions import DatasetDescription, SpaceDescription
from server.spaces.schemas import (
    DatasetResource,
    DecodedResource,
    GeneResource,
    LayerResource,
    NamedArchitectureResource,
    RowValueResource,
    SpaceDetail,
    SpaceResource,
)

OUTSIDE_NOTE = "outside the space's own choices: it decodes, but it is no genotype of the space"
TABLE_NOTE = "the space is a table of results: its architectures cannot be drawn, exported or measured"
NO_ROW_NOTE = "the table has no row for this genotype: a search never asks it"


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
        columns=[_label(metric) for metric in space.columns],
        num_rows=space.num_rows,
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
    row: Mapping[Metric, KnownValue] | None = None,
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
        note=_note(record, space, row),
        row={
            _label(metric): RowValueResource(value=known.value, standard_error=known.standard_error)
            for metric, known in row.items()
        }
        if row
        else None,
    )


def _note(record: ArchitectureRecord, space: SpaceDescription, row: Mapping[Metric, KnownValue] | None) -> str | None:
    if not space.has_graphs:
        return TABLE_NOTE if row else f"{NO_ROW_NOTE}; {TABLE_NOTE}"
    return OUTSIDE_NOTE if record.genotype is None else None


def _label(metric: Metric) -> MetricLabel:
    return cast("MetricLabel", metric.label)


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
