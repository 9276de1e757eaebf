"""What is wrong with the canaries of a result: against what was asked for, and against the other boards of the pool."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.measurement import CanaryReading, MeasurementProfile
from nas_engine.domain.uncertainty import value_text
from server.core.database.transaction import Transaction
from server.fleet.device import Device, DeviceState
from server.fleet.store import DeviceStore
from server.measuring.canaries.canary import CanaryRecord, IssuedCanary
from server.measuring.canaries.store import CanaryStore

POOL_TOLERANCE = 0.03
"""Share by which the canaries of devices that share a pool may differ."""

MAJORITY = 2
"""Boards that must agree before another one is the odd one out: a single one may be wrong itself."""

_ASK_A_PERSON = (
    "nobody knows which of them is right, so they are held back: find out, and resume the board that is "
    "(POST /api/v1/devices/{device_id}:resume)"
)


@dataclass(frozen=True, slots=True)
class PoolVerdict:
    """How a canary stands beside those of its pool.

    Attributes:
        complaint: how it differs; empty where it does not, or nobody else has one.
        disputed_with: the boards it differs from where no majority says who is right: they are held back too.
    """

    complaint: str = ""
    disputed_with: tuple[CanaryRecord, ...] = ()


def canary_complaint(
    order: IssuedCanary, before: CanaryReading | None, after: CanaryReading | None, profile: MeasurementProfile
) -> str:
    """Explain what is wrong with the canaries of a result; empty where nothing is.

    An agent begins only when its first canary is within the tolerance, and the second may differ from that by the drift
    that is allowed: the second is held to both together.
    """
    tolerance = profile.canary_tolerance if order.tolerance is None else order.tolerance
    both = (1.0 + tolerance) * (1.0 + profile.canary_drift) - 1.0
    for when, reading, limit in (("before", before, tolerance), ("after", after, both)):
        if reading is None:
            return f"the canary asked for {when} the measurement was not run"
        if reading.artifact_sha256 != order.artifact_sha256:
            return (
                f"the canary {when} the measurement ran model {reading.artifact_sha256[:64]!r}, asked for was "
                f"{order.artifact_sha256}"
            )
        if not reading.output_digest:
            return f"the canary {when} the measurement does not tell its outputs"
        if order.output_digest and reading.output_digest != order.output_digest:
            return f"the canary {when} the measurement gives other outputs than it should"
        ratio = with_ratio(reading, order).ratio
        if ratio is not None and abs(ratio - 1.0) > limit:
            return (
                f"the canary {when} the measurement runs at {value_text(ratio, 'fraction', digits=4)} of its baseline "
                f"time; within {limit:.1%} is normal"
            )
    if before is not None and after is not None and before.output_digest != after.output_digest:
        return "the canary's outputs changed during the measurement"
    return ""


def with_ratio(reading: CanaryReading, order: IssuedCanary) -> CanaryReading:
    """The reading with its ratio to the baseline it was ordered with, whatever its agent made of it."""
    return replace(reading, ratio=None if order.baseline_us is None else reading.median_us / order.baseline_us)


def pool_canaries(tx: Transaction, device: Device, pool_key: str, artifact_sha256: str) -> tuple[CanaryRecord, ...]:
    """The last good canaries of the other active devices that offer this pool key."""
    found = []
    for other in DeviceStore(tx).devices_of_type(device.device_type):
        if other.id == device.id or other.state is not DeviceState.ACTIVE:
            continue
        if pool_key in other.capabilities.pool_keys():
            good = CanaryStore(tx).last_canary_under(other.id, pool_key, artifact_sha256, passed=True)
            found += [] if good is None else [good]
    return tuple(found)


def known_answer(canaries: Iterable[CanaryRecord], num_agreeing: int = 1) -> str:
    """The output digest that most of them gave; empty where fewer than `num_agreeing` gave it."""
    digests = Counter(canary.output_digest for canary in canaries if canary.output_digest)
    answer, number = digests.most_common(1)[0] if digests else ("", 0)
    return answer if number >= num_agreeing else ""


def pool_verdict(
    others: Sequence[CanaryRecord], median_us: float, output_digest: str | None, tolerance: float = POOL_TOLERANCE
) -> PoolVerdict:
    """Compare a canary with those of its pool.

    Where boards that agree with each other are a majority, what differs from them is the odd one out. Where one board
    stands against one, either may be wrong, also the one that came first.
    """
    if not others:
        return PoolVerdict()
    answers = [other for other in others if other.output_digest]
    differing = [other for other in answers if output_digest and other.output_digest != output_digest]
    if differing and len(differing) * 2 >= len(answers):
        complaint = f"its canary gives other outputs than {_named(differing)}"
        agreed = known_answer(differing, MAJORITY)
        return _verdict(complaint, differing, outvoted=bool(agreed))
    pool_us = statistics.median(other.median_us for other in others)
    if abs(median_us / pool_us - 1.0) <= tolerance:
        return PoolVerdict()
    complaint = (
        f"its canary takes {_us(median_us)}, that of {_named(others)} {_us(pool_us)}: "
        f"within {tolerance:.0%} they would share a pool"
    )
    agreeing = [other for other in others if abs(other.median_us / pool_us - 1.0) <= tolerance]
    apart = [other for other in others if abs(median_us / other.median_us - 1.0) > tolerance]
    return _verdict(complaint, apart, outvoted=len(agreeing) >= MAJORITY)


def _verdict(complaint: str, differing: Sequence[CanaryRecord], *, outvoted: bool) -> PoolVerdict:
    if outvoted:
        return PoolVerdict(f"{complaint}; find out why, or give it another clocks profile")
    return PoolVerdict(f"{complaint}; {_ASK_A_PERSON}", tuple(differing))


def dispute(other: CanaryRecord, device_id: str, reading: CanaryReading) -> str:
    """Say of a board of the pool how a reading of `device_id` differs from its last canary."""
    outputs = "" if other.output_digest == reading.output_digest else ", with other outputs"
    return (
        f"its canary takes {_us(other.median_us)}, that of {device_id} of its pool {_us(reading.median_us)}"
        f"{outputs}; {_ASK_A_PERSON}"
    )


def _named(others: Sequence[CanaryRecord]) -> str:
    return f"{len(others)} others of its pool" if len(others) > 1 else f"{others[0].device_id} of its pool"


def _us(value_us: float) -> str:
    return value_text(value_us, "us", digits=4)
