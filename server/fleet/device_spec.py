"""The device spec: the device that a search, a table or an uploaded model is measured on."""

from __future__ import annotations

from pydantic import Field

from nas_engine.domain.measuring.environment import Dtype
from nas_engine.settings.base import (
    Identifier,
    Labels,
    SpecPart,
)


class DeviceSpec(SpecPart):
    """The device that latency is measured on. It is resolved to one hardware key when the search is created."""

    device_type: Identifier
    """Type that the devices registered under, e.g. `rk3588`."""

    labels: Labels = Field(default_factory=dict)
    """Labels that a device must carry, all of them; absent: none."""

    runtime: Identifier | None = None
    """Inference engine on the board, e.g. `onnxruntime`; absent: any."""

    core_mask: str | None = Field(default=None, min_length=1, max_length=64)
    """Cores that the model runs on, as the device names them; absent: the device's default."""

    dtype: Dtype = Dtype.FP32
    """Arithmetic that the model runs in on the device."""

    batch: int = Field(default=1, ge=1, le=1024)
    """Number of images per inference."""

    clocks_profile: str | None = Field(default=None, min_length=1, max_length=64)
    """Clock setting that the device must have in force, e.g. `pinned-max`; absent: any."""

    npu_only: bool = False
    """Whether to refuse architectures of which the board's compiler would leave operators to the CPU; RKNN boards
    only."""
