"""Image sets and answers for tests of classifications."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, Dtype, EnvironmentRecord, HardwareKey
from nas_engine.domain.measuring.classification import Classification, Predictions
from nas_engine.domain.measuring.image_set import MEDIA_TYPE, Preprocessing, write_image_set
from server.classifying.classification import ClassificationQuery, ClassificationRecord
from server.classifying.results import ClassificationResults
from server.core.paging import PageRequest
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.jobs.results import ResultReceipt
from server.jobs.states import JobKind
from server.measuring.payloads import ClassifyPayload
from server.measuring.queries import ModelMeasurementSpec
from tests.support.worlds.service_world import IDENTITY, PlayedDevice, World, lease_of

LABELS = (0, 1, 2, 0, 1, 2, 0, 1, 2, 0)
NUM_CLASSES = 3
SHAPE_NHWC = (len(LABELS), 4, 4, 1)
GREY = Preprocessing(mean=(0.0,), std=(255.0,))


def image_set(labels: Sequence[int] = LABELS, *, repeat: int = 1) -> bytes:
    """Grey 4x4 images whose rows of pixels are as bright as their class says, `repeat` times over."""
    labels_N = np.array(labels * repeat if isinstance(labels, tuple) else list(labels) * repeat, dtype=np.int64)
    pixels_NHWC = np.zeros((len(labels_N), 4, 4, 1), dtype=np.uint8)
    for image, label in zip(pixels_NHWC, labels_N, strict=True):
        image[label] = 200
    return write_image_set("rows", pixels_NHWC, labels_N, GREY, NUM_CLASSES)


def row_classifier(*, batch: int = 1, classes: int = NUM_CLASSES, wrong: bool = False) -> bytes:
    """An ONNX model that says which row is brightest; a wrong one says the row above."""
    weight = np.zeros((16, classes), dtype=np.float32)
    for row in range(classes):
        weight[4 * ((row + wrong) % NUM_CLASSES) : 4 * ((row + wrong) % NUM_CLASSES) + 4, row] = 1.0
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"], axis=1), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(onnx.ModelProto.SerializeToString(made))


def answers(*classes: int) -> Predictions:
    """Predictions."""
    return np.array(classes, dtype=np.uint16)


def classifying_device(
    world: World,
    name: str = "bench-1",
    identity: DeviceIdentity = IDENTITY,
    dtypes: tuple[Dtype, ...] = (Dtype.FP32,),
    features: tuple[str, ...] = ("canary", "classify"),
) -> PlayedDevice:
    """A device that knows how to classify, unless its features say otherwise."""
    device = world.enrol(name, identity)
    capabilities = replace(device.device.capabilities, dtypes=dtypes, features=features)
    device.device = replace(device.device, capabilities=capabilities)
    device.sync(free_slots=0)
    return device


def stored(world: World, content: bytes, media_type: str = MEDIA_TYPE) -> str:
    """An artifact with this content."""
    return world.artifacts.put(content, media_type).sha256


def answer(
    results: ClassificationResults, device: PlayedDevice, job: Job, predictions: Predictions, **changes: Any
) -> ResultReceipt:
    """Report answers as the job asks for, but for what is changed."""
    payload = read_payload(ClassifyPayload, job.payload)
    values: dict[str, Any] = {
        "predictions": predictions,
        "num_classes": NUM_CLASSES,
        "images_sha256": payload.images_sha256,
        "hardware_key": HardwareKey(
            identity=device.device.capabilities.identity, dtype=Dtype(payload.dtype), batch=payload.batch
        ),
        "environment": EnvironmentRecord(agent_version="1", protocol_version=1),
    }
    digest = hashlib.sha256(f"{job.lease_id}{predictions.tolist()}".encode()).hexdigest()
    given = Classification(**{**values, **changes})
    return results.put(device.id, lease_of(job), digest, lambda _: given)


RIGHT = answers(*LABELS)
BOARD = replace(IDENTITY, device_class=DeviceClass.BOARD, runtime="rknnlite", core_mask="0x1")


def spec(world: World, *, model: bytes = b"model", **changes: Any) -> ModelMeasurementSpec:
    """The classification of a model of one's own on the image set."""
    images = {"sha256": stored(world, image_set())}
    document = {"model_sha256": stored(world, model), "device": {"device_type": "testboard"}, "images": images}
    return ModelMeasurementSpec.model_validate({**document, **changes})


def classifications(world: World, **query: Any) -> tuple[ClassificationRecord, ...]:
    """What is stored, newest first, with predictions."""
    page = world.classifications.page_of_classifications(ClassificationQuery(**query), PageRequest(100))
    return tuple(world.classifications.get_classification(record.id) for record in page.items)


def take(device: PlayedDevice, kind: JobKind) -> Job:
    """The job of that kind that a device gets."""
    job = device.take()
    assert job is not None
    assert job.kind is kind
    return job
