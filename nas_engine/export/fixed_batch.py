"""Fixes the batch that many exporters leave open: boards run static shapes alone."""

from __future__ import annotations

import onnx

from nas_engine.domain.errors import ExportError


def fix_batch(data: bytes, batch: int) -> tuple[bytes, tuple[str, ...]]:
    """Give every input whose first dimension is open a batch, and infer the shapes that follow from it.

    Other open dimensions are left as they are: nobody but the model's maker knows what they should be.

    Args:
        data: an ONNX file.
        batch: images per inference.

    Returns:
        The file, and the names of the inputs that were fixed. Where there are none, the very bytes given.

    Raises:
        ExportError: the file is no ONNX model, or its shapes contradict that batch.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise ExportError("the file is not an ONNX model: it cannot be parsed") from error
    open_inputs = [
        value
        for value in model.graph.input
        if (dims := value.type.tensor_type.shape.dim) and (not dims[0].HasField("dim_value") or dims[0].dim_value < 1)
    ]
    if not open_inputs:
        return data, ()
    symbols = {value.type.tensor_type.shape.dim[0].dim_param for value in open_inputs} - {""}
    for value in open_inputs:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = batch
            elif not dim.HasField("dim_value"):
                dim.Clear()  # a name given before anything was fixed: to be inferred
    del model.graph.value_info[:]  # what was inferred for an open batch
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"the model cannot run with a batch of {batch}: {str(error).strip()}") from error
    for value, known in zip(model.graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(known)
    return bytes(model.SerializeToString()), tuple(value.name for value in open_inputs)
