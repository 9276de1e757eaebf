"""Resources of shipping: the key that signs evidence bundles."""

from __future__ import annotations

from pydantic import Field

from server.core.http.resources import Body, Id, IntervalResource, Resource
from server.measuring.measurement import MeasurementKind


class EvidenceKeyResource(Resource):
    """The key with which this server signs evidence bundles."""

    algorithm: str
    """Algorithm of the signatures, `ed25519`."""

    fingerprint: str
    """`sha256:` and the SHA-256 (hex) of the public key's 32 bytes: what `hilnas bundles verify --key` takes."""

    public_key_pem: str
    """The public key as a PEM file, which `hilnas bundles verify --key` takes too."""


class NeighbourResource(Resource):
    """An architecture that differs from a candidate's in one choice, against the candidate."""

    gene: str
    """Name of the choice that differs, as the search space has it."""

    change: str
    """What differs, for people: the choice, its option in the candidate and the other one."""

    genotype: list[int]
    """The neighbour as a genotype of the space."""

    arch_id: str
    """Identity of the neighbour's architecture."""

    candidate_id: str | None
    """Candidate of the same search that is this architecture; null where the search never asked for it."""

    latency_difference_us: float | None
    """Latency of the neighbour less that of the candidate in microseconds; null where nothing tells it."""

    latency_interval_us: float | None
    """Half of the 95 % interval of that difference; null where the source gives none."""

    latency_source: str | None
    """Where the neighbour's latency comes from: `measured` (both were, on the search's hardware), `table` (both sums of
    a latency table of that hardware), `recorded` (both in the table of results that the space is), `predicted` (both by
    a predictor fitted to the search's latencies); null where there is none."""

    top1_difference: float | None
    """Validation accuracy of the neighbour less that of the candidate, fractions; null where the search did not
    evaluate it."""

    top1_interval: float | None
    """Half of the 95 % interval of that difference; null where not known."""

    top1_is_paired: bool = False
    """Whether that interval is of a difference taken image by image (Bonett and Price's for paired proportions);
    otherwise it is that of two independent values, which is too wide."""

    test_top1_difference: float | None = None
    """Accuracy on test images of the neighbour less that of the candidate, fractions; null where one of them has
    none."""

    test_top1_interval: float | None = None
    """Half of the 95 % interval of that difference; null where not known."""

    test_top1_is_paired: bool = False
    """Whether that interval is of a difference taken image by image."""

    macs_difference: int | None
    """Multiply-accumulates of the neighbour less those of the candidate, counted."""

    params_difference: int | None
    """Parameters of the neighbour less those of the candidate, counted."""


class ExplanationResource(Resource):
    """What each single change of a candidate's architecture would do."""

    candidate_id: str
    """Candidate that is explained."""

    latency_us: float | None
    """Its latency, as the search has it; null where it has none."""

    latency: IntervalResource | None = None
    """The same with its 95 % interval; null where it has none."""

    device_type: str | None
    """Type of the device that the search measures on; null where it measures on none."""

    neighbours: list[NeighbourResource]
    """Architectures that differ in one choice, the largest known difference in latency first."""

    notes: list[str]
    """What the figures rest on, in sentences."""


class MeasureNeighboursSpec(Body):
    """How many of a candidate's neighbours are to be measured."""

    max_networks: int = Field(default=8, ge=1, le=50)
    """Most networks that are measured: those first of which the largest difference in latency is expected."""


class MeasureNeighboursResource(Resource):
    """Jobs that measure a candidate's neighbours, with the lowest priority there is."""

    candidate_id: Id
    """Candidate that is explained."""

    job_ids: list[Id]
    """Jobs that were queued, or are under way already: one for each neighbour that was not measured before, and one
    for the candidate's own layers where a board tells them and they are not known."""


class LayerTimeResource(Resource):
    """How long one step of an engine takes."""

    name: str
    """Name as the engine or compiler has it; where it fuses layers, of one of them."""

    operator: str
    """Operator of the engine or compiler."""

    time: IntervalResource
    """Time in microseconds: the mean of profiled runs with its 95 % interval, or what follows from a cycle table."""


class BlockTimeResource(Resource):
    """How long one block takes, with what it computes."""

    block: str | None
    """Name of the block; null for steps of the engine's own, such as changes of memory layout."""

    operator: str | None
    """Operator that the architecture has there; null where the block is."""

    macs: int | None
    """Multiply-accumulates of the block for one image; null where the block is."""

    params: int | None
    """Trainable weights of the block; null where the block is."""

    time: IntervalResource
    """Time of the block in microseconds, with its 95 % interval where it was measured."""

    share: float
    """Fraction of the time of all blocks."""

    layers: list[LayerTimeResource]
    """Steps of the block, in the order they run; none where it is fused into others."""


class BlockTimesResource(Resource):
    """Times of every block from one source."""

    kind: MeasurementKind
    """Kind of the times: measured by a device's profiler, or simulated; the two are never mixed."""

    source: str
    """Profiler or cycle table that told the times."""

    measurement_id: Id | None
    """Measurement that was profiled; null for a compiler's table."""

    device_class: str | None
    """Class of the device that was profiled: board, emulated or simulated; null for a compiler's table."""

    num_runs: int | None
    """Number of profiled runs; null for a compiler's table."""

    total: IntervalResource
    """Time of all blocks together, microseconds. It is not the latency: profiling costs time, and a cycle table knows
    of no launches."""

    blocks: list[BlockTimeResource]
    """Blocks in the network's order."""


class CandidateLayersResource(Resource):
    """Where a candidate's microseconds go."""

    candidate_id: Id
    """Candidate whose layers these are."""

    latency_us: float | None
    """Its latency, as the search has it; null where it has none."""

    tables: list[BlockTimesResource]
    """Times by source, measured ones first; empty where nothing told them."""

    notes: list[str]
    """What the figures rest on, or how to get some, in sentences."""
