"""Encodings of genotypes for predictors: which choices of a gene are alike, and how often each operator is used."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.prediction.cells import Cell
from nas_engine.cost.prediction.choice_costs import ChoiceCosts
from nas_engine.domain.errors import EngineError
from nas_engine.domain.search_space import Gene

Floats = NDArray[np.float64]
Genotypes = NDArray[np.int64]

SMOOTHING_GENES = 3.0
"""Genes over which the cost of an operator is taken to stay alike (`Features.smooth`)."""

_WORDS = re.compile(r"[A-Za-z]+\d*|\d+")
_NUMBERED = re.compile(r"([A-Za-z]+)([1-9]\d*)")


class FeatureEncoding(Enum):
    """Which choices of one gene are taken to be alike.

    `choices`: none. `ordered`: neighbours in the order of the options (depths, widths, kernel sizes). `operators`:
    those whose labels share words, as k3_e6 and k3_e3 do, and by the ratio of their numbers, as k3 and k5; that counts
    for how often and where operators are used too, and genes of one group (a stage) are near to one another there.
    `cell`: genes are the edges of a cell, one operator breaks an edge, and edges on no path from input to output have
    no effect (see `cells`). `layers`: as `operators`, and what choices cost by the layer graphs counts: in a network's
    totals, and as likeness of any two choices of any two genes (see `choice_costs`).
    """

    CHOICES = "choices"
    ORDERED = "ordered"
    OPERATORS = "operators"
    CELL = "cell"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class Features:
    """Genotypes as numbers, one row each.

    Attributes:
        choices: one block of columns per gene; the product of two rows within a block is the likeness of two choices.
        counts: share of the genes that hold each option label.
        smooth: the same, weighted by how near a gene is, once per gene: products are high where two genotypes use an
            operator at about the same place.
        coarse: share of the genes that lie in each group and hold each label; of all groups where each gene is one.
        layers: products are high where two genotypes hold choices of like cost; no columns without layer graphs.
        totals: operator totals, standardised over the space; no columns without layer graphs.
    """

    choices: Floats
    counts: Floats
    smooth: Floats
    coarse: Floats
    layers: Floats
    totals: Floats

    def take(self, rows: NDArray[np.int64] | slice) -> Features:
        """Keep the genotypes at `rows`."""
        return Features(
            self.choices[rows],
            self.counts[rows],
            self.smooth[rows],
            self.coarse[rows],
            self.layers[rows],
            self.totals[rows],
        )


class GenotypeFeatures:
    """Computes the features of the genotypes of one space."""

    def __init__(self, genes: Sequence[Gene], encoding: FeatureEncoding, costs: ChoiceCosts | None = None) -> None:
        """See class.

        Args:
            genes: of the space.
            encoding: which choices are alike.
            costs: of the choices; `layers` needs them, the others do not look at them.

        Raises:
            EngineError: `layers` without costs.
        """
        self._offsets = np.cumsum([0, *(gene.num_choices for gene in genes)])
        self.blocks = tuple(slice(int(a), int(b)) for a, b in zip(self._offsets, self._offsets[1:], strict=False))
        self._mix = np.zeros((int(self._offsets[-1]),) * 2)
        for gene, block in zip(genes, self.blocks, strict=True):
            self._mix[block, block] = _mixed(_likeness(gene, encoding))
        pairs = [(position, gene.group, label) for position, gene in enumerate(genes) for label in gene.options]
        labels = sorted({label for _, _, label in pairs})
        groups = sorted({group for _, group, _ in pairs})
        column = np.asarray([labels.index(label) for _, _, label in pairs])
        are_operators = encoding in (FeatureEncoding.OPERATORS, FeatureEncoding.LAYERS)
        by_label = _mixed(_shared_words(labels)) if are_operators else np.eye(len(labels))
        self._to_label = by_label[column]
        distance = np.abs(np.subtract.outer(np.arange(len(genes)), np.arange(len(genes))))
        near = np.exp(-distance / SMOOTHING_GENES)
        if are_operators and len(groups) < len(genes):
            group_of = np.asarray([groups.index(gene.group) for gene in genes])
            near = 0.5 * near + 0.5 * np.equal.outer(group_of, group_of)
        nearness = _mixed(near)
        self._to_smooth = (
            nearness[[position for position, _, _ in pairs]][:, :, None] * self._to_label[:, None, :]
        ).reshape(len(pairs), -1)
        if len(groups) < len(genes):
            group = np.asarray([groups.index(name) for _, name, _ in pairs])
            by_place = np.kron(np.eye(len(groups)), by_label)
            self._to_coarse = by_place[group * len(labels) + column] * math.sqrt(len(groups))
        else:
            self._to_coarse = self._to_label
        self._num_genes = len(genes)
        self._to_layers = self._to_totals = np.zeros((len(pairs), 0))
        if encoding is FeatureEncoding.LAYERS:
            if costs is None:
                raise EngineError("predictor: encoding layers needs a space with layer graphs: fit the predictor anew")
            self._to_layers = _mixed(costs.likeness(tuple(genes)))
            self._to_totals = costs.totals(tuple(genes))
        self._cell = Cell.of(genes) if encoding is FeatureEncoding.CELL else None

    @property
    def num_choices(self) -> int:
        """Number of choices of all genes together."""
        return int(self._offsets[-1])

    def of(self, genotypes: Genotypes) -> Features:
        """Compute the features of valid genotypes, (num, num_genes)."""
        genotypes = self.effective(genotypes)
        one_hot = self.one_hot(genotypes)
        by_choice = self.by_choice()
        coarse = one_hot @ by_choice.coarse
        longest = self.longest(genotypes)
        if longest is not None:
            coarse = np.hstack([coarse, longest])
        return Features(
            one_hot @ by_choice.choices,
            one_hot @ by_choice.counts,
            one_hot @ by_choice.smooth,
            coarse,
            one_hot @ by_choice.layers,
            one_hot @ by_choice.totals,
        )

    def one_hot(self, genotypes: Genotypes, kind: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
        """One column per gene and choice, 1 where a genotype holds it."""
        columns = np.zeros((len(genotypes), int(self._offsets[-1])), dtype=kind)
        np.put_along_axis(columns, genotypes + self._offsets[:-1], 1.0, axis=1)
        return columns

    def by_choice(self) -> Features:
        """What each gene's choice adds to the features, one row per gene and choice; paths of a cell apart."""
        scale = 1.0 / math.sqrt(self._num_genes)
        return Features(
            self._mix,
            self._to_label * scale,
            self._to_smooth * scale,
            self._to_coarse * scale,
            self._to_layers * scale,
            self._to_totals,
        )

    def longest(self, genotypes: Genotypes) -> Floats | None:
        """Columns that `of` appends to `coarse`; None where the space is no cell."""
        return None if self._cell is None else self._cell.longest(genotypes)

    def effective(self, genotypes: Genotypes) -> Genotypes:
        """Genotypes with genes that the encoding knows to have no effect put to one choice."""
        return genotypes if self._cell is None else self._cell.effective(genotypes)


