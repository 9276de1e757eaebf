"""Supernets as resources."""

from __future__ import annotations

from server.training.schemas import SupernetResource, SupernetVersionResource, TrainingProgressResource
from server.training.supernet import Supernet, SupernetVersion, TrainingProgress


def training_progress_resource(progress: TrainingProgress) -> TrainingProgressResource:
    """How far a training is."""
    return TrainingProgressResource(
        step=progress.step, num_steps=progress.num_steps, loss=progress.loss, metrics=dict(progress.metrics)
    )


def supernet_resource(supernet: Supernet) -> SupernetResource:
    """One supernet."""
    return SupernetResource(
        id=supernet.id,
        name=supernet.spec.name,
        state=supernet.state,
        desired_state=supernet.desired_state,
        reason=supernet.reason,
        spec=supernet.spec,
        progress=training_progress_resource(supernet.progress),
        latest_version_id=supernet.latest_version_id,
        created_by=supernet.created_by,
        created_at=supernet.created_at,
        finished_at=supernet.finished_at,
        version=supernet.version,
    )


def supernet_version_resource(version: SupernetVersion) -> SupernetVersionResource:
    """Weights of a supernet at one moment."""
    return SupernetVersionResource(
        id=version.id,
        supernet_id=version.supernet_id,
        number=version.number,
        weights_sha256=version.weights_sha256,
        statistics=version.statistics,
        search_id=version.search_id,
        parent_id=version.parent_id,
        created_at=version.created_at,
    )
