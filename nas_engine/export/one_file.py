"""A model as one file: the weights that it keeps beside itself, or an archive that holds both."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import onnx
from onnx.external_data_helper import load_external_data_for_tensor

from nas_engine.domain.errors import ExportError
from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.export.model_file import is_lfs_pointer, parse_onnx
from nas_engine.export.onnx_check import MAX_SIZE_BYTES, all_tensors

MAX_FILES = 1000
_NAMED = 5


def read_model(path: Path) -> bytes:
    """Read an ONNX file, with the files beside it that hold its weights; or a .zip with one such model in it.

    Only files below the model's own folder are read.

    Raises:
        ExportError: it is no ONNX model, a file of its weights is missing, lies elsewhere or is cut short, it is too
            large, or the archive holds no model or several.
    """
    if not zipfile.is_zipfile(path):
        return _whole(path)
    try:
        return _from_archive(path)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise ExportError(f"{path.name} cannot be unpacked: {error}") from error


def _from_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive, scratch_folder("hilnas-model-") as folder:
        files = [one for one in archive.infolist() if not one.is_dir()]
        if len(files) > MAX_FILES or sum(one.file_size for one in files) > MAX_SIZE_BYTES:
            raise ExportError(
                f"{path.name} holds {len(files)} files of {sum(one.file_size for one in files)} bytes: at most "
                f"{MAX_FILES} of {MAX_SIZE_BYTES} bytes are unpacked"
            )
        models = [one.filename for one in files if _is_model(one.filename)]
        if len(models) != 1:
            found = _listed(models or [one.filename for one in files])
            raise ExportError(f"{path.name} holds {len(models)} .onnx files ({found}): give one, or an archive of one")
        archive.extractall(folder)  # keeps within the folder
        return _whole(folder / models[0])


def _whole(path: Path) -> bytes:
    data = path.read_bytes()
    model = parse_onnx(data)
    outside = [one for one in all_tensors(model) if one.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return data
    places = [_place(one) for one in outside]
    missing = sorted({place for place in places if not (path.parent / place).is_file()})
    if missing:
        raise ExportError(
            f"{path.name} keeps weights in {_listed(missing)}, which {'is' if len(missing) == 1 else 'are'} not beside "
            "it: put both into one folder, or into one .zip"
        )
    for place in sorted(set(places)):
        with (path.parent / place).open("rb") as file:
            if is_lfs_pointer(file.read(512)):
                raise ExportError(f"{place} is a Git LFS pointer, not the weights: fetch them with 'git lfs pull'")
    size = len(data) + sum((path.parent / place).stat().st_size for place in set(places))
    if size > MAX_SIZE_BYTES:
        raise ExportError(f"{path.name} and its weights have {size} bytes: at most {MAX_SIZE_BYTES} are measured")
    for tensor, place in zip(outside, places, strict=True):
        try:
            load_external_data_for_tensor(tensor, str(path.parent))
        except (onnx.checker.ValidationError, OSError, ValueError) as error:
            raise ExportError(f"weights of {tensor.name!r} cannot be read from {place}: {error}") from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return bytes(model.SerializeToString())


def _place(tensor: onnx.TensorProto) -> str:
    """The file that holds a tensor, relative to the model's folder."""
    place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    if not place or PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise ExportError(
            f"weights of {tensor.name!r} lie in {place!r}, outside the model's folder: save them beside it"
        )
    return place


def _is_model(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.lower().endswith(".onnx") and parts[0] != "__MACOSX" and not parts[-1].startswith(".")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
