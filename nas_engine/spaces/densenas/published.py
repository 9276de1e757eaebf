"""Published DenseNAS networks, in net_config form.

A and C: figure and training configuration of JaminFong/DenseNAS. B is shown there as a figure only; its
encoding was recovered by exhaustive search for the one network of the space whose latency-table sums, MACs
and parameters equal the reference-measured ones (see docs/explanation/densenas.md). R1, R2, R3: Table 1
of the supplementary material. DenseNAS-Large was never published as an encoding.
"""

from __future__ import annotations

from nas_engine.domain.search_space import NamedArchitecture

_REPOSITORY = "JaminFong/DenseNAS README, architecture figure"
_TABLE = "Fang et al., CVPR 2020, supplementary Table 1"


def _net_config(*entries: str) -> str:
    return "|".join(entries)


def _resnet(operator: str, *rows: tuple[int, int, int, int]) -> str:
    """Rows of (input width, output width, layers of the block, stride)."""
    entries = []
    for in_channels, out_channels, num_layers, stride in rows:
        stack = ", ".join([f"'{operator}'"] * (num_layers - 1))
        entries.append(f"[[{in_channels}, {out_channels}], '{operator}', [{stack}], {num_layers - 1}, {stride}]")
    return _net_config(*entries)


_R1 = ((32, 64, 1, 2), (64, 72, 2, 2), (72, 176, 6, 2), (176, 192, 3, 1), (192, 288, 1, 2), (288, 512, 1, 1))
_R2 = ((32, 48, 1, 2), (48, 72, 4, 2), (72, 176, 16, 2), (176, 208, 4, 1), (208, 288, 2, 2), (288, 512, 1, 1))

MBV2_MODELS = (
    NamedArchitecture(
        "densenas-a",
        _net_config(
            "[[16, 16], 'mbconv_k3_t1', [], 0, 1]",
            "[[16, 24], 'mbconv_k3_t3', [], 0, 2]",
            "[[24, 48], 'mbconv_k7_t6', ['mbconv_k7_t3'], 1, 2]",
            "[[48, 72], 'mbconv_k5_t6', ['mbconv_k3_t3', 'mbconv_k5_t3'], 2, 2]",
            "[[72, 128], 'mbconv_k3_t3', ['mbconv_k3_t3'], 1, 1]",
            "[[128, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t3', 'mbconv_k3_t6'], 3, 2]",
            "[[176, 384], 'mbconv_k5_t6', [], 0, 1]",
            "[[384, 1984], 'conv1_1']",
        ),
        f"{_REPOSITORY}: 251M MACs, 73.1 % top-1",
    ),
    NamedArchitecture(
        "densenas-b",
        _net_config(
            "[[16, 16], 'mbconv_k3_t1', [], 0, 1]",
            "[[16, 24], 'mbconv_k3_t6', [], 0, 2]",
            "[[24, 48], 'mbconv_k5_t3', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, 2]",
            "[[48, 72], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k5_t3'], 2, 2]",
            "[[72, 128], 'mbconv_k3_t6', ['mbconv_k3_t3'], 1, 1]",
            "[[128, 160], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k5_t6', 'mbconv_k5_t3'], 3, 2]",
            "[[160, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t6'], 2, 1]",
            "[[176, 384], 'mbconv_k7_t6', [], 0, 1]",
            "[[384, 1984], 'conv1_1']",
        ),
        f"{_REPOSITORY}: 314M MACs, 74.6 % top-1 (encoding recovered from its measured sums)",
    ),
    NamedArchitecture(
        "densenas-c",
        _net_config(
            "[[16, 16], 'mbconv_k3_t1', [], 0, 1]",
            "[[16, 24], 'mbconv_k3_t6', [], 0, 2]",
            "[[24, 48], 'mbconv_k7_t6', ['mbconv_k3_t3'], 1, 2]",
            "[[48, 72], 'mbconv_k5_t6', ['mbconv_k3_t6', 'mbconv_k3_t3'], 2, 2]",
            "[[72, 128], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, 1]",
            "[[128, 160], 'mbconv_k3_t6', ['mbconv_k7_t3', 'mbconv_k5_t6', 'mbconv_k7_t3'], 3, 2]",
            "[[160, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t6', 'mbconv_k3_t6'], 3, 1]",
            "[[176, 384], 'mbconv_k7_t6', [], 0, 1]",
            "[[384, 1984], 'conv1_1']",
        ),
        f"{_REPOSITORY}: 361M MACs, 75.3 % top-1",
    ),
)

RESNET_MODELS = (
    NamedArchitecture("densenas-r1", _resnet("basic_block", *_R1), f"{_TABLE}: 1.61G MACs, 73.5 % top-1"),
    NamedArchitecture("densenas-r2", _resnet("basic_block", *_R2), f"{_TABLE}: 3.06G MACs, 75.8 % top-1"),
    NamedArchitecture("densenas-r3", _resnet("bottle_neck", *_R2), f"{_TABLE}: 3.41G MACs, 78.0 % top-1"),
)
