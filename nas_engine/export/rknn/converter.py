"""RKNN conversion with the real rknn-toolkit2, which runs in an environment and in processes of its own.

Its pins contradict ours, it dies of some models, and it leaves files where it stands: so every
conversion is a job for a converter process, in a temporary folder that is deleted afterwards.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import ConversionError, ConversionFailure, ExportError
from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.domain.json_value import JsonValue
from nas_engine.export.model_file import parse_onnx
from nas_engine.export.model_metadata import ARCH_ID_KEY, provenance_text
from nas_engine.export.rknn import converter_main as converter
from nas_engine.export.rknn.cache import Conversion, ConversionCache
from nas_engine.export.rknn.cycle_table import parse_cycle_table
from nas_engine.export.rknn.process import ConverterPool, PoolSettings, converter_command, toolkit_version
from nas_engine.export.rknn.settings import CalibrationBatch, ConversionKey, RknnSettings, make_key

PYTHON_VARIABLE = "HILNAS_RKNN_PYTHON"
_MADE_PYTHON = Path(".venv-rknn/bin/python")  # what `make rknn` makes, in the repository's root
_MAX_CAUSE = 300
MAX_LOG_CHARACTERS = 1 << 20
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^(?:[\w.]*(?:Error|Exception)): *(?P<cause>.+)$")
_OWN_FAULTS = ("MemoryError", "No space left on device", "Cannot allocate memory", "Too many open files")


class RknnConverter:
    """Converts ONNX models, remembering every conversion. Thread-safe; close it when done."""

    def __init__(self, settings: PoolSettings, cache: ConversionCache | None = None) -> None:
        """Reads the toolkit's version at once.

        Raises:
            ConversionError: there is no toolkit behind the settings' command.
        """
        self.toolkit_version = toolkit_version(settings.command)
        self._pool = ConverterPool(settings)
        self._cache = cache

    def convert(
        self,
        onnx: bytes,
        settings: RknnSettings,
        *,
        calibration: CalibrationBatch | None = None,
        arch_id: str | None = None,
    ) -> Conversion:
        """The model for the board and its cycle table, from the cache where it was converted before.

        Args:
            onnx: static shapes, opset 9 to 19.
            settings: what to make of it.
            calibration: images for W8A8, unused otherwise.
            arch_id: stored in the file, so that a board can tell where its model comes from.

        Raises:
            ConversionError: with the kind of failure and a one-line cause.
            ExportError: the settings and images do not fit together.
        """
        key = make_key(onnx, settings, calibration, toolkit_version=self.toolkit_version, arch_id=arch_id)
        known = None if self._cache is None else self._cache.get(key)
        if known is not None:
            return known
        try:
            conversion, _ = self._run(onnx, key, calibration, probe_NCHW=None)
        except ConversionError as error:
            if self._cache is not None:
                self._cache.put_failure(key, error)
            raise
        if self._cache is not None:
            self._cache.put(conversion)
        return conversion

    def simulate_output(
        self,
        onnx: bytes,
        settings: RknnSettings,
        image_NCHW: NDArray[np.float32],
        *,
        calibration: CalibrationBatch | None = None,
    ) -> NDArray[np.float32]:
        """The converted model's first output for one image, by the toolkit's simulator: what quantisation costs.

        The simulator gives numbers, not times. Always converts anew: it runs in the converting process only.

        Raises:
            ConversionError: as `convert`.
        """
        key = make_key(onnx, settings, calibration, toolkit_version=self.toolkit_version, arch_id=None)
        _, output = self._run(onnx, key, calibration, probe_NCHW=image_NCHW)
        assert output is not None, "a probe was given"
        return output

    def close(self) -> None:
        """End all converter processes."""
        self._pool.close()

    def _run(
        self,
        onnx: bytes,
        key: ConversionKey,
        calibration: CalibrationBatch | None,
        probe_NCHW: NDArray[np.float32] | None,
    ) -> tuple[Conversion, NDArray[np.float32] | None]:
        key = replace(key, provenance=_provenance(onnx))
        with scratch_folder("hilnas-rknn-") as folder:
            (folder / converter.MODEL).write_bytes(onnx)
            if key.settings.is_quantised and calibration is not None:
                # One .npy file per image, batch axis kept, and the list of them that the toolkit reads.
                names = [f"image{number}.npy" for number in range(len(calibration.images_NCHW))]
                for file_name, image_CHW in zip(names, calibration.images_NCHW, strict=True):
                    np.save(folder / file_name, image_CHW[None], allow_pickle=False)
                (folder / converter.DATASET).write_text("\n".join(names) + "\n")
            if probe_NCHW is not None:
                np.save(folder / converter.PROBE, probe_NCHW, allow_pickle=False)
            job: dict[str, JsonValue] = {
                "job": uuid.uuid4().hex,
                "directory": str(folder),
                "config": {**key.settings.toolkit_options(), "custom_string": key.custom_string()},
                "quantise": key.settings.is_quantised,
                "probe": probe_NCHW is not None,
            }
            _raise_unless_done(self._pool.run(job))
            return _read_result(folder, key, has_probe=probe_NCHW is not None)


def _provenance(onnx: bytes) -> str:
    """What a model of ours says about itself; empty for others, and for what is no model (the toolkit says so)."""
    try:
        metadata = {entry.key: entry.value for entry in parse_onnx(onnx).metadata_props}
    except ExportError:
        return ""
    return provenance_text(metadata) if ARCH_ID_KEY in metadata else ""


def installed_converter() -> Path | None:
    """The Python that `make rknn` has made: below the working folder, or beside the environment we run in."""
    places = (Path.cwd() / _MADE_PYTHON, Path(sys.prefix).parent / _MADE_PYTHON)
    return next((place for place in places if place.is_file()), None)


def find_converter(python: Path | None = None) -> tuple[str, ...]:
    """The command that starts the converter: the given Python, the one the environment names, or the installed one.

    Raises:
        ConversionError: there is no such Python.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    chosen = python or (Path(named) if named else installed_converter() or Path.cwd() / _MADE_PYTHON)
    if not chosen.is_file():
        raise ConversionError(
            ConversionFailure.CONVERTER_FAULT,
            f"no converter environment at {chosen}: make it with `make rknn`, or name its Python in {PYTHON_VARIABLE}",
        )
    return converter_command(chosen)


