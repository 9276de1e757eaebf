"""Runs of the golden model on a device: what was ordered, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCanary:
    """The canary that a device was asked for with a lease: its result is held to it.

    Attributes:
        artifact_sha256: the golden model.
        baseline_us: the device's median; None before its first.
        output_digest: what its outputs must hash to; empty where not known.
        tolerance: share the speed may be off; None leaves it to the profile.
    """

    lease_id: str
    artifact_sha256: str
    baseline_us: float | None = None
    output_digest: str = ""
    tolerance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRecord:
    """One run of the golden model on one device.

    Attributes:
        ratio: median over the device's baseline; None before there is one.
        passed: within tolerance, and outputs right.
        pool_key: what it ran as: a canary is compared with those under the same key only, so that a new runtime or
            another core mask begins with a baseline of its own. None for runs before this was kept.
        output_digest: sha256 of what it gave; that of a good run is the known answer of the next.
        instance_epoch: the agent's start it belongs to.
    """

    id: str
    device_id: str
    artifact_sha256: str
    median_us: float
    ratio: float | None
    passed: bool
    reason: str = ""
    taken_at: datetime
    pool_key: str | None = None
    output_digest: str | None = None
    instance_epoch: int = 0