def distinct_encodings(genes: Sequence[Gene], costs: ChoiceCosts | None = None) -> tuple[FeatureEncoding, ...]:
    """List the encodings that differ on these genes, `choices` first; `layers` where there are costs of the choices."""
    kept: list[FeatureEncoding] = []
    for encoding in FeatureEncoding:
        if encoding is FeatureEncoding.CELL:
            if Cell.of(genes) is not None:
                kept.append(encoding)
            continue
        if encoding is FeatureEncoding.LAYERS:
            if costs is not None:
                kept.append(encoding)
            continue
        likeness = [_likeness(gene, encoding) for gene in genes]
        earlier = [[_likeness(gene, other) for gene in genes] for other in kept]
        if not any(all(np.allclose(a, b) for a, b in zip(likeness, other, strict=True)) for other in earlier):
            kept.append(encoding)
    return tuple(kept)


def _likeness(gene: Gene, encoding: FeatureEncoding) -> Floats:
    num = gene.num_choices
    same = np.eye(num)
    if encoding is FeatureEncoding.ORDERED and num > 2:
        places = np.arange(num) / (num - 1)
        return np.asarray(0.2 * same + 0.8 * np.exp(-2.0 * np.abs(np.subtract.outer(places, places))))
    if encoding in (FeatureEncoding.OPERATORS, FeatureEncoding.LAYERS) and num > 2:
        return _shared_words(gene.options)
    return same


def _shared_words(labels: Sequence[str]) -> Floats:
    """Likeness of labels by the words in them; the identity where no two share any."""
    same = np.eye(len(labels))
    words = [set(_WORDS.findall(label)) or {label} for label in labels]
    every = sorted(set().union(*words))
    alike = np.asarray([[_alike(a, b) for b in every] for a in every])
    table = np.asarray([[word in have for word in every] for have in words], dtype=np.float64)
    shared = table @ alike @ table.T
    shared /= np.sqrt(np.outer(np.diag(shared), np.diag(shared)))
    if np.allclose(shared[~same.astype(bool)], 0.0):
        return same
    return np.asarray(0.4 * same + 0.6 * shared)


def _mixed(likeness: Floats) -> Floats:
    """Rows whose products are these likenesses."""
    return np.asarray(np.linalg.cholesky(likeness + 1e-9 * np.eye(len(likeness))))


def _alike(a: str, b: str) -> float:
    """1 for equal words, the ratio of their numbers where only those differ (k3, k5), else 0."""
    first, second = _NUMBERED.fullmatch(a), _NUMBERED.fullmatch(b)
    if a == b or first is None or second is None or first[1] != second[1]:
        return float(a == b)
    numbers = sorted((int(first[2]), int(second[2])))
    return numbers[0] / numbers[1]
