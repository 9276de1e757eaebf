"""One of several processes that derive a network: ``python -m server.searches.worker.deriving.child ORDER.json``."""

from __future__ import annotations

import sys
from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from nas_engine.training.loop import Progress
from nas_engine.training.processes import leave
from server.searches.worker.deriving.order import DerivationOrder
from server.searches.worker.deriving.run import Document, derive
from server.training.worker.part import Part, take_part


def _derive(order: DerivationOrder, part: Part) -> JsonValue:
    def tell(progress: Document) -> None:
        part.tell({"progress": progress})

    # What is told of a derivation says the progress of its training too.
    hooks = replace(part.hooks, on_progress=_say_nothing)
    return {"derived": derive(order.run(), part.device, hooks, tell, part.share)}


def _say_nothing(progress: Progress) -> None:
    del progress


if __name__ == "__main__":
    leave(take_part(sys.argv[1], DerivationOrder, _derive))
