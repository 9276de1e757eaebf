"""Published models of the AttentiveNAS space, in the configuration files' own form.

A0-A4 and A6 are the same networks in AttentiveNAS and AlphaNet; their A5 differ, and AlphaNet has two
(facebookresearch/AlphaNet issue 1). A0 is also the smallest subnet.
"""

from __future__ import annotations

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import NamedArchitecture

_ATTENTIVE = "facebookresearch/AttentiveNAS configs/eval_attentive_nas_models.yml"
_ALPHA = "facebookresearch/AlphaNet configs/eval_alphanet_models.yml"


def _subnet(
    resolution: int, width: list[int], depth: list[int], kernel_size: list[int], expand_ratio: list[int]
) -> JsonValue:
    return {
        "resolution": resolution,
        "width": width,
        "depth": depth,
        "kernel_size": kernel_size,
        "expand_ratio": expand_ratio,
    }


_A0 = _subnet(192, [16, 16, 24, 32, 64, 112, 192, 216, 1792], [1, 3, 3, 3, 3, 3, 1], [3] * 7, [1, 4, 4, 4, 4, 6, 6])
_SHARED = {
    "a0": _A0,
    "a1": _subnet(
        224,
        [16, 16, 24, 32, 64, 112, 192, 216, 1984],
        [1, 3, 3, 3, 3, 3, 1],
        [3, 3, 3, 5, 3, 5, 3],
        [1, 4, 4, 4, 4, 6, 6],
    ),
    "a2": _subnet(
        224,
        [16, 16, 24, 32, 64, 112, 200, 224, 1984],
        [1, 3, 3, 3, 3, 4, 1],
        [3, 3, 3, 3, 3, 5, 3],
        [1, 4, 5, 4, 4, 6, 6],
    ),
    "a3": _subnet(
        224,
        [16, 16, 24, 32, 64, 112, 208, 224, 1984],
        [2, 3, 3, 4, 3, 5, 1],
        [3, 3, 3, 5, 3, 3, 3],
        [1, 4, 4, 4, 4, 6, 6],
    ),
    "a4": _subnet(
        256,
        [16, 16, 24, 32, 64, 112, 192, 216, 1984],
        [1, 3, 3, 4, 3, 5, 1],
        [3, 3, 3, 5, 3, 5, 3],
        [1, 4, 4, 5, 4, 6, 6],
    ),
    "a6": _subnet(
        288,
        [16, 16, 24, 32, 64, 112, 216, 224, 1984],
        [1, 3, 3, 4, 4, 6, 1],
        [3, 3, 3, 3, 3, 5, 3],
        [1, 4, 6, 5, 4, 6, 6],
    ),
}
_ATTENTIVE_A5 = _subnet(
    256,
    [16, 16, 24, 32, 72, 112, 192, 216, 1792],
    [1, 3, 3, 3, 4, 6, 1],
    [3, 3, 3, 5, 3, 3, 3],
    [1, 4, 5, 4, 4, 6, 6],
)
_ALPHA_A5_SMALL = _subnet(
    256,
    [16, 16, 24, 32, 64, 112, 208, 216, 1984],
    [1, 3, 3, 4, 4, 5, 1],
    [3, 3, 3, 3, 3, 5, 3],
    [1, 4, 4, 5, 4, 6, 6],
)
_ALPHA_A5_BASE = _subnet(
    288,
    [16, 16, 24, 32, 64, 112, 200, 216, 1984],
    [2, 3, 4, 3, 3, 5, 1],
    [3, 3, 5, 5, 3, 3, 3],
    [1, 4, 4, 4, 5, 6, 6],
)
_LARGEST = _subnet(
    288, [24, 24, 32, 40, 72, 128, 216, 224, 1984], [2, 5, 6, 6, 8, 8, 2], [5] * 7, [1, 6, 6, 6, 6, 6, 6]
)

PUBLISHED = (
    *(
        NamedArchitecture(f"attentivenas-{name}", document, _ATTENTIVE)
        for name, document in sorted({**_SHARED, "a5": _ATTENTIVE_A5}.items())
    ),
    *(
        NamedArchitecture(f"alphanet-{name}", document, _ALPHA)
        for name, document in sorted({**_SHARED, "a5-small": _ALPHA_A5_SMALL, "a5-base": _ALPHA_A5_BASE}.items())
    ),
    NamedArchitecture("smallest", _A0, "sample_min_subnet of AttentiveNAS"),
    NamedArchitecture("largest", _LARGEST, "sample_max_subnet of AttentiveNAS"),
)
