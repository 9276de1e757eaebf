"""The published text form: read, written, and refused with the position of what is wrong."""

from __future__ import annotations

import pytest

from nas_engine.domain.errors import EngineWarning, InvalidArchitectureError
from nas_engine.spaces.densenas.net_config import (
    MAX_TEXT_LENGTH,
    Ending,
    parse_net_config,
    read_net_config,
)
from nas_engine.spaces.densenas.published import MBV2_MODELS, RESNET_MODELS

A = "[[16, 24], 'mbconv_k3_t3', [], 0, 2]"
END = "[[24, 1984], 'conv1_1']"


@pytest.mark.parametrize("model", MBV2_MODELS + RESNET_MODELS, ids=lambda m: m.name)
def test_published_texts_are_written_as_they_are_read(model: object) -> None:
    ending = Ending.CONV1 if model in MBV2_MODELS else Ending.NONE
    network = parse_net_config(model.document, ending)  # type: ignore[attr-defined]
    assert network.text() == model.document  # type: ignore[attr-defined]
    assert read_net_config(network.as_json(), ending) == network


def test_line_breaks_and_double_quotes_are_read_too() -> None:
    text = f"\n{A} |\n" + END.replace("'", '"')
    assert parse_net_config(text, Ending.CONV1).text() == f"{A}|{END}"


def test_skips_among_the_stack_operators_are_left_out() -> None:
    text = "[[32, 64], 'basic_block', ['skip_connect', 'basic_block'], 2, 2]"
    assert parse_net_config(text, Ending.NONE).text() == "[[32, 64], 'basic_block', ['basic_block'], 1, 2]"


@pytest.mark.parametrize("stated", [0, 1, 7])
def test_a_stated_number_of_layers_that_contradicts_the_list_is_warned_of_and_ignored(stated: int) -> None:
    text = f"[[16, 24], 'mbconv_k3_t3', ['mbconv_k3_t3', 'skip_connect'], {stated}, 2]|{END}"
    with pytest.warns(EngineWarning, match=f"entry 1: number of stack layers is {stated}, 2 are listed"):
        network = parse_net_config(text, Ending.CONV1)
    assert network.text() == f"[[16, 24], 'mbconv_k3_t3', ['mbconv_k3_t3'], 1, 2]|{END}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "entry 1 .*cannot read"),
        ("nonsense", "entry 1 .*cannot read 'nonsense'"),
        (f"{A}|[[24", "entry 2 at column .* cannot read"),
        ("[" * 15_000, "entry 1.* cannot read"),
        (A, r"entry 1 .*the last entry must be \[\[in, out\], 'conv1_1'\]"),
        (f"{END}|{END}", "entry 1 .*may only stand last"),
        (END, "no block"),
        (
            f"[[16, 24], 'mbconv_k4_t3', [], 0, 2]|{END}",
            r"entry 1: head operator 'mbconv_k4_t3' is none of mbconv_k\{3,5,7\}",
        ),
        (f"[[16, 24], 'skip_connect', [], 0, 2]|{END}", "entry 1: head operator 'skip_connect' is none of"),
        (f"[[16, 24], 'mbconv_k3_t3', ['x'], 1, 2]|{END}", "entry 1: stack operator 1 is 'x': allowed are"),
        (f"[[16, 24], 'mbconv_k3_t3', 'x', 1, 2]|{END}", "entry 1: stack operators are 'x', not a list"),
        (f"[[16, 24], 'mbconv_k3_t3', [], -1, 2]|{END}", "number of stack layers is -1, not a whole number"),
        (f"[[16, 24], 'mbconv_k3_t3', [], true, 2]|{END}", "number of stack layers is True, not a whole number"),
        (f"[[16, 24], 'mbconv_k3_t3', [], 0, 3]|{END}", "entry 1: stride is 3, allowed are 1 and 2"),
        (f"[[16, 24], 'mbconv_k3_t3', [], 0, true]|{END}", "entry 1: stride is True"),
        (f"[[16, 0], 'mbconv_k3_t3', [], 0, 2]|{END}", r"entry 1: widths are \[16, 0\]"),
        (f"[[16], 'mbconv_k3_t3', [], 0, 2]|{END}", r"entry 1: widths are \[16\]"),
        (f"{A}|[[25, 1984], 'conv1_1']", "entry 2: its input width is 25, but entry 1 gives 24"),
        (f"{A}|[[24, 1984.5], 'conv1_1']", "entry 2: widths are"),
        ("x" * (MAX_TEXT_LENGTH + 1), "characters: 20000 are allowed"),
    ],
)
def test_what_is_wrong_is_named_with_its_position(text: str, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        parse_net_config(text, Ending.CONV1)


def test_a_resnet_network_may_not_end_with_a_1x1_convolution() -> None:
    with pytest.raises(InvalidArchitectureError, match="entry 2 .*may only stand last"):
        parse_net_config("[[32, 64], 'basic_block', [], 0, 2]|[[64, 512], 'conv1_1']", Ending.NONE)


@pytest.mark.parametrize("document", [{}, [], 7, None])
def test_a_document_that_is_no_list_of_entries_is_refused(document: object) -> None:
    with pytest.raises(InvalidArchitectureError, match="a net_config is a list of entries"):
        read_net_config(document, Ending.NONE)  # type: ignore[arg-type]
