"""The genes that something served was made for: kept in its file, and what genotypes are checked against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nas_engine.cost.prediction.encodings import Genotypes
from nas_engine.domain.search_space import Gene, validate_genotype


def genotype_rows(genes: Sequence[Gene], genotypes: Sequence[Sequence[int]]) -> Genotypes:
    """Genotypes as rows, (num, num_genes), checked all at once: hundreds of them are asked for in one call.

    Raises:
        InvalidGenotypeError: one is of another space.
    """
    if all(len(one) == len(genes) for one in genotypes):
        rows = np.asarray(genotypes, dtype=np.int64).reshape(len(genotypes), len(genes))
        if ((rows >= 0) & (rows < [gene.num_choices for gene in genes])).all():
            return rows
    return np.asarray([validate_genotype(tuple(genes), one) for one in genotypes])  # says which is wrong


def same_genes(first: Sequence[Gene], second: Sequence[Gene]) -> bool:
    """Whether genotypes mean the same under both."""
    return [(one.name, one.options) for one in first] == [(one.name, one.options) for one in second]


def genes_document(genes: Sequence[Gene]) -> list[list[Any]]:
    """Genes as JSON, for a file."""
    return [[gene.name, list(gene.options), gene.group] for gene in genes]


def genes_of(document: Sequence[Sequence[Any]]) -> tuple[Gene, ...]:
    """Inverse of `genes_document`. Raises ValueError or TypeError where the document is damaged."""
    return tuple(Gene(name, tuple(options), group) for name, options, group in document)
