"""Classifying an image set: each image once, the class ranked first for it, nothing timed.

Pure over (runtime, telemetry, lock), like `procedure`. The host's timing lock is held in short turns, so
that others on this host neither disturb nor are disturbed for long.

Shapes: N images of a batch, K classes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from device_agent.failures import JobFailedError
from device_agent.measuring.environment import complete_environment
from device_agent.measuring.procedure import OnPhase, Phase
from device_agent.measuring.setup import MeasuringSetup
from device_agent.runtime.base import Classifier, Output, SessionSettings
from nas_engine.domain.errors import DatasetError
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, HardwareKey
from nas_engine.domain.measuring.classification import Classification, Predictions
from nas_engine.domain.measuring.image_set import ImageSetFile

TURN_S = 0.5  # longest hold of the timing lock, but for one batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyRequest:
    """What to classify with what.

    Attributes:
        model, images: paths of the verified artifacts.
        images_sha256: digest of the image set.
        num_images: the first so many of the set.
        settings: how to load the model; `batch` images go into one inference.
        dtype: arithmetic of the model, for the hardware key.
    """

    model: Path
    images: Path
    images_sha256: str
    num_images: int
    settings: SessionSettings
    dtype: Dtype


def run_classification(request: ClassifyRequest, setup: MeasuringSetup, on_phase: OnPhase) -> Classification:
    """Classify the images in this process. `on_phase` is called again and again, so that it may stop the work.

    Raises:
        JobFailedError: MODEL_REJECTED (another input shape or number of classes than the images have),
            OUTPUT_MISMATCH (outputs are not finite), UNSUPPORTED (not an image set), or as the runtime says.
    """
    start_ns = time.perf_counter_ns()
    on_phase(Phase.PREPARING)
    before = setup.telemetry.state()
    with request.images.open("rb") as stream:
        try:
            images = ImageSetFile(stream)
            if not 1 <= request.num_images <= images.header.num_images:
                raise DatasetError(f"{request.num_images} images are asked of a set of {images.header.num_images}")
            classifier = setup.runtime.load_classifier(request.model, request.settings)
            try:
                declared, expected = classifier.input_shape, images.header.input_shape(request.settings.batch)
                if declared is not None and declared != expected:
                    raise JobFailedError(
                        FailureType.MODEL_REJECTED,
                        f"the model takes {declared}, the images are {expected} "
                        f"({images.header.preprocessing.layout.value}): pack them as the model takes them",
                    )
                predictions_N = _predict(request, setup, on_phase, images, classifier)
            finally:
                classifier.close()
        except DatasetError as error:
            raise JobFailedError(FailureType.UNSUPPORTED, f"image set {request.images_sha256[:12]}: {error}") from error
    after = setup.telemetry.state()
    environment = complete_environment(
        setup.environment,
        before,
        after,
        {},
        core_mask=setup.identity.core_mask,
        monotonic_ns=(start_ns, time.perf_counter_ns()),
    )
    return Classification(
        predictions=predictions_N,
        num_classes=images.header.num_classes,
        images_sha256=request.images_sha256,
        hardware_key=HardwareKey(identity=setup.identity, dtype=request.dtype, batch=request.settings.batch),
        environment=environment,
    )


def _predict(
    request: ClassifyRequest, setup: MeasuringSetup, on_phase: OnPhase, images: ImageSetFile, classifier: Classifier
) -> Predictions:
    """Classify batches in order, the timing lock held for a few at a time; (N,) class indices."""
    num_images, batch = request.num_images, request.settings.batch
    predictions_N = np.empty(num_images, dtype=np.uint16)
    start = 0
    while start < num_images:  # every turn classifies at least one batch
        on_phase(Phase.MEASURING)
        with setup.lock():
            turn_ends = time.monotonic() + TURN_S
            while start < num_images:
                stop = min(start + batch, num_images)
                x = images.inputs(start, stop)
                if missing := batch - len(
                    x
                ):  # the last batch: filled up with its last image, whose outputs are dropped
                    x = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)])
                ranked_first = _ranked_first(classifier.outputs(x), batch, images.header.num_classes)
                predictions_N[start:stop] = ranked_first[: stop - start]
                start = stop
                if time.monotonic() >= turn_ends:
                    break
    return predictions_N


def _ranked_first(output: Output, batch: int, num_classes: int) -> Predictions:
    """The largest output of each image; of equal ones the first."""
    values: npt.NDArray[np.float64] = np.asarray(output, dtype=np.float64)
    rows = values.reshape(batch, -1) if values.size % batch == 0 else values.reshape(1, -1)
    if rows.shape != (batch, num_classes):
        raise JobFailedError(
            FailureType.MODEL_REJECTED,
            f"the model gives {values.shape} for {batch} images, the image set has {num_classes} classes",
        )
    if not np.isfinite(values).all():
        raise JobFailedError(FailureType.OUTPUT_MISMATCH, "the model's outputs hold NaN or infinities")
    ranked_first_N: Predictions = rows.argmax(axis=1).astype(np.uint16)
    return ranked_first_N
