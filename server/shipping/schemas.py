"""Resources of shipping: the key that signs evidence bundles."""

from __future__ import annotations

from server.core.http.resources import Resource


class EvidenceKeyResource(Resource):
    """The key with which this server signs evidence bundles."""

    algorithm: str
    """Algorithm of the signatures, `ed25519`."""

    fingerprint: str
    """`sha256:` and the SHA-256 (hex) of the public key's 32 bytes: what `hilnas verify --key` takes."""

    public_key_pem: str
    """The public key as a PEM file, which `hilnas verify --key` takes too."""


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

    device_type: str | None
    """Type of the device that the search measures on; null where it measures on none."""

    neighbours: list[NeighbourResource]
    """Architectures that differ in one choice, the largest known difference in latency first."""

    notes: list[str]
    """What the figures rest on, in sentences."""
