"""TRAIN jobs that train one architecture: its test accuracy, and the network as a board runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.environment import Dtype
from nas_engine.domain.errors import InvalidArchitectureError, TrainingError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.latency_key import latency_key
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin
from nas_engine.export.onnx import export_onnx
from nas_engine.spaces.els import inherited_weights
from nas_engine.training.data import ImageDataset
from nas_engine.training.loop import Hooks
from nas_engine.training.retrain import RetrainConfig, Retrained, retrain
from server.service.training_spec import RetrainStrategy, TrainingSpec
from server.worker.resources import Resources
from server.worker.training_settings import strategy_config, train_config

ONNX_MEDIA_TYPE = "application/onnx"


def retrain_architecture(
    spec: TrainingSpec,
    wanted: RetrainStrategy,
    space: SearchSpace,
    dataset: ImageDataset,
    resources: Resources,
    *,
    device: torch.device,
    hooks: Hooks,
    checkpoint: Path,
) -> Retrained:
    """Train the architecture of a spec, from scratch or from a supernet version's weights.

    Raises:
        InvalidArchitectureError: the space has no layer graphs, or does not know the architecture.
        NotFoundError: the supernet version does not exist.
        FormsDifferError: the supernet's form of the architecture cannot be inherited.
        TrainingError: training diverges.
    """
    config = strategy_config(spec)
    if not isinstance(config, RetrainConfig):
        raise TrainingError(f"strategy {spec.strategy.kind} trains a supernet, not one architecture")
    architecture = space.parse(wanted.architecture)
    return retrain(
        _graph(space, architecture, Form.DEPLOYED),
        dataset,
        train_config(spec, len(dataset.train)),
        config,
        device=device,
        inherited=_inherited(wanted, space, architecture, resources),
        hooks=hooks,
        checkpoint=checkpoint,
    )


def retraining_report(
    found: Retrained, wanted: RetrainStrategy, space: SearchSpace, resources: Resources
) -> dict[str, JsonValue]:
    """Accuracies and the deployable ONNX model, stored as an artifact; for the statistics of the published version."""
    if found.validation is None or found.test is None:
        raise TrainingError("a retraining that was cancelled has no accuracy: resume it")
    architecture = space.parse(wanted.architecture)
    deployed = _graph(space, architecture, Form.DEPLOYED)
    key = latency_key(deployed, batch=1, dtype=Dtype.FP32)
    metadata = ModelMetadata(arch_id=architecture.arch_id, latency_key=key, weights=WeightOrigin.RETRAINED)
    model = export_onnx(deployed, found.weights.arrays(), found.statistics, batch=1, metadata=metadata)
    return {
        "arch_id": architecture.arch_id,
        "validation_top1": found.validation.top1,
        "test_top1": found.test.top1,
        "num_test_images": found.test.num_images,
        "model_sha256": resources.artifacts.put(model, ONNX_MEDIA_TYPE).sha256,
    }


def _inherited(
    wanted: RetrainStrategy, space: SearchSpace, architecture: Architecture, resources: Resources
) -> Mapping[str, NDArray[np.float32]] | None:
    if wanted.inherit_from is None:
        return None
    supernet = resources.supernet(wanted.inherit_from)
    graphs = [_graph(space, architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED)]
    return inherited_weights(graphs[0], graphs[1], supernet.weights.arrays())


def _graph(space: SearchSpace, architecture: Architecture, form: Form) -> LayerGraph:
    graph = space.graph(architecture, form)
    if graph is None:
        raise InvalidArchitectureError(f"space {space.space_id!r} is a table of results: there is nothing to train")
    return graph
