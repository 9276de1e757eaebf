"""What a step says of its algorithm: the quality of its predictors, the models it would pick."""

from __future__ import annotations

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.search.algorithm import SearchAlgorithm
from nas_engine.search.algorithms.predictor_assisted import PredictorAssistedSearch
from nas_engine.search.pareto import equispaced
from nas_engine.settings.algorithms import ScarletNsga2Settings
from server.searches.fronts import Front
from server.searches.worker.densenas import DenseNasSearch


def predictor_report(algorithm: SearchAlgorithm) -> dict[str, JsonValue]:
    """How well candidates were predicted before they were evaluated; nothing for algorithms that do not predict."""
    if not isinstance(algorithm, PredictorAssistedSearch):
        return {}
    metrics: dict[str, JsonValue] = {
        metric.label: {
            "kendall_tau": quality.kendall_tau,
            "mean_absolute_error": quality.mean_absolute_error,
            "num_fresh": quality.num_fresh,
        }
        for metric, quality in algorithm.quality.items()
    }
    return {"predictors": metrics} if metrics else {}


def derivation_report(algorithm: SearchAlgorithm) -> dict[str, JsonValue]:
    """What each cost factor of DenseNAS gave, and whether that search collapsed."""
    return {"derived": list(algorithm.derived)} if isinstance(algorithm, DenseNasSearch) else {}


def provenance_of(algorithm: SearchAlgorithm, genotype: Genotype) -> JsonValue:
    """How a candidate came about, where its algorithm tells."""
    return algorithm.provenance(genotype) if isinstance(algorithm, DenseNasSearch) else None


def picked_models(front: Front) -> tuple[str, ...] | None:
    """Ids of the K equispaced models a spec wants from its front; None where it wants all of it."""
    match front.search.spec.algorithm:
        case ScarletNsga2Settings(num_models=int(num)):
            rows = [
                [o.minimized(v) for o, v in zip(front.objectives, front.values(point), strict=True)]
                for point in front.points
            ]
            chosen = equispaced(rows, num) if rows else []
            return tuple(front.points[i].id for i in sorted(chosen))
        case _:
            return None
