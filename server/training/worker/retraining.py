"""Training one architecture: its accuracies, and the network as a board runs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import InvalidArchitectureError, TrainingError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin
from nas_engine.export.onnx import export_onnx
from nas_engine.settings.strategies import NetworkSettings
from nas_engine.settings.training import NetworkSpec
from nas_engine.spaces.els import inherited_weights
from nas_engine.training.data.augmentation import ALONE, Share
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.loop import Hooks
from nas_engine.training.strategies.retrain import Retrained, retrain
from server.training.worker.supernets import LoadedSupernets


def retrain_architecture(
    spec: NetworkSpec,
    space: SearchSpace,
    architecture: Architecture,
    dataset: ImageDataset,
    *,
    inherited: Mapping[str, NDArray[np.float32]] | None,
    device: torch.device,
    hooks: Hooks,
    checkpoint: Path,
    share: Share = ALONE,
    recomputed: Collection[str] = (),
) -> Retrained:
    """Train one architecture, from scratch or from inherited weights.

    Raises:
        InvalidArchitectureError: the space has no layer graphs.
        TrainingError: training diverges.
    """
    return retrain(
        architecture_graph(space, architecture, Form.DEPLOYED),
        dataset,
        spec,
        spec,
        device=device,
        inherited=inherited,
        hooks=hooks,
        checkpoint=checkpoint,
        share=share,
        recomputed=recomputed,
    )


def retraining_report(found: Retrained, architecture: Architecture) -> dict[str, JsonValue]:
    """Accuracies, for the statistics of the published version."""
    if found.test is None:
        raise TrainingError("a retraining that was cancelled has no accuracy: resume it")
    held_out: dict[str, JsonValue] = {}
    if found.validation is not None:  # they were not trained on
        held_out = {
            "validation_top1": found.validation.top1,
            "num_validation_images": found.validation.num_images,
        }
    return {
        "arch_id": architecture.arch_id,
        **held_out,
        "test_top1": found.test.top1,
        "num_test_images": found.test.num_images,
    }


def deployable_onnx(found: Retrained, space: SearchSpace, architecture: Architecture, *, search: str = "") -> bytes:
    """The trained network as a board runs it; the file names the search that found it, where one did."""
    deployed = architecture_graph(space, architecture, Form.DEPLOYED)
    metadata = ModelMetadata(
        arch_id=architecture.arch_id,
        latency_key=latency_key(deployed, batch=1, dtype=Dtype.FP32),
        weights=WeightOrigin.RETRAINED,
        space=architecture.space_id,
        search=search,
    )
    return export_onnx(deployed, found.weights.arrays(), found.statistics, batch=1, metadata=metadata)


def weights_to_inherit(
    wanted: NetworkSettings, space: SearchSpace, supernets: LoadedSupernets
) -> Mapping[str, NDArray[np.float32]] | None:
    """Tensors of a supernet version for the stand-alone network; None where it starts from scratch.

    Raises:
        NotFoundError: the supernet version does not exist.
        FormsDifferError: the supernet's form of the architecture cannot be inherited.
    """
    if wanted.inherit_from is None:
        return None
    architecture = space.parse(wanted.architecture)
    supernet = supernets.load(wanted.inherit_from)
    graphs = [architecture_graph(space, architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED)]
    inherited = inherited_weights(graphs[0], graphs[1], supernet.weights.arrays())
    return {name: np.asarray(tensor, dtype=np.float32) for name, tensor in inherited.items()}


def architecture_graph(space: SearchSpace, architecture: Architecture, form: Form) -> LayerGraph:
    """One form of an architecture.

    Raises:
        InvalidArchitectureError: the space is a table of results.
    """
    graph = space.graph(architecture, form)
    if graph is None:
        raise InvalidArchitectureError(f"space {space.space_id!r} is a table of results: there is nothing to train")
    return graph
