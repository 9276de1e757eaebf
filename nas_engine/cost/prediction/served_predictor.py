"""A fitted predictor as it is served: plain arrays in a file, evaluated with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from nas_engine.cost.prediction.array_file import DAMAGE, array_file, read_array_file
from nas_engine.cost.prediction.encodings import FeatureEncoding, Floats, GenotypeFeatures
from nas_engine.cost.prediction.mean_arrays import ProcessArrays, TreeArrays
from nas_engine.cost.prediction.served_genes import genes_document, genes_of, genotype_rows, same_genes
from nas_engine.cost.prediction.target_scale import Scale, TargetScale
from nas_engine.domain.errors import EngineError
from nas_engine.domain.search_space import Gene

MEDIA_TYPE = "application/vnd.hilnas.latency-predictor+npz"
MAX_BYTES = 64 << 20
_SCHEMA = 1
_ARRAYS = {"process": ProcessArrays, "trees": TreeArrays}


@dataclass(frozen=True, slots=True)
class ServedEstimates:
    """Estimates of a batch of genotypes, in the metric's unit.

    Attributes:
        values: expected.
        low, high: ends of the intervals.
    """

    values: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class ServedPredictor:
    """Predicts a metric of the genotypes of one space, with intervals.

    Attributes:
        genes: of the space it was fitted in.
        encoding: of genotypes.
        scale: of the targets.
        arrays: of the mean.
        margin: half width of the intervals, in units of the targets: so far off were models that had not seen a sample.
        nominal: share of new evaluations that intervals are made to hold.
    """

    genes: tuple[Gene, ...]
    encoding: FeatureEncoding
    scale: TargetScale
    arrays: ProcessArrays | TreeArrays
    margin: float
    nominal: float

    def estimate(self, genotypes: Sequence[Sequence[int]]) -> ServedEstimates:
        """Estimate genotypes.

        Raises:
            InvalidGenotypeError: one is of another space.
        """
        mean = self.arrays.mean(self._features, genotype_rows(self.genes, genotypes))
        ends = self.scale.backward(mean - self.margin), self.scale.backward(mean + self.margin)
        return ServedEstimates(self.scale.backward(mean), np.minimum(*ends), np.maximum(*ends))

    @cached_property
    def _features(self) -> GenotypeFeatures:
        return GenotypeFeatures(self.genes, self.encoding)

    def is_of(self, genes: Sequence[Gene]) -> bool:
        """Whether a space's genes are still those it was fitted in."""
        return same_genes(genes, self.genes)

    def to_bytes(self) -> bytes:
        """Write the file."""
        kind = "process" if isinstance(self.arrays, ProcessArrays) else "trees"
        values = {one.name: getattr(self.arrays, one.name) for one in fields(self.arrays)}
        header = {
            "schema": _SCHEMA,
            "kind": kind,
            "encoding": self.encoding.value,
            "scale": dict(self.scale.document()),
            "margin": self.margin,
            "nominal": self.nominal,
            "genes": genes_document(self.genes),
            "numbers": {name: value for name, value in values.items() if isinstance(value, float)},
        }
        arrays = {name: value for name, value in values.items() if not isinstance(value, float)}
        return array_file(header, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> ServedPredictor:
        """Read a file.

        Raises:
            EngineError: it is damaged, or of another version.
        """
        try:
            header, stored = read_array_file(content, _SCHEMA)
            arrays: Any = _ARRAYS[header["kind"]](**stored, **header["numbers"])
            return cls(
                genes=genes_of(header["genes"]),
                encoding=FeatureEncoding(header["encoding"]),
                scale=TargetScale(**{**header["scale"], "scale": Scale(header["scale"]["scale"])}),
                arrays=arrays,
                margin=float(header["margin"]),
                nominal=float(header["nominal"]),
            )
        except DAMAGE as error:
            raise EngineError(f"the file of a predictor is damaged: {error}; have it fitted anew") from error
