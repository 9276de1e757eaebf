"""Stands in for the converter process: speaks its messages and does what the "model" file tells it.

Run as a script. The model file's text is the behaviour: ``ok``, ``signal:SIGSEGV``, ``exit:3``, ``hang``,
``garbage``, ``oversized``, ``wrong-job``, ``no-result``, ``no-table``, ``refuse:TEXT``, ``fault:TEXT``.
Arguments: ``--version``; ``--start=hang|exit`` never becomes ready; ``--counter=FILE`` counts the jobs.
"""

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

VERSION = "0.0-fake"
TABLE = """\
D RKNN: [00:00:00.000]                  Network Layer Information Table
D RKNN: [00:00:00.000] ID OpType DataType Target InputShape OutputShape Cycles(DDR/NPU/Total) RW(KB) FullName
D RKNN: [00:00:00.000] 0    InputOperator  FLOAT16  CPU  \\  (1,3,8,8)  0/0/0  0  InputOperator:input
D RKNN: [00:00:00.000] 1    ConvRelu  FLOAT16  NPU  (1,3,8,8),(4,3,3,3),(4)  (1,4,8,8)  100/250/250  2  Conv:stem.conv
D RKNN: [00:00:00.000] 2    OutputOperator  FLOAT16  CPU  (1,4,8,8)  \\  0/0/0  0  OutputOperator:out
D RKNN: [00:00:00.000] Total Internal Memory Size: 4KB
D RKNN: [00:00:00.000] Total Weight Memory Size: 1.5KB
"""


def main() -> None:
    options = dict(option.lstrip("-").partition("=")[::2] for option in sys.argv[1:])
    if "version" in options:
        sys.stdout.write(VERSION + "\n")
        return
    if options.get("start") == "hang":
        time.sleep(3600)
    if options.get("start") == "exit":
        sys.exit(7)
    send({"ready": VERSION})
    while True:
        header = sys.stdin.buffer.read(4)
        if len(header) < 4:
            return
        job = json.loads(sys.stdin.buffer.read(struct.unpack(">I", header)[0]))
        if "counter" in options:
            with open(options["counter"], "a") as counter:
                counter.write(f"{os.getpid()} {job['directory']}\n")
        behave(job)


def behave(job: dict[str, Any]) -> None:
    folder = Path(job["directory"])
    behaviour, _, argument = (folder / "model.onnx").read_text().partition(":")
    match behaviour:
        case "signal":
            os.kill(os.getpid(), getattr(signal, argument))
        case "exit":
            os._exit(int(argument))
        case "hang":
            time.sleep(3600)
        case "garbage":
            os.write(1, struct.pack(">I", 5) + b"hello")
        case "oversized":
            os.write(1, b"Traceback (most recent call last)")
        case "wrong-job":
            send({"job": "another", "ok": True})
        case "refuse" | "fault":
            kind = "refused" if behaviour == "refuse" else "fault"
            send({"job": job["job"], "ok": False, "kind": kind, "stage": "build", "detail": argument})
        case _:
            if behaviour != "no-result":
                (folder / "model.rknn").write_bytes(b"RKNN" + json.dumps(job["config"]).encode())
            (folder / "log.txt").write_text("" if behaviour == "no-table" else TABLE)
            send({"job": job["job"], "ok": True})


def send(message: dict[str, Any]) -> None:
    payload = json.dumps(message).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(payload)) + payload)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
