"""Measuring again what an evidence bundle says was measured: the same, not the same, or too noisy to be told."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hilnas.cli.models.own_models import followed
from hilnas.cli.working import uploaded
from hilnas.client.client import Hilnas
from hilnas.client.errors import HilnasError
from nas_engine.domain.json_value import JsonValue, parse_json
from nas_engine.domain.uncertainty import Interval, quantity_text, value_text
from server.measuring.schemas import MeasurementDetail
from server.shipping.bundle.manifest import Manifest, paths_of
from server.shipping.bundle.verifying import extract


class Again(Enum):
    """What two measurements of one network say of each other."""

    SAME = "same"
    NOT_THE_SAME = "not the same"  # the difference lies beyond what counts as the same, with its whole interval
    CANNOT_BE_TOLD = "cannot be told"  # its interval alone is wider than what counts as the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Remeasured:
    """Two measurements of one network.

    Attributes:
        before, after: medians with their 95 % intervals, in microseconds.
        within_us: how far two measurements may lie apart and count as the same.
        remarks: in what board and hardware differ, and what is wrong with the new one.
    """

    before: Interval
    after: Interval
    within_us: float
    remarks: tuple[str, ...] = ()

    @property
    def difference(self) -> Interval:
        """The new median less the one in the bundle, with the interval that both medians' intervals give."""
        return self.after.minus(self.before)

    @property
    def verdict(self) -> Again:
        """Whether the interval of the difference reaches what counts as the same, and is narrow enough to say so.

        A difference that lies beyond it with its whole interval is one, however noisy. Of two runs whose interval is
        wider than what counts as the same, one that reaches it says nothing: nearly every network would.
        """
        half_width_us = self.difference.half_width or 0.0
        if abs(self.difference.value) - half_width_us > self.within_us:
            return Again.NOT_THE_SAME
        return Again.CANNOT_BE_TOLD if half_width_us > self.within_us else Again.SAME

    def text(self) -> str:
        """Write verdict, medians and difference with their intervals in one line, and a line for each remark."""
        verdict = "NOT the same" if self.verdict is Again.NOT_THE_SAME else self.verdict.value
        after, before = quantity_text(self.after, "us"), quantity_text(self.before, "us")
        within = value_text(self.within_us, "us", digits=2)
        line = (
            f"measured again: {verdict}: {after}, in the bundle {before}; difference "
            f"{quantity_text(self.difference, 'us', signed=True)}, up to {within} is the same"
        )
        return "\n  ".join((line, "± is half a 95 % interval", *self.remarks))

    def document(self) -> Mapping[str, JsonValue]:
        """Give the members of `--json`."""
        return {
            "verdict": self.verdict.value,
            "same": self.verdict is Again.SAME,
            "before_us": self.before.value,
            "after_us": self.after.value,
            "difference_us": self.difference.value,
            "interval_us": self.difference.half_width,
            "within_us": self.within_us,
            "remarks": list(self.remarks),
        }


def measure_again(
    nas: Hilnas, bundle: Path, manifest: Manifest, device_type: str, within_percent: float, folder: Path
) -> Remeasured:
    """Measure a verified bundle's network on a board of a type, and compare.

    Raises:
        HilnasError: the bundle holds no measurement or no ONNX file, or the new one fails.
    """
    place = manifest.subject.get("measurement")
    if not isinstance(place, str):
        raise HilnasError("the bundle holds no measurement that could be repeated")
    before = MeasurementDetail.model_validate(_document(bundle, place))
    hardware = before.hardware
    file = folder / "model.onnx"
    with file.open("wb") as target:
        extract(bundle, _onnx(manifest), target)
    board = device_type == before.device_type
    job = nas.measurements.measure(
        {
            "model_sha256": uploaded(nas, file, "application/onnx", "the bundle's network").sha256,
            "label": f"bundle {manifest.subject.get('arch_id', '')}"[:60],
            "device": {
                "device_type": device_type,
                "dtype": hardware.dtype,
                "batch": hardware.batch,
                "core_mask": hardware.core_mask if board else None,
            },
            "measurement": {"profile": before.profile, "validity_policy": "accept_flagged"},
        }
    )
    after, _ = followed(nas, job)
    return compare(before, after, within_percent)


def compare(before: MeasurementDetail, after: MeasurementDetail, within_percent: float) -> Remeasured:
    """Compare two medians by their 95 % intervals."""
    was, now = before.hardware.model_dump(mode="json"), after.hardware.model_dump(mode="json")
    remarks = [f"{part}: {was[part]} in the bundle, {now[part]} now" for part in was if was[part] != now[part]]
    if before.device_type != after.device_type:
        remarks.append(f"device type: {before.device_type} in the bundle, {after.device_type} now")
    if before.device_id != after.device_id:
        remarks.append(f"device: {before.device_id or 'unknown'} in the bundle, {after.device_id or 'unknown'} now")
    remarks += [f"{flag.validity} now: {flag.reason}" for flag in after.flags]
    return Remeasured(
        before=_median(before),
        after=_median(after),
        within_us=before.stats.p50_us * within_percent / 100,
        remarks=tuple(remarks),
    )


def _median(measured: MeasurementDetail) -> Interval:
    stats = measured.stats
    return Interval(stats.p50_us, stats.ci95_low_us, stats.ci95_high_us)


def _onnx(manifest: Manifest) -> str:
    """The file that was timed where it is ONNX, else the model itself. Raises HilnasError."""
    files = [one for one in paths_of(manifest.files) if one.endswith(".onnx")]
    found = [one for one in files if one.startswith("probe/")] or [one for one in files if one.startswith("models/")]
    if not found:
        raise HilnasError("the bundle holds no ONNX file that could be measured")
    return found[0]


def _document(bundle: Path, name: str) -> JsonValue:
    content = io.BytesIO()
    extract(bundle, name, content)
    return parse_json(content.getvalue())
