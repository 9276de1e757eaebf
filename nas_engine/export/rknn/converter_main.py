"""The converter process: runs rknn-toolkit2 in an environment of its own, one model after the other.

Started by `rknn_process` with that environment's Python, as a plain script: it may import the
standard library, numpy and rknn, nothing of ours. It reads jobs from standard input and answers on
standard output, each message a 4-byte big-endian length and that many bytes of JSON. The toolkit
prints to both output streams, so they are moved away before it is imported; a job's output goes to
``log.txt`` and ``errors.txt`` in its directory, where model, images and result are exchanged too.
"""

import ctypes
import json
import os
import resource
import struct
import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from typing import Any

MODEL, DATASET, PROBE = "model.onnx", "dataset.txt", "probe.npy"
RESULT, PROBE_RESULT = "model.rknn", "probe_output.npy"
LOG, ERROR_LOG = "log.txt", "errors.txt"
MAX_DETAIL = 16_000  # characters of an error's text that are passed on


class Refused(Exception):
    """The toolkit answered with an error code instead of an exception."""


def main() -> int:
    if "--version" in sys.argv:
        try:
            sys.stdout.write(version("rknn-toolkit2") + "\n")
        except PackageNotFoundError:
            sys.stderr.write("rknn-toolkit2 is not installed in this environment\n")
            return 1
        return 0
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected: leave no core files behind
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Whole lines: the compiler (through C) and the toolkit (through Python) print to one file, and a buffer that is
    # full in mid-line would cut a row of the table in two.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    libc = ctypes.CDLL(None)
    line_buffered = 1  # _IOLBF
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, line_buffered, ctypes.c_size_t(65536))
    _redirect(os.devnull, os.devnull)
    from rknn.api import RKNN

    _send(answers, {"ready": version("rknn-toolkit2")})
    while (job := _receive(requests)) is not None:
        _send(answers, _run(RKNN, job))
    return 0


def _run(rknn_class: Any, job: dict[str, Any]) -> dict[str, Any]:
    os.chdir(job["directory"])  # the toolkit drops intermediate files where it stands
    _redirect(LOG, ERROR_LOG)
    stage = ["start"]
    try:
        _convert(rknn_class, job, stage)
        answer: dict[str, Any] = {"job": job["job"], "ok": True}
    except (Refused, ValueError) as error:  # the toolkit raises ValueError for everything
        answer = {"job": job["job"], "ok": False, "kind": "refused", "stage": stage[0], "detail": str(error)}
    except Exception:
        answer = {"job": job["job"], "ok": False, "kind": "fault", "stage": stage[0], "detail": traceback.format_exc()}
    finally:
        _redirect(os.devnull, os.devnull)
        os.chdir("/")
    if "detail" in answer:
        answer["detail"] = answer["detail"][-MAX_DETAIL:]
    return answer


def _convert(rknn_class: Any, job: dict[str, Any], stage: list[str]) -> None:
    rknn = rknn_class(verbose=True)  # the layer table is part of the verbose output
    try:
        stage[0] = "config"
        _require(rknn.config(**job["config"]))
        stage[0] = "load"
        _require(rknn.load_onnx(model=MODEL))
        stage[0] = "build"
        _require(rknn.build(do_quantization=job["quantise"], dataset=DATASET if job["quantise"] else None))
        stage[0] = "export"
        _require(rknn.export_rknn(RESULT))
        if not os.path.isfile(RESULT) or os.path.getsize(RESULT) == 0:
            raise Refused("no model file was written")
        if job["probe"]:
            stage[0] = "simulate"
            _probe(rknn)
    finally:
        rknn.release()


def _probe(rknn: Any) -> None:
    """Run the compiled model once in the toolkit's simulator (it gives numbers, not times)."""
    import numpy as np

    _require(rknn.init_runtime())
    outputs = rknn.inference(inputs=[np.load(PROBE, allow_pickle=False)], data_format=["nchw"])
    if outputs is None:
        raise Refused("the simulator gave no output")
    np.save(PROBE_RESULT, np.asarray(outputs[0], dtype=np.float32), allow_pickle=False)


def _require(code: object) -> None:
    if code != 0:
        raise Refused(f"the toolkit returned {code!r}")


def _redirect(output: str, errors: str) -> None:
    """Send standard output and standard error to files, C's buffers included."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
    for descriptor, path in ((1, output), (2, errors)):
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(target, descriptor)
        os.close(target)


def _receive(stream: Any) -> dict[str, Any] | None:
    header = stream.read(4)
    if len(header) < 4:
        return None  # whoever gave the jobs is gone
    (length,) = struct.unpack(">I", header)
    message: dict[str, Any] = json.loads(stream.read(length))
    return message


def _send(stream: Any, message: dict[str, Any]) -> None:
    payload = json.dumps(message).encode()
    stream.write(struct.pack(">I", len(payload)) + payload)
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
