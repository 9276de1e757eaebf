"""``hilnas models``: one ONNX file to RKNN by hand, with the compiler's view of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.options import JsonOption, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.terminal import make_console
from hilnas.cli.working import working
from nas_engine.domain.errors import ExportError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.uncertainty import value_text
from nas_engine.export.convert_file import ConvertedFile, convert_file
from nas_engine.export.rknn.settings import RknnSettings

app = new_app("Convert an ONNX model for RKNN boards.")
_console = make_console()
_progress = make_console(stderr=True)


@app.command()
def convert(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="ONNX file with static shapes.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write [MODEL.rknn].")] = None,
    dtype: Annotated[str, typer.Option(help="fp16 or w8a8.")] = "fp16",
    calibration: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Images for w8a8: .npy or .npz (N, C, H, W).")
    ] = None,
    target: Annotated[str, typer.Option(help="Chip, as the toolkit names it.")] = "rk3588",
    npu_only: Annotated[bool, typer.Option(help="Fail where an operator is left to the CPU.")] = False,
    python: Annotated[
        Path | None, typer.Option(help="Python of the converter's environment (HILNAS_RKNN_PYTHON, .venv-rknn).")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds the conversion may take.")] = 600.0,
    as_json: JsonOption = False,
) -> None:
    """Write MODEL.rknn and MODEL.cycles.json, and say what the compiler makes of the model."""
    try:
        settings = RknnSettings(dtype=Dtype(dtype), target_platform=target)
    except ValueError as error:
        raise ExportError(f"--dtype {dtype!r}: use fp16 or w8a8") from error
    with working(_progress) as say:
        if _progress.is_terminal:
            say(f"{model.name} is being converted")
        made = convert_file(
            model,
            output or model.with_suffix(".rknn"),
            settings,
            calibration_file=calibration,
            python=python,
            timeout_s=timeout_s,
        )
    print_json(_document(made, target)) if as_json else _print(made, target)
    if npu_only and not made.cycles.npu_only:
        raise ExportError(f"{len(made.cycles.cpu_fallbacks)} operators are left to the CPU, and --npu-only allows none")


def _document(made: ConvertedFile, target: str) -> dict[str, JsonValue]:
    cycles = made.cycles
    return {
        "model": str(made.model),
        "cycle_table": str(made.table),
        "toolkit_version": made.toolkit_version,
        "num_layers": len(cycles.layers),
        "total_cycles": cycles.total_cycles,
        "simulated_latency_us": made.simulated.latency_us if target == "rk3588" else None,
        "weight_bytes": cycles.weight_memory_bytes,
        "activation_bytes": cycles.internal_memory_bytes,
        "left_to_the_cpu": [{"operator": one.operator, "layer": one.name} for one in cycles.cpu_fallbacks],
    }


def _print(made: ConvertedFile, target: str) -> None:
    cycles = made.cycles
    _console.print(f"{made.model} and {made.table}, by rknn-toolkit2 {made.toolkit_version}")
    # Only this chip's clock is known.
    time = (
        f": {value_text(made.simulated.latency_us, 'us')} [bold]simulated[/bold], not measured"
        if target == "rk3588"
        else ""
    )
    _console.print(
        f"{len(cycles.layers)} layers, {cycles.total_cycles} cycles{time}; weights "
        f"{cycles.weight_memory_bytes} bytes, activations {cycles.internal_memory_bytes} bytes"
    )
    if cycles.cpu_fallbacks:
        table = Table("left to the CPU", "layer")
        for layer in cycles.cpu_fallbacks:
            table.add_row(layer.operator, layer.name)
        _console.print(table)
