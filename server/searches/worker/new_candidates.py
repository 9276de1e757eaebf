"""What is stored of a candidate when it is asked."""

from __future__ import annotations

from collections.abc import Mapping

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import is_cheap
from nas_engine.domain.views.graph_metrics import graph_value
from server.candidates.boards import OWN_DEVICE
from server.candidates.candidate import MetricValue
from server.candidates.spec import SearchSpec
from server.candidates.states import EvaluationSource
from server.searches.steps.step import NewCandidate
from server.spaces.architecture import ArchitectureRecord
from server.spaces.catalog import SpaceCatalog


def describe_candidate(
    spaces: SpaceCatalog, spec: SearchSpec, genotype: Genotype, provenance: JsonValue
) -> NewCandidate:
    """Decode a genotype, with its latency key on each board that measures it and what is known without evaluating."""
    record = spaces.decode(spec.space.id, spec.space.parameters, genotype)
    keys = {
        board.name: spaces.latency_key(record.architecture, dtype=board.device.dtype, batch=board.device.batch)
        for board in spec.measured_boards()
    }
    known = spaces.known_values(spec.space.id, spec.space.parameters, genotype)
    return NewCandidate(
        genotype=genotype,
        record=record,
        latency_key=keys.pop(OWN_DEVICE, None),
        latency_keys={name: key for name, key in keys.items() if key is not None},
        known=known,
        counted=_counted(spaces, spec, record),
        provenance=provenance,
    )


def _counted(spaces: SpaceCatalog, spec: SearchSpec, record: ArchitectureRecord) -> Mapping[Metric, MetricValue]:
    """Compute what the search wants of the layer graph beside what every architecture's record holds."""
    wanted = [metric for metric in spec.metrics() if is_cheap(metric) and metric.name not in record.values]
    graph = spaces.graph(record.architecture) if wanted else None
    if graph is None:
        return {}
    settings = spec.metric_settings()
    values = {metric: graph_value(metric, graph, settings[metric.name]) for metric in wanted}
    return {
        metric: MetricValue(metric=metric, value=value, source=EvaluationSource.GRAPH)
        for metric, value in values.items()
    }
