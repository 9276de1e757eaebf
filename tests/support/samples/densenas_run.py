"""A tiny DenseNAS search, run in processes of its own (``python -m tests.support.samples.densenas_run REPORT``).

Writes the architecture parameters and the losses as JSON; under torchrun's variables it runs over gloo.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from nas_engine.cost.latency_table import mac_costs
from nas_engine.search.densenas import search_architecture
from nas_engine.training.processes import share_of_this_process
from tests.integration.engine_training.test_differentiable_search import DATA, MBV2, SEARCH
from tests.support.samples.training_run import changed


def main(report: Path) -> None:
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    settings = changed(SEARCH, epochs=2, first_architecture_epoch=1, synchronised_norm=True)
    share = share_of_this_process()
    result = search_architecture(
        MBV2, mac_costs(MBV2), DATA, settings, cost_factor=0.15, seed=0, device=torch.device("cpu"), share=share
    )
    if share.rank == 0:
        logits = {name: values.tolist() for name, values in result.logits.items()}
        loss = result.report.architecture_loss
        report.write_text(
            json.dumps({"logits": logits, "architecture_loss": loss, "choices": result.architecture.choices})
        )
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
