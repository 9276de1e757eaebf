"""From what a question names to networks: architectures by id or genotype, models by digest, and their latency keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import EngineError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import validate_genotype
from nas_engine.domain.views.latency_key import latency_key
from server.core.database.transaction import Transaction
from server.core.errors import InvalidSpecError, SpecViolation
from server.latencies.question import LatencyQuestion, Network
from server.spaces.catalog import SpaceCatalog
from server.spaces.store import ArchitectureStore

MAX_KEYS = 65_536
"""Latency keys that are remembered: making one takes the architecture's layer graph, some 10 to 30 ms."""


class NetworkReader:
    """Reads networks, and remembers the latency keys of architectures. Thread-safe."""

    def __init__(self, spaces: SpaceCatalog) -> None:
        self._spaces = spaces
        self._key = lru_cache(maxsize=MAX_KEYS)(self._make_key)

    def read(self, tx: Transaction, question: LatencyQuestion) -> tuple[Network, ...]:
        """Find the networks of a question, its architectures first.

        Raises:
            InvalidSpecError: names every architecture that is not known, or lies outside its space.
        """
        named = [one.arch_id for one in question.architectures if one.arch_id is not None]
        known = ArchitectureStore(tx).get_architectures(named)
        found: list[Network] = []
        wrong: list[SpecViolation] = []
        for number, asked in enumerate(question.architectures):
            if asked.arch_id is not None:
                record = known.get(asked.arch_id)
                if record is None:
                    message = "the server has seen no such architecture: give its space and genotype"
                    wrong.append(SpecViolation(f"/architectures/{number}/arch_id", message))
                else:
                    found.append(
                        Network(
                            architecture=record.architecture, arch_id=asked.arch_id, genotype=_tuple(record.genotype)
                        )
                    )
                continue
            assert asked.space is not None
            assert asked.genotype is not None
            try:
                space = self._spaces.space(asked.space.id, asked.space.parameters)
                genotype = validate_genotype(space.genes, asked.genotype)
                architecture = space.decode(genotype)
                genotype = space.genotype_of(architecture) or genotype  # canonical, as they are stored
            except EngineError as error:
                wrong.append(SpecViolation(f"/architectures/{number}", str(error)))
                continue
            found.append(Network(architecture=architecture, arch_id=architecture.arch_id, genotype=genotype))
        if wrong:
            raise InvalidSpecError(wrong)
        return (*found, *(Network(model_sha256=digest) for digest in question.models))

    def latency_keys(
        self, networks: Iterable[Network], dtypes: Iterable[Dtype], batches: Iterable[int]
    ) -> Mapping[str, str]:
        """Every latency key of these architectures, each with the arch_id of one that has it."""
        dtypes, batches = tuple(dtypes), tuple(batches)
        keys: dict[str, str] = {}
        for one in networks:
            if one.architecture is None or one.arch_id is None:
                continue
            for key in self._key(one.architecture, dtypes, batches):
                keys.setdefault(key, one.arch_id)
        return keys

    def latency_key(self, architecture: Architecture, dtype: Dtype, batch: int) -> str | None:
        """What the latency of an architecture is filed under; None where it has no graph."""
        keys = self._key(architecture, (dtype,), (batch,))
        return keys[0] if keys else None

    def _make_key(
        self, architecture: Architecture, dtypes: tuple[Dtype, ...], batches: tuple[int, ...]
    ) -> tuple[str, ...]:
        graph = self._spaces.graph(architecture)
        if graph is None:
            return ()
        return tuple(latency_key(graph, batch=batch, dtype=dtype) for dtype in dtypes for batch in batches)


def _tuple(genotype: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if genotype is None else tuple(genotype)
