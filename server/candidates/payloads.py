"""What the jobs of a search are given."""

from __future__ import annotations

from typing import Literal

from server.jobs.payloads import Payload
from server.spaces.architecture import ArchitectureDocument


class SearchStepPayload(Payload):
    """A search step: pass on observations, ask for candidates. `seq` is the checkpoint this step will write."""

    search_id: str
    seq: int


class LongJobPayload(Payload):
    """Base of the long-running jobs that a step ordered. `seq` is the checkpoint written with the order."""

    search_id: str
    seq: int


class ShiftPayload(LongJobPayload):
    """Shift a supernet towards a generation's candidates, in the order asked.

    `state_sha256` is what the last shift ended with (weights, optimiser, version number); absent before the first.
    `survivors` are compared with the candidates, and scored again with the version that comes of it.
    """

    candidate_ids: tuple[str, ...]
    survivors: tuple[str, ...] = ()
    supernet_version_id: str
    state_sha256: str | None = None


class DerivePayload(LongJobPayload):
    """Train a supernet with architecture parameters and derive a network; settings are in the search's spec.

    `number` counts the spec's cost factors from 0.
    """

    number: int


class TrialPayload(Payload):
    """Bring metrics of one candidate from outside; what they are is in the search's spec."""

    search_id: str
    candidate_id: str
    metrics: tuple[str, ...]


class EvaluatePayload(Payload):
    """Evaluate a metric of one candidate with one version of a supernet; settings are in the search's spec.

    `metric` is absent for accuracies, and in what the first release queued; `split` tells those apart. `split` test is
    the final report: the worker then also exports the network with inherited weights.
    """

    search_id: str
    candidate_id: str
    architecture: ArchitectureDocument
    supernet_version_id: str
    attempt: int = 1
    metric: str | None = None
    split: Literal["validation", "test"] = "validation"
