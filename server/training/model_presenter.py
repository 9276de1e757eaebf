"""Deployable model files as resources."""

from __future__ import annotations

from server.training.deployables import DeployableModel
from server.training.model_schemas import DeployableModelResource


def model_resource(model: DeployableModel) -> DeployableModelResource:
    """One model file."""
    return DeployableModelResource.model_validate(
        {
            "format": model.format.value,
            "dtype": model.dtype,
            "target": model.target,
            "weights": model.weights.value,
            "state": model.state.value,
            "reason": model.reason,
            "sha256": model.sha256,
            "cpu_operators": list(model.cpu_operators),
            "job_id": model.job_id,
            "created_at": model.created_at,
        }
    )
