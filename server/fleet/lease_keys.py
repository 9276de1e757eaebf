"""Under which hardware key a result counts: what the device was enrolled as when it took the job, not what it sends."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from nas_engine.domain.environment import Dtype
from nas_engine.domain.measurement import HardwareKey
from server.fleet.device import Device, HardwareProfile
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


def hardware_key_of_lease(device: Device, job: Job, sent: HardwareKey, payload: KeyedPayload) -> HardwareKey:
    """The key of a result: the identity the device is enrolled with, in the job's arithmetic, batch and core mask.

    A device that was upgraded since it took the job (its record is refreshed at every Sync) is something else by now.
    Its result still counts as what the job was leased for: a job with a pool key went only to a device that offered
    that pool key, and `sent` is that very identity where its digests are those of the job.
    """
    identity = device.capabilities.identity
    identity = replace(identity, core_mask=payload.core_mask or identity.core_mask)
    enrolled = HardwareKey(identity=identity, dtype=payload.dtype, batch=payload.batch)
    if enrolled.digest == payload.hardware_key:
        return enrolled
    leased = HardwareProfile(key=sent)
    if leased.hardware_key == payload.hardware_key and leased.pool_key == job.target.pool_key:
        return sent
    return enrolled
