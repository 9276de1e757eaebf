"""What a model loses by the RKNN compiler's arithmetic, told by the toolkit's simulator: no board is asked.

Run it with the converter's Python (`make rknn`), with two image sets (`hilnas images pack`):

    .venv-rknn/bin/python benchmarks/boards/quantisation_loss.py MODEL.onnx TEST.images CALIBRATION.images
        [--num-images N]

The first N test images are answered by ONNX Runtime in fp32, and by the simulator in fp16 and w8a8 (calibrated with the
first 64 calibration images). The losses are paired; the simulator gives numerics only, never a latency.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the converter's environment does not hold hilnas

from nas_engine.domain.measuring.classification import Predictions, paired_loss, top1
from nas_engine.domain.measuring.image_set import ImageSetFile

CALIBRATION_IMAGES = 64
Answer = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating[Any]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per arithmetic, last: the toolkit talks on standard output too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "test", "calibration"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--num-images", type=int)
    parsed = parser.parse_args(arguments)
    with parsed.test.open("rb") as test_stream, parsed.calibration.open("rb") as calibration_stream:
        test, calibration = ImageSetFile(test_stream), ImageSetFile(calibration_stream)
        num_images = min(parsed.num_images or test.header.num_images, test.header.num_images)
        labels_N = test.labels_N[:num_images]
        model = parsed.model.resolve()
        reference_N = _answers(_in_float(model), test, num_images)
        found = top1(reference_N, labels_N)
        lines = [f"fp32  top-1 {found.value:.2%} (standard error {found.standard_error:.2%})"]
        for name in ("fp16", "w8a8"):
            with tempfile.TemporaryDirectory() as folder:
                answer = _simulated(model, calibration if name == "w8a8" else None, Path(folder))
                predictions_N = _answers(answer, test, num_images)
            loss = paired_loss(reference_N, predictions_N, labels_N)
            lines.append(
                f"{name}  top-1 {top1(predictions_N, labels_N).value:.2%}, loss {loss.loss:+.2%} "
                f"(standard error {loss.standard_error:.2%}), {loss.agreement:.2%} of the answers agree"
            )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _answers(answer: Answer, images: ImageSetFile, num_images: int) -> Predictions:
    found = [int(np.asarray(answer(images.inputs(at, at + 1))).argmax()) for at in range(num_images)]
    return np.array(found, dtype=np.uint16)


def _in_float(model: Path) -> Answer:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _simulated(model: Path, calibration: ImageSetFile | None, folder: Path) -> Answer:
    """The toolkit's simulator of the model as built; it works in `folder`, where its calibration list lies."""
    from rknn.api import RKNN

    os.chdir(folder)
    listed: str | None = None
    if calibration is not None:
        listed = "list.txt"
        x_N = calibration.inputs(0, min(CALIBRATION_IMAGES, calibration.header.num_images))
        for place, x in enumerate(x_N):
            np.save(folder / f"{place}.npy", x[None])
        (folder / listed).write_text("".join(f"{place}.npy\n" for place in range(len(x_N))))
    toolkit = RKNN(verbose=False)
    _checked(toolkit.config(target_platform="rk3588", quantized_dtype="w8a8"), "config")
    _checked(toolkit.load_onnx(model=str(model)), "load_onnx")
    _checked(toolkit.build(do_quantization=listed is not None, dataset=listed), "build")
    _checked(toolkit.init_runtime(), "init_runtime")
    return lambda x: toolkit.inference(inputs=[x], data_format=["nchw"])[0]


def _checked(code: int | None, what: str) -> None:
    if code not in (0, None):
        raise SystemExit(f"rknn-toolkit2: {what} returned {code}")


if __name__ == "__main__":
    raise SystemExit(main())
