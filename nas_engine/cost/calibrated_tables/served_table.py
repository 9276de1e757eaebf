"""A calibrated latency table as it is served: plain arrays in a file, evaluated with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.cost.calibrated_tables.sums import TableSums, arrays_of, sums_of
from nas_engine.cost.prediction.array_file import DAMAGE, array_file, read_array_file
from nas_engine.cost.prediction.encodings import Floats
from nas_engine.cost.prediction.served_genes import genes_document, genes_of, genotype_rows, same_genes
from nas_engine.cost.prediction.served_predictor import ServedEstimates
from nas_engine.domain.errors import EngineError
from nas_engine.domain.search_space import Gene

MEDIA_TYPE = "application/vnd.hilnas.table-estimate+npz"
MIN_NETWORKS = 20
"""Networks that are both in the table and measured, below which nothing is calibrated: an interval of 90 % would have
to be wider than every error that was seen."""

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From the logarithm of a table's sum to that of the latency: a ratio, and a slope near 1.

    What a table cannot know (how a runtime fuses operators, what caches hold, what a run costs beside its operators)
    makes networks slower or faster than their sums by about a factor, which changes a little with their size.

    Attributes:
        centre: logarithm about which the slope turns.
        offset: logarithm of latency over sum there.
        slope: change of the one logarithm with the other.
    """

    centre: float
    offset: float
    slope: float

    def logs(self, sums_us: Floats) -> Floats:
        """Logarithms of the latencies of networks with these sums; NaN for sums that are not above 0."""
        logs = np.log(np.where(sums_us > 0.0, sums_us, np.nan))
        return np.asarray(self.centre + self.offset + self.slope * (logs - self.centre))


@dataclass(frozen=True, kw_only=True)
class ServedTable:
    """Estimates latencies of the genotypes of one space from a latency table, with intervals.

    Attributes:
        genes: of the space of the table.
        sums: of the table.
        calibration: by networks that were measured.
        margin: half width of the intervals, of the logarithm of the latency.
        nominal: share of new measurements that intervals are made to hold.
    """

    genes: tuple[Gene, ...]
    sums: TableSums
    calibration: Calibration
    margin: float
    nominal: float

    def estimate(self, genotypes: Sequence[Sequence[int]]) -> ServedEstimates:
        """Estimate canonical genotypes, in microseconds; NaN where the table lacks an operator.

        Raises:
            InvalidGenotypeError: one is of another space.
        """
        logs = self.calibration.logs(self.sums.of(genotype_rows(self.genes, genotypes)))
        return ServedEstimates(np.exp(logs), np.exp(logs - self.margin), np.exp(logs + self.margin))

    def is_of(self, genes: Sequence[Gene]) -> bool:
        """Whether a space's genes are still those it was made for."""
        return same_genes(genes, self.genes)

    def to_bytes(self) -> bytes:
        """Write the file."""
        header = {
            "schema": _SCHEMA,
            "kind": self.sums.kind,
            "genes": genes_document(self.genes),
            "calibration": [self.calibration.centre, self.calibration.offset, self.calibration.slope],
            "margin": self.margin,
            "nominal": self.nominal,
        }
        return array_file(header, arrays_of(self.sums))

    @classmethod
    def from_bytes(cls, content: bytes) -> ServedTable:
        """Read a file.

        Raises:
            EngineError: it is damaged, or of another version.
        """
        try:
            header, arrays = read_array_file(content, _SCHEMA)
            centre, offset, slope = (float(one) for one in header["calibration"])
            return cls(
                genes=genes_of(header["genes"]),
                sums=sums_of(str(header["kind"]), arrays),
                calibration=Calibration(centre=centre, offset=offset, slope=slope),
                margin=float(header["margin"]),
                nominal=float(header["nominal"]),
            )
        except DAMAGE as error:
            raise EngineError(f"the file of a table's estimates is damaged: {error}; have it made anew") from error
