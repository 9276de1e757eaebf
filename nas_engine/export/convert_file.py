"""Converts one ONNX file by hand: what `hilnas models convert` does."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_engine.domain.errors import ExportError
from nas_engine.domain.measuring.cycle_table import CycleTable, SimulatedLatency, simulate_latency
from nas_engine.export.fixed_shapes import fix_shapes
from nas_engine.export.model_limits import RKNN
from nas_engine.export.model_metadata import ARCH_ID_KEY
from nas_engine.export.onnx_check import inspect_onnx
from nas_engine.export.rknn.converter import RknnConverter, find_converter
from nas_engine.export.rknn.process import PoolSettings
from nas_engine.export.rknn.settings import CalibrationBatch, RknnSettings

CALIBRATION_KEY = "images"  # array of an .npz file that holds calibration images


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedFile:
    """What `convert_file` has written.

    Attributes:
        model, table: the .rknn file and its cycle table beside it (``.cycles.json``).
        cycles: the table.
        simulated: latency made of it; simulated, never measured.
        toolkit_version: what converted it.
    """

    model: Path
    table: Path
    cycles: CycleTable
    simulated: SimulatedLatency
    toolkit_version: str


def convert_file(
    source: Path,
    destination: Path,
    settings: RknnSettings,
    *,
    calibration_file: Path | None = None,
    python: Path | None = None,
    timeout_s: float = 600.0,
) -> ConvertedFile:
    """Check an ONNX file, convert it, and write the model and its cycle table.

    Args:
        source: ONNX file; a batch that it leaves open becomes 1.
        destination: the .rknn file to write; replaced where it exists.
        settings: FP16, or W8A8 with a calibration file.
        calibration_file: .npy of images (N, C, H, W), or .npz with that array as ``images``.
        python: Python of the converter's environment; see `find_converter`.
        timeout_s: for the conversion itself.

    Raises:
        ExportError: a file cannot be read or written, or is not what it should be.
        ConversionError: the converter is missing, refuses the model, or dies of it.
    """
    if not destination.parent.is_dir():
        raise ExportError(f"cannot write {destination}: there is no folder {destination.parent}")
    if destination.resolve() == source.resolve():
        raise ExportError(f"{destination} is the ONNX file itself: write to another one")
    source_model = _read(source)
    try:
        onnx = fix_shapes(source_model, 1).data  # one image at a time is what the NPU runs
        inspected = inspect_onnx(onnx, RKNN)
    except ExportError as error:
        raise ExportError(f"{source}: {error}") from error
    calibration = None if calibration_file is None else read_calibration(calibration_file)
    if calibration is not None and calibration_file is not None:
        _check_images(calibration, calibration_file, settings, inspected.inputs[0].shape if inspected.inputs else ())
    converter = RknnConverter(PoolSettings(command=find_converter(python), job_timeout_s=timeout_s))
    try:
        conversion = converter.convert(
            onnx, settings, calibration=calibration, arch_id=inspected.metadata.get(ARCH_ID_KEY)
        )
    finally:
        converter.close()
    table = destination.with_suffix(".cycles.json")
    _write(destination, conversion.model)
    _write(table, conversion.table.to_json().encode())
    return ConvertedFile(
        model=destination,
        table=table,
        cycles=conversion.table,
        simulated=simulate_latency(conversion.table),
        toolkit_version=converter.toolkit_version,
    )


def read_calibration(file: Path) -> CalibrationBatch:
    """Calibration images of a .npy or .npz file.

    Raises:
        ExportError: the file is neither, or its array has another form.
    """
    try:
        loaded = np.load(file, allow_pickle=False)
        images = loaded if isinstance(loaded, np.ndarray) else loaded[CALIBRATION_KEY]
    except KeyError as error:
        raise ExportError(f"{file} has no array {CALIBRATION_KEY!r}: store the images under that name") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ExportError(f"cannot read calibration images from {file}: {error}") from error
    return CalibrationBatch(images)


def _check_images(
    calibration: CalibrationBatch, file: Path, settings: RknnSettings, input_shape: tuple[int, ...]
) -> None:
    """Raise where the images are not for this conversion: the toolkit's own words name a file that nobody knows."""
    if not settings.is_quantised:
        raise ExportError(f"{settings.dtype.value} needs no calibration images: leave them out, or convert to w8a8")
    image_shape, expected = calibration.images_NCHW.shape[1:], input_shape[1:]
    if image_shape == expected:
        return
    is_NHWC = len(expected) == 3 and image_shape == (*expected[1:], expected[0])
    hint = "; channels come before height and width" if is_NHWC else ""
    raise ExportError(f"{file} holds images of shape {image_shape}, the model takes {expected}{hint}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read {file}: {error.strerror}") from error


def _write(file: Path, data: bytes) -> None:
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        scratch.write_bytes(data)
        os.replace(scratch, file)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise ExportError(f"cannot write {file}: {error.strerror}") from error
