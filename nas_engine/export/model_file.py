"""Reading a file that says it is an ONNX model, and what it is where it is none."""

from __future__ import annotations

import codecs

import onnx

from nas_engine.domain.errors import ExportError


def parse_onnx(data: bytes) -> onnx.ModelProto:
    """Read a file that says it is an ONNX model.

    Raises:
        ExportError: it is none; the message says what it is instead where that can be seen.
    """
    if not data:
        raise ExportError("the file is empty: export or download the model again")
    if (instead := _found_instead(data)) is not None:
        raise ExportError(instead)
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise ExportError(
            "the file is not an ONNX model: it cannot be parsed; if it is a download, that may have broken off"
        ) from error


def _found_instead(data: bytes) -> str | None:
    """What a file is that is no model, with what to do; None where its beginning does not tell."""
    start = data[:512].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if is_lfs_pointer(data):
        return "the file is a Git LFS pointer, not the model it points to: fetch it with 'git lfs pull'"
    if start.startswith((b"<!doctype", b"<html", b"<!--", b"<?xml", b"<head", b"<body")):
        return "the file is a web page, not a model: the download was answered with a page, try it again"
    if start.startswith(b"pk\x03\x04"):
        return "the file is a zip archive (or a PyTorch file): unpack it, or export the model to ONNX"
    if start.startswith(b"\x1f\x8b"):
        return "the file is compressed by gzip: unpack it (gunzip)"
    if data[4:8] == b"TFL3":
        return "the file is a TensorFlow Lite model: export the model to ONNX (python -m tf2onnx.convert --tflite ...)"
    try:
        text = data[:4096].decode() if b"\0" not in data[:4096] else ""
    except UnicodeDecodeError as error:
        text = data[: error.start].decode() if error.reason == "unexpected end of data" else ""
    if text.strip() and all(letter.isprintable() or letter.isspace() for letter in text):
        return (
            f"the file is text, not a model; it begins with {' '.join(text.split())[:60]!r}: download the model again"
        )
    return None


def is_lfs_pointer(data: bytes) -> bool:
    """Whether a file is what Git leaves in the place of one that it keeps in its large file storage."""
    return data[:512].lstrip().startswith((b"version https://git-lfs", b"version https://hawser"))
