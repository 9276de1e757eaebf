"""One of several processes that train a supernet or a network: ``python -m server.training.worker.child ORDER``."""

from __future__ import annotations

import sys

from nas_engine.domain.json_value import JsonValue
from nas_engine.training.processes import leave
from server.training.worker.order import TrainingOrder
from server.training.worker.part import Part, take_part
from server.training.worker.run import perform


def _train(order: TrainingOrder, part: Part) -> JsonValue:
    end = perform(order.run(), part.device, part.hooks, part.share)
    return {"ending": end.ending.value, "steps": end.steps, "statistics": dict(end.statistics)}


if __name__ == "__main__":
    leave(take_part(sys.argv[1], TrainingOrder, _train))
