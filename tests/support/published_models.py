"""Renders docs/reference/published_models.md: ``python -m tests.support.published_models`` writes it anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.registry import create_space, space_ids, space_title
from tests.support.reference import vectors

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "published_models.md"
LABELS = {  # space id -> label in vectors/known_answers.json
    "spos": "spos_shufflenetv2_20x4",
    "scarlet-s1": "scarlet_S1_19x7",
    "scarlet-s2": "scarlet_S2_19x13",
    "densenas-mbv2": "densenas_mbv2",
    "densenas-resnet": "densenas_resnet",
    "attentivenas": "attentivenas",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """In millions, as printed; None where nobody published the number."""

    published_macs: float | None = None
    published_params: float | None = None
    measured_macs: float | None = None
    measured_params: float | None = None


# Models that known_answers.json does not list: what the papers and repositories print, and what the
# published code gives when it is measured.
OTHERS = {
    "fairnas-a": Figures(published_macs=388, measured_macs=388.12, measured_params=4.651352),
    "fairnas-b": Figures(published_macs=345, measured_macs=345.30, measured_params=4.506272),
    "fairnas-c": Figures(published_macs=321, measured_macs=321.02, measured_params=4.397864),
    "scarlet-b": Figures(published_macs=329, measured_macs=326.853, measured_params=6.531556),
    "all-k7e6-se": Figures(measured_macs=561.340928),
    "densenas-b": Figures(published_macs=314, measured_macs=313.58, measured_params=5.58),
    "densenas-r2": Figures(published_macs=3060, measured_macs=3059.34, measured_params=19.47),
    "attentivenas-a3": Figures(published_macs=357, measured_macs=356.518),
    "attentivenas-a5": Figures(published_macs=491, measured_macs=490.520),
    "attentivenas-a6": Figures(published_macs=709, measured_macs=709.007),
    "alphanet-a3": Figures(published_macs=357, measured_macs=356.518),
    "alphanet-a5-base": Figures(published_macs=596, measured_macs=594.786),
    "alphanet-a6": Figures(published_macs=709, measured_macs=709.007),
    "largest": Figures(measured_macs=1939.336),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published model."""

    name: str
    figures: Figures
    macs: int
    params: int


def rows(space_id: str) -> list[Row]:
    """Every published model of a space, with what we count."""
    space = create_space(space_id)
    found = []
    for name in space.named:
        graph = space.graph(space.parse(name), Form.DEPLOYED)
        assert graph is not None
        cost = complexity(graph)
        found.append(Row(name=name, figures=_figures(space, name), macs=cost.macs, params=cost.params))
    return found


def render() -> str:
    """The whole page."""
    sections = [_HEAD]
    for space_id in space_ids():
        lines = [f"## `{space_id}`", "", space_title(space_id), "", *_TABLE_HEAD, *map(_line, rows(space_id))]
        sections.append("\n".join(lines))
    return "\n\n".join(sections) + "\n"


_HEAD = """# Published models

Every network that the papers or their repositories publish with an encoding is shipped under a name that
`hilnas spaces decode SPACE --architecture NAME` and the API read. MACs are multiply-accumulates of convolutions and
linear layers for one image (no BN, activation, pooling or bias; squeeze-and-excite is counted); parameters are those of
the stand-alone network with affine BN. *Published* is what paper or README print; *reference* is the published code,
measured; *ours* is the complexity view of the layer graph. A dash: nobody gave the number.

`python -m tests.support.published_models` writes this page; a test holds it, and every reference figure, to the code.
The reference allocates a 1x1 convolution in AttentiveNAS' identity shortcuts that it never uses;
it is not counted here.
FairNAS' and SCARLET-B's parameters are those that cogsys-tuebingen/uninas counted on the published code.
SCARLET-B is published as 329M, its code has 326.85M; AlphaNet's A5-1 as 596M, its configuration has 594.79M."""

_TABLE_HEAD = (
    "| model | published MACs / params (M) | reference MACs / params (M) | our MACs | our params |",
    "|---|---|---|---|---|",
)


def _line(row: Row) -> str:
    f = row.figures
    published = f"{_number(f.published_macs)} / {_number(f.published_params)}"
    measured = f"{_number(f.measured_macs)} / {_number(f.measured_params)}"
    return f"| {row.name} | {published} | {measured} | {row.macs:,} | {row.params:,} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}" if value == int(value) else str(value)


def _figures(space: SearchSpace, name: str) -> Figures:
    """From the known answers where a model of the same encoding stands there, else from `OTHERS`."""
    architecture = space.parse(name)
    for model in _known(space.space_id):
        if space.parse(_document(space, model["encoding"])) == architecture and _same_family(name, model["model"]):
            return Figures(
                published_macs=model["macs_M"],
                published_params=model["params_M"],
                measured_macs=model["measured_macs_M"],
                measured_params=model["measured_params_M"],
            )
    return OTHERS.get(name, Figures())


def _known(space_id: str) -> list[dict[str, Any]]:
    models = vectors("known_answers")["models"]
    own = [model for model in models if model["space"].startswith(LABELS.get(space_id, "-"))]
    if space_id == "scarlet-s2":  # the two extremes without gates are networks of both spaces
        own += [m for m in models if m["model"].startswith("S1/S2")]
    return [m for m in own if m["encoding"] and m["measured_macs_M"] and "100-class" not in m["model"]]


def _document(space: SearchSpace, encoding: Any) -> Any:
    """The part of a known answer's encoding that the space reads."""
    if "s2_indices_our_order" in encoding:
        return encoding["s2_indices_our_order"]
    if "s1_indices" in encoding:
        skip = len(space.genes[0].options) - 1  # 6 in S1, 12 in S2
        return [skip if choice == 6 else choice for choice in encoding["s1_indices"]]
    return encoding


def _same_family(name: str, model: str) -> bool:
    """AttentiveNAS and AlphaNet publish equal networks with figures of their own."""
    return "alphanet" not in name or model.startswith("AlphaNet")


if __name__ == "__main__":
    PAGE.write_text(render())
