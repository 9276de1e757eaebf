"""A small table of results like NAS-Bench-Macro: six layers of three operators, all 729 networks, three runs each."""

from __future__ import annotations

import json
from itertools import product

import numpy as np

from nas_engine.domain.json_value import JsonValue

NUM_GENES, NUM_OPERATORS = 6, 3


def table_document(num_genes: int = NUM_GENES, *, num_runs: int = 3) -> dict[str, JsonValue]:
    """Accuracy grows with the operators, with diminishing returns and noise; MACs, params and latency grow too."""
    rng = np.random.default_rng(0)
    weight = 1.0 + np.arange(num_genes) / num_genes
    genes: list[JsonValue] = [
        {"name": f"layer{i}", "options": ["identity", "small", "large"], "group": f"stage{i // 2}"}
        for i in range(num_genes)
    ]
    rows: list[JsonValue] = []
    for genotype in product(range(NUM_OPERATORS), repeat=num_genes):
        cost = float(np.dot(np.asarray(genotype, dtype=float), weight))
        top1 = 0.5 + 0.4 * (1 - np.exp(-0.4 * cost)) + rng.normal(0, 0.004, num_runs)
        macs = 1_000_000 + 250_000 * sum(genotype) + 40_000 * genotype[0]
        runs = [round(float(run), 5) for run in top1]
        row: dict[str, JsonValue] = {"genotype": list(genotype), "top1": runs[0] if num_runs == 1 else list(runs)}
        row |= {"latency_us": round(100.0 + 37.5 * cost, 3), "macs": macs, "params": 1000 + 10 * sum(genotype)}
        rows.append(row)
    return {"title": "toy results", "genes": genes, "rows": rows}


def table_bytes(num_genes: int = NUM_GENES, *, num_runs: int = 3) -> bytes:
    """The document as JSON."""
    return json.dumps(table_document(num_genes, num_runs=num_runs)).encode()