def one_line_cause(detail: str) -> str:
    """The cause in a toolkit error, whose text is a whole traceback: its last exception line, else its last line."""
    lines = [_COLOURS.sub("", line).strip() for line in detail.splitlines()]
    lines = [line for line in lines if line and not set(line) <= set("=-~^* ")]
    for line in reversed(lines):
        match = _EXCEPTION.match(line)
        if match:
            return match["cause"][:_MAX_CAUSE]
    return lines[-1][:_MAX_CAUSE] if lines else "no reason given"


def _raise_unless_done(answer: Mapping[str, JsonValue]) -> None:
    if answer.get("ok") is True:
        return
    detail, stage = str(answer.get("detail", "")), str(answer.get("stage", "start"))
    is_our_fault = answer.get("kind") != "refused" or any(sign in detail for sign in _OWN_FAULTS)
    failure = ConversionFailure.CONVERTER_FAULT if is_our_fault else ConversionFailure.CONVERT_FAILED
    raise ConversionError(failure, f"the converter refuses the model at {stage}: {one_line_cause(detail)}")


def _read_result(folder: Path, key: ConversionKey, *, has_probe: bool) -> tuple[Conversion, NDArray[np.float32] | None]:
    try:
        model = (folder / converter.RESULT).read_bytes()
        log = (folder / converter.LOG).read_text(errors="replace")
        output = np.load(folder / converter.PROBE_RESULT, allow_pickle=False) if has_probe else None
        table = parse_cycle_table(log)
    except (OSError, ValueError, ExportError) as error:
        raise ConversionError(
            ConversionFailure.CONVERTER_FAULT, f"the converter says it is done, but its result cannot be read: {error}"
        ) from error
    if not model.startswith(b"RKNN"):
        raise ConversionError(ConversionFailure.CONVERTER_FAULT, "the converter wrote a file that is no RKNN model")
    # Kept without colours and without the place the toolkit stood in; of a very long one the end.
    plain = _COLOURS.sub("", log).replace(str(folder), ".").replace("\x00", "")
    return Conversion(key, model, table, plain[-MAX_LOG_CHARACTERS:]), output
