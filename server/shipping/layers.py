"""Where a candidate's microseconds go: time per block and layer, measured by a runtime's profiler or simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nas_engine.domain.errors import ExportError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.measuring.cycle_table import RK3588_NPU_CLOCK_HZ, CycleTable
from nas_engine.domain.measuring.layer_times import LayerProfile
from nas_engine.domain.uncertainty import Interval
from nas_engine.domain.views.block_summary import BlockSummary
from nas_engine.domain.views.layer_times import layers_by_block
from server.artifacts.artifact import ModelExport, ModelFormat, WeightsOrigin
from server.artifacts.artifacts import Artifacts
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import Candidate
from server.candidates.candidate_store import CandidateStore
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.measuring.measurement import MeasurementKind, MeasurementRecord
from server.measuring.store import MeasurementStore
from server.spaces.catalog import SpaceCatalog


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """Time of one step of an engine."""

    name: str
    operator: str
    time_us: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTime:
    """Time of one block.

    Attributes:
        summary: the block with its MACs; None for steps that belong to none, such as changes of memory layout.
        share: of the time of all blocks, a fraction.
    """

    summary: BlockSummary | None
    time_us: Interval
    share: float
    layers: tuple[LayerTime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTimes:
    """Times of every block from one source.

    Attributes:
        kind: measured, or simulated; never added to one another.
        source: what told them, for people.
        measurement: that they were taken with; None for a compiler's table.
        num_runs: profiled runs; None for a compiler's table.
        total_us: of all blocks.
    """

    kind: MeasurementKind
    source: str
    measurement: MeasurementRecord | None
    num_runs: int | None
    total_us: Interval
    blocks: tuple[BlockTime, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateLayers:
    """A candidate with its times, measured ones first.

    Attributes:
        trouble: why the last measurement has none, where they were asked for; empty otherwise.
    """

    candidate: Candidate
    tables: tuple[BlockTimes, ...]
    trouble: str = ""


class LayerTimes:
    """Use case of times per layer: only what is known, no board is asked."""

    def __init__(self, uow: UnitOfWork, spaces: SpaceCatalog, artifacts: Artifacts) -> None:
        self._uow = uow
        self._spaces = spaces
        self._artifacts = artifacts

    def of_candidate(self, candidate_id: str) -> CandidateLayers:
        """Every source of times of a candidate's layers on its search's hardware. Raises NotFoundError."""

        def look(
            tx: Transaction,
        ) -> tuple[Candidate, MeasurementRecord | None, LayerProfile | None, ModelExport | None, str]:
            candidate = CandidateStore(tx).get_candidate(candidate_id)
            hardware_key = SearchStore(tx).get_search(candidate.search_id).hardware_key
            if candidate.latency_key is None or hardware_key is None:
                return candidate, None, None, None, ""
            store = MeasurementStore(tx)
            record = store.newest_measurement(candidate.latency_key, hardware_key, with_layers=True)
            newest = store.newest_measurement(candidate.latency_key, hardware_key)
            profile = None if record is None else store.layers_of_measurement(record.id)
            export = ArtifactStore(tx).find_export(
                candidate.latency_key, ModelFormat.RKNN_CYCLES, tuple(WeightsOrigin), None
            )
            return candidate, record, profile, export, "" if newest is None else newest.layers_trouble

        candidate, record, profile, export, trouble = self._uow.read(look)
        graph = self._spaces.graph(candidate.record.architecture)
        tables: list[BlockTimes] = []
        if graph is not None and record is not None and profile is not None:
            tables.append(_profiled(graph, record, profile))
        if graph is not None and export is not None:
            tables += _simulated(graph, self._artifacts.read(export.sha256))
        return CandidateLayers(candidate=candidate, tables=tuple(tables), trouble=trouble)


def _profiled(graph: LayerGraph, record: MeasurementRecord, profile: LayerProfile) -> BlockTimes:
    named = [(one.name, one.operator) for one in profile.layers]
    total_us, blocks = _by_block(graph, named, profile.mean_us)
    return BlockTimes(
        kind=record.kind,
        source=profile.source,
        measurement=record,
        num_runs=profile.num_runs,
        total_us=total_us,
        blocks=blocks,
    )


def _simulated(graph: LayerGraph, content: bytes) -> Iterator[BlockTimes]:
    """Times that follow from a compiler's cycles; nothing where the table cannot be read."""
    try:
        table = CycleTable.from_json(content)
    except ExportError:
        return

    def time_us(layers: Sequence[int]) -> Interval:
        return Interval(1e6 * sum(table.layers[number].total_cycles for number in layers) / RK3588_NPU_CLOCK_HZ)

    total_us, blocks = _by_block(graph, [(one.name, one.operator) for one in table.layers], time_us)
    yield BlockTimes(
        kind=MeasurementKind.SIMULATED,
        source="cycle table of the RKNN compiler at 1 GHz, simulated",
        measurement=None,
        num_runs=None,
        total_us=total_us,
        blocks=blocks,
    )


def _by_block(
    graph: LayerGraph, layers: Sequence[tuple[str, str]], time_us: Callable[[Sequence[int]], Interval]
) -> tuple[Interval, tuple[BlockTime, ...]]:
    """The time of all layers, and that of each block."""
    total_us = time_us(range(len(layers)))
    blocks = []
    for block in layers_by_block(graph, [name for name, _ in layers]):
        own_us = time_us(block.layers) if block.layers else Interval(0.0)
        blocks.append(
            BlockTime(
                summary=block.summary,
                time_us=own_us,
                share=own_us.value / total_us.value if total_us.value else 0.0,
                layers=tuple(
                    LayerTime(name=layers[number][0], operator=layers[number][1], time_us=time_us([number]))
                    for number in block.layers
                ),
            )
        )
    return total_us, tuple(blocks)
