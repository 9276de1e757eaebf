"""Under which hardware key a result counts: what the device was enrolled as when it took the job, not what it sends."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from nas_engine.domain.measurement import HardwareKey
from nas_engine.domain.measuring.environment import DeviceIdentity, Dtype
from server.fleet.device import ClassSource, Device, HardwareProfile
from server.fleet.enrolment.trust import believed
from server.jobs.job import Job


class KeyedPayload(Protocol):
    """The payload of a job that runs a model on a device."""

    @property
    def dtype(self) -> Dtype:
        """Arithmetic of the model."""

    @property
    def batch(self) -> int:
        """Number of images per inference."""

    @property
    def core_mask(self) -> str:
        """Cores it is to run on; empty leaves it to the device."""

    @property
    def hardware_key(self) -> str:
        """Digest of the key the job asks for."""


def key_as_believed(device: Device, sent: HardwareKey) -> HardwareKey:
    """The key a device sent, in the class that is believed of it.

    A device that counts as less than it says goes on saying so: that is no contradiction. For all others it is one.
    """
    if not device.class_reason and device.class_source is not ClassSource.CONFIRMED:
        return sent
    return replace(sent, identity=believed(sent.identity, device.class_limit))


def is_asked_type(device: Device, job: Job) -> bool:
    """Whether a device is of the type that a job asks for: the type binds, also where hardware keys are equal."""
    return job.target.device_type in (None, device.device_type)


def hardware_key_of_lease(device: Device, job: Job, sent: HardwareKey, payload: KeyedPayload) -> HardwareKey:
    """The key of a result: the identity the device is enrolled with, in the job's arithmetic, batch and core mask.

    A device that was upgraded since it took the job (its record is refreshed at every Sync) is something else by now.
    Its result still counts as what the job was leased for: a job with a pool key went only to a device that offered
    that pool key, and `sent` is that very identity where its digests are those of the job. An upgrade changes versions,
    clocks and cores; never the board, its class, or the engine.
    """
    identity = device.capabilities.identity
    identity = replace(identity, core_mask=payload.core_mask or identity.core_mask)
    enrolled = HardwareKey(identity=identity, dtype=payload.dtype, batch=payload.batch)
    if enrolled.digest == payload.hardware_key:
        return enrolled
    leased = HardwareProfile(key=key_as_believed(device, sent))
    asked_for = leased.hardware_key == payload.hardware_key and leased.pool_key == job.target.pool_key
    return leased.key if asked_for and _same_device(leased.key.identity, identity) else enrolled


def _same_device(sent: DeviceIdentity, enrolled: DeviceIdentity) -> bool:
    return (sent.board_model, sent.device_class, sent.runtime) == (
        enrolled.board_model,
        enrolled.device_class,
        enrolled.runtime,
    )
