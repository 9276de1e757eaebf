"""``hilnas measurements create``: how long a model of one's own takes on a board, and what it answers there."""

from __future__ import annotations

import json
import re
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import FollowOption, JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.terminal import make_console
from hilnas.cli.working import transferring, working
from hilnas.client.errors import HilnasError
from nas_engine.domain.json_value import JsonValue

if TYPE_CHECKING:
    from rich.console import Console

    from hilnas.client.client import Hilnas
    from server.classifying.schemas import ClassificationDetail
    from server.jobs.schemas import JobDetail
    from server.measuring.schemas import MeasurementDetail

POLL_S = 1.0
MODEL_MEDIA_TYPE = "application/onnx"
_console = make_console()
_progress = make_console(stderr=True)


def measure(
    model: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="ONNX file, its weights in it or beside it; or a .zip of both."
        ),
    ],
    device_type: Annotated[
        str,
        typer.Option(
            "--device-type",
            help="Kind of board; `hilnas devices types` lists them.",
            autocompletion=names_of("device-types"),
        ),
    ],
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or w8a8.")] = "fp32",
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images per inference, and what an open batch is fixed to [as the model has it, or 1]."
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=1,3,320,320", help="Shape of an input with open axes; once for each."),
    ] = None,
    input_range: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=0..999", help="Numbers an integer input may carry [what the model's tables admit]."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Real inputs as an .npz: integer ones give their ranges."),
    ] = None,
    core_mask: Annotated[
        str | None,
        typer.Option(help="Cores and threads, as the board names them: 4-7x2, 0x1 [what a board of the type has]."),
    ] = None,
    profile: Annotated[str, typer.Option(help="quick, standard or audit.")] = "standard",
    accept_flagged: Annotated[
        bool,
        typer.Option(
            help="Take a noisy result too (emulated boards); never one cut short, nor of a board whose canary is off."
        ),
    ] = False,
    calibration_dataset: Annotated[str | None, typer.Option(help="Images for w8a8.")] = None,
    calibration_images: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Image set for w8a8, instead of a data set.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Image set to classify (`hilnas images pack` makes one)."),
    ] = None,
    num_images: Annotated[int | None, typer.Option(min=1, help="Its first so many [all].")] = None,
    npu_only: Annotated[bool, typer.Option(help="Refuse operators that the NPU leaves to the CPU.")] = False,
    follow: FollowOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Upload a model and queue its measurement; with images, its accuracy on the board too."""
    from nas_engine.domain.measuring.image_set import MEDIA_TYPE

    shapes = _shapes(input_shape or [])
    with connect(server, token) as nas:
        sha256, fixed = _uploaded(nas, model, 1 if batch is None else batch, shapes)
        device: dict[str, JsonValue] = {
            "device_type": device_type,
            "core_mask": core_mask,
            "dtype": dtype,
            "npu_only": npu_only,
        }
        if batch is not None:
            device["batch"] = batch
        spec: dict[str, JsonValue] = {
            "model_sha256": sha256,
            "label": model.name,
            "device": device,
            "measurement": {
                "profile": profile,
                "validity_policy": "accept_flagged" if accept_flagged else "require",
            },
            "calibration_dataset": calibration_dataset,
            "input_ranges": {**({} if inputs is None else _ranges_of(inputs)), **_ranges(input_range or [])},
        }
        if shapes:  # fixed here already; sent to be recorded
            spec["input_shapes"] = {name: list(shape) for name, shape in {**shapes, **fixed}.items()}
        if images is not None:
            spec["images"] = {"sha256": _sent(nas, images, MEDIA_TYPE), "num_images": num_images}
        if calibration_images is not None:
            spec["calibration_images_sha256"] = _sent(nas, calibration_images, MEDIA_TYPE)
        job = nas.measurements.measure(spec)
        if not follow:
            print_json(job) if as_json else _console.print(f"{job.id}  {_standing(job)}")
            return
        measured, classified = followed(nas, job)
    if as_json and classified is not None:
        both = {"measurement": measured.model_dump(mode="json"), "classification": classified.model_dump(mode="json")}
        typer.echo(json.dumps(both))
        return
    if as_json:
        print_json(measured)
        return
    _print_measurement(measured)
    if classified is not None:
        _print_classification(classified)


def _shapes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs by name, as ``NAME=1,3,320,320``. Raises HilnasError."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, _, sizes = text.rpartition("=")
        if not name or not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", sizes):
            raise HilnasError(f"--input-shape {text!r} is no shape: write NAME=1,3,320,320")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def _ranges(given: Sequence[str]) -> dict[str, JsonValue]:
    """Ranges of integer inputs by name, as ``NAME=0..999``. Raises HilnasError."""
    ranges: dict[str, JsonValue] = {}
    for text in given:
        found = re.fullmatch(r"(.+)=(-?\d+)\.\.(-?\d+)", text)
        if found is None:
            raise HilnasError(f"--input-range {text!r} is no range: write NAME=0..999")
        ranges[found[1]] = [int(found[2]), int(found[3])]
    return ranges


def _ranges_of(file: Path) -> dict[str, JsonValue]:
    """Ranges of integer inputs by name, from real inputs: an .npz with an array for each.

    Numbers of other types are passed over: they do not change what is timed.

    Raises:
        HilnasError: it is no such file, or an array of it is empty.
    """
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise HilnasError(f"--inputs {file} is no .npz of numbers, an array for each input: {error}") from error
    ranges: dict[str, JsonValue] = {}
    for name, array in found.items():
        if array.size == 0:
            raise HilnasError(f"--inputs {file}: {name!r} is empty, with shape {array.shape}")
        if array.dtype.kind in "iub":
            ranges[name] = [int(array.min()), int(array.max())]
    return ranges


def _uploaded(
    nas: Hilnas, model: Path, batch: int, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, Mapping[str, tuple[int, ...]]]:
    """Digest of the model as it is measured, and the shapes that were fixed in it.

    Raises:
        ExportError: it is none, or cannot run with those shapes.
    """
    from nas_engine.export.fixed_shapes import fix_shapes
    from nas_engine.export.one_file import read_model

    fixed = fix_shapes(read_model(model), batch, shapes)
    if fixed.shapes:
        shown = ", ".join(f"{name} {shape}" for name, shape in fixed.shapes.items())
        _progress.print(f"{model.name} leaves axes of its inputs open: measured with {shown}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / model.name
        file.write_bytes(fixed.data)
        return _sent(nas, file, MODEL_MEDIA_TYPE), fixed.shapes


def _sent(nas: Hilnas, file: Path, media_type: str) -> str:
    """Digest of a file that is uploaded now, which shows how far that is."""
    with transferring(_progress, file.name, file.stat().st_size) as on_bytes:
        return nas.artifacts.upload(file, media_type, on_bytes=on_bytes).sha256


def followed(nas: Hilnas, job: JobDetail) -> tuple[MeasurementDetail, ClassificationDetail | None]:
    """The measurement once it is there, and the answers to images where they were asked for.

    Raises:
        HilnasError: a job failed or was cancelled.
    """
    job = ended(nas, job, _progress)
    classify_job_id = job.classify_job_id
    if (following := _result_id(job, "next_job_id")) is not None:
        job = ended(nas, nas.jobs.get(following), _progress)
    measured = nas.measurements.get(_result_id(job, "measurement_id") or "")
    if classify_job_id is None:
        return measured, None
    done = ended(nas, nas.jobs.get(classify_job_id), _progress)
    return measured, nas.classifications.get(_result_id(done, "classification_id") or "")


def _result_id(job: JobDetail, member: str) -> str | None:
    result = job.result if isinstance(job.result, dict) else {}
    return str(result[member]) if member in result else None


def ended(nas: Hilnas, job: JobDetail, console: Console) -> JobDetail:
    """The job once it is done; says what it waits for.

    Raises:
        HilnasError: it failed or was cancelled.
    """
    with working(console) as say:
        while True:
            say(_standing(job))
            match job.state.value:
                case "done":
                    return job
                case "failed" | "cancelled":
                    raise HilnasError(f"{job.id} {job.state.value}: {job.failure_type or '-'}: {job.failure_message}")
                case _:
                    time.sleep(POLL_S)
                    job = nas.jobs.get(job.id)


def _standing(job: JobDetail) -> str:
    if job.queue_position is None:
        phase = "" if job.phase is None else f" ({job.phase.value})"
        return f"{job.kind.value} {job.state.value}{phase}"
    eta = "" if job.eta_s is None else f", about {job.eta_s:.0f} s to go"
    waiting = job.waiting_for
    if job.num_takers == 0 and not waiting:  # a server of an earlier release
        waiting = "no board that can do it takes jobs now"
    return f"{job.kind.value} queued, number {job.queue_position}{eta}" + (waiting and f"; {waiting}")


def _print_measurement(measured: MeasurementDetail) -> None:
    from nas_engine.domain.uncertainty import Interval, quantity_text

    stats = measured.stats
    _console.print(f"{measured.id}  {measured.device_type}  [bold]{measured.kind}[/bold], {measured.validity}")
    latency = quantity_text(Interval(stats.p50_us, stats.ci95_low_us, stats.ci95_high_us), "us")
    least = quantity_text(Interval(stats.min_us), "us")
    _console.print(f"p50 {latency} (± is half a 95 % interval), min {least}, {stats.count} runs")
    for flag in measured.flags:
        _console.print(f"  {flag.validity}: {flag.reason}")


def _print_classification(classified: ClassificationDetail) -> None:
    from nas_engine.domain.uncertainty import uncertain_text, value_text

    _console.print(
        f"{classified.id}  top-1 {uncertain_text(classified.top1, classified.standard_error, 'fraction')} of "
        f"{classified.num_images} images, [bold]{classified.kind}[/bold] in {classified.dtype}"
    )
    loss = classified.loss
    if loss is not None:
        lost = uncertain_text(loss.value, loss.standard_error, "fraction", signed=True)
        _console.print(
            f"  loss against float {lost} (paired); {value_text(loss.agreement, 'fraction')} of the answers agree"
        )
