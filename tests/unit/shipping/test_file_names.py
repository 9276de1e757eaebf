"""Names of model files, and what files say about themselves."""

from __future__ import annotations

import hashlib
import re

import pytest

from nas_engine.export.model_metadata import ModelMetadata, WeightOrigin, product_version, provenance_text
from server.artifacts.artifact import FILE_NAME, ModelFormat, WeightsOrigin
from server.artifacts.file_names import model_file_name, title_of
from server.measuring.canaries.golden import golden_onnx

ARCH = "29520446bbb1" + "0" * 52


@pytest.mark.parametrize(
    ("space", "dtype", "format", "weights", "target", "name"),
    [
        ("spos", "fp32", ModelFormat.ONNX, WeightsOrigin.INHERITED, None, "spos-29520446bbb1-fp32.onnx"),
        ("spos", "w8a8", ModelFormat.RKNN, WeightsOrigin.INHERITED, "rk3588", "spos-29520446bbb1-w8a8-rk3588.rknn"),
        ("spos", "fp32", ModelFormat.ONNX, WeightsOrigin.RETRAINED, None, "spos-29520446bbb1-retrained-fp32.onnx"),
        (
            "spos",
            "fp32",
            ModelFormat.ONNX,
            WeightsOrigin.RANDOM,
            None,
            "spos-29520446bbb1-latency-probe-random-weights-fp32.onnx",
        ),
        ('../x"\r\n;', "fp32", ModelFormat.ONNX, WeightsOrigin.INHERITED, None, "x--29520446bbb1-fp32.onnx"),
    ],
)
def test_a_file_is_named_for_what_it_is(
    space: str, dtype: str, format: ModelFormat, weights: WeightsOrigin, target: str | None, name: str
) -> None:
    assert model_file_name(space, ARCH, dtype, format, weights, target) == name
    assert re.fullmatch(FILE_NAME, name)


def test_random_weights_are_called_a_latency_probe_everywhere() -> None:
    assert title_of(WeightsOrigin.RANDOM) == "latency probe (random weights)"
    metadata = ModelMetadata(arch_id=ARCH, latency_key="k", weights=WeightOrigin.RANDOM, space="spos").entries()
    assert metadata["hilnas.purpose"] == "latency probe (random weights)"
    assert {"hilnas.search", "hilnas.version"} & metadata.keys() == set(), "equal networks share the file"


def test_the_golden_model_has_the_bytes_of_the_first_release() -> None:
    digest = "1c6a858764a236c40d850695e910eca522cd427645fe651be00adad8d8cb4d37"
    assert hashlib.sha256(golden_onnx()).hexdigest() == digest, "baselines of boards are filed under it"


def test_one_line_says_where_a_converted_file_comes_from() -> None:
    metadata = ModelMetadata(
        arch_id=ARCH, latency_key="k", weights=WeightOrigin.INHERITED, space="spos", search="srch_1"
    ).entries()
    said = provenance_text(metadata)
    assert said == f"space=spos;arch_id={ARCH};weights=inherited;search=srch_1;version={product_version()}"
