"""A tiny DenseNAS search that a test runs in processes of its own (``python -m tests.support.densenas_run REPORT``).

Writes the architecture parameters and the losses as JSON; under torchrun's variables it runs over gloo.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from nas_engine.cost.latency_table import mac_costs
from nas_engine.search.densenas import DenseNasRecipe, search_architecture
from nas_engine.training.processes import share_of_this_process
from tests.integration.engine_training.test_differentiable_search import CONFIG, DATA, MBV2, SEARCH


def main(report: Path) -> None:
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    recipe = DenseNasRecipe(
        training=replace(CONFIG, num_steps=12, synchronised_norm=True, report_every_steps=3),
        search=replace(SEARCH, architecture_start_step=3),
    )
    share = share_of_this_process()
    result = search_architecture(MBV2, mac_costs(MBV2), DATA, recipe, device=torch.device("cpu"), share=share)
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
