"""Train a recipe without a server: ``python -m nas_engine.training.command``, also under torchrun.

    python -m nas_engine.training.command spos-imagenet --data /data/imagenet --out supernet.safetensors
    torchrun --nproc-per-node 8 -m nas_engine.training.command alphanet-imagenet --data ... --out ...

``hilnas supernets train --local`` does the same with a spec as a server takes it.

The recipe is a preset's name or a JSON file (``--show NAME`` writes one): a training spec, as a server takes it, and
how images are prepared. The run goes on from its checkpoint (OUT.checkpoint) when it is started again. What of a preset
differs from its paper is said on stderr before it starts; progress follows there, one JSON line per report.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from pydantic import Field

from nas_engine.cost.training_plan import network_step_memory, training_step_memory
from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import EngineError, TrainingError
from nas_engine.domain.json_value import JsonValue, parse_json
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.settings.base import SpecPart
from nas_engine.settings.images import ImageForm, ImagePreparation
from nas_engine.settings.kinds.datasets import SourceKind
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import NetworkSpec, TrainingSpec, trains_network
from nas_engine.spaces.els import inherited_weights
from nas_engine.spaces.registry import create_space
from nas_engine.supernet.tensor_file import read_tensors
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.data.dataset import ImageDataset, limited
from nas_engine.training.data.source import DatasetSource, open_dataset
from nas_engine.training.device_memory import fitted
from nas_engine.training.loop import Hooks, Progress, train
from nas_engine.training.processes import leave, share_of_this_process
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.factory import create_strategy
from nas_engine.training.strategies.retrain import retrain
from nas_engine.training.threads import threads


class _Images(SpecPart):
    images: ImagePreparation = Field(default_factory=ImagePreparation)
    """Preparation of the images of the data set that is given on the command line."""


class SupernetRecipe(TrainingSpec, _Images):
    """Spec of a supernet with the preparation of its images: all that decides its training without a server."""


class NetworkRecipe(NetworkSpec, _Images):
    """Spec of one network with the preparation of its images: all that decides its training without a server."""


Recipe = SupernetRecipe | NetworkRecipe


def _tell(progress: Progress) -> None:
    sys.stderr.write(json.dumps(asdict(progress)) + "\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRun:
    """What a training without a server is told beside its recipe.

    Attributes:
        kind, data: of the data set on this machine.
        out: file of the trained weights; the checkpoint lies beside it.
        device: `auto`, `cpu` or `cuda`.
        architecture: of one network, instead of the recipe's: published name, or genotype as JSON.
        inherit: supernet weights that one network starts from.
        tell: called at every report and at the end, by the first of several processes.
    """

    kind: SourceKind
    data: str | None
    out: Path
    device: str = "auto"
    architecture: str | None = None
    inherit: Path | None = None
    tell: Callable[[Progress], None] = _tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.show:
            sys.stdout.write(_preset(options.show).model_dump_json(indent=2) + "\n")
            return 0
        if options.recipe is None or options.out is None:
            raise TrainingError(f"give a recipe and --out; presets are {', '.join(TRAINING_PRESETS)}")
        recipe = _read_recipe(options.recipe)
        if options.recipe in TRAINING_PRESETS and int(os.environ.get("RANK", "0")) == 0:
            for deviation in TRAINING_PRESETS[options.recipe].deviations:
                sys.stderr.write(f"differs from the paper: {deviation}\n")
        train_here(
            recipe,
            LocalRun(
                kind=SourceKind(options.format),
                data=options.data,
                out=options.out,
                device=options.device,
                architecture=options.architecture,
                inherit=options.inherit,
            ),
        )
    except EngineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nas_engine.training.command", description="Train a recipe.")
    parser.add_argument("recipe", nargs="?", help="preset name, or a JSON file")
    parser.add_argument("--show", metavar="PRESET", help="write a preset as JSON and stop")
    parser.add_argument("--format", choices=[kind.value for kind in SourceKind], default=SourceKind.FOLDER.value)
    parser.add_argument("--data", help="folder or file of the data set (none for fashion-mnist-12k)")
    parser.add_argument("--out", type=Path, help="safetensors file of the trained weights")
    parser.add_argument("--architecture", help="retraining: published name, or genotype as JSON")
    parser.add_argument("--inherit", type=Path, help="retraining: supernet weights to start from")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser


def train_here(recipe: Recipe, run: LocalRun) -> None:
    """Train a recipe in this process, or with the others that torchrun started, and write what came of it.

    Goes on from its checkpoint where there is one.

    Raises:
        EngineError: of the recipe, the data set, the device's memory, or the training.
    """
    space = create_space(recipe.space.id, recipe.space.parameters)
    dataset = limited(
        open_images(recipe.images, recipe.resolution, None, recipe.image_form, run), recipe.max_train_images
    )
    if dataset.num_classes != space.num_classes:
        raise TrainingError(
            f"the data set has {dataset.num_classes} classes, the recipe's space {space.num_classes}: "
            "set num_classes in its parameters"
        )
    with joined_processes(run.device) as device, threads(recipe.num_threads):
        if isinstance(recipe, NetworkRecipe):
            _retrain(recipe, space, dataset, run, device)
        else:
            _train(recipe, space, dataset, run, device)


@contextmanager
def joined_processes(wish: str) -> Iterator[torch.device]:
    """The device of this process; under torchrun the group is joined before, and left once all are done."""
    device = _join_processes(wish)
    try:
        yield device
        if dist.is_initialized():
            dist.barrier()  # one that leaves while another writes takes the group's connections along
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def train_to_the_end(recipe: Recipe, run: LocalRun) -> None:
    """Train as `train_here`; one of several processes ends with it."""
    train_here(recipe, run)
    leave_the_others()


def leave_the_others() -> None:
    """End this process where it is one of several that torchrun started."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        leave(0)


def _train(
    recipe: SupernetRecipe, space: SearchSpace, dataset: ImageDataset, run: LocalRun, device: torch.device
) -> None:
    rng = Randomness(recipe.seed).torch(Stream.INITIAL_WEIGHTS, 0)
    num_processes = share_of_this_process().num_processes
    fit = fitted(recipe, training_step_memory(recipe, space), device, num_processes=num_processes)
    result = train(
        create_strategy(space, recipe.strategy, label_smoothing=recipe.label_smoothing),
        WeightStore.create(space.supernet_graphs(), rng),
        dataset,
        fit.settings,
        device=device,
        hooks=Hooks(on_progress=run.tell),
        checkpoint=_checkpoint(run.out),
        share=share_of_this_process(),
        recomputed=fit.recomputed,
    )
    if share_of_this_process().rank == 0:
        result.weights.save(run.out, {"recipe": fit.settings.model_dump_json()})


def _retrain(
    recipe: NetworkRecipe, space: SearchSpace, dataset: ImageDataset, run: LocalRun, device: torch.device
) -> None:
    architecture = _architecture(space, recipe, run.architecture)
    graph = space.graph(architecture, Form.DEPLOYED)
    if graph is None:
        raise TrainingError(f"space {space.space_id!r} is a table of results: there is no network to train")
    num_processes = share_of_this_process().num_processes
    fit = fitted(recipe, network_step_memory(graph), device, num_processes=num_processes)
    found = retrain(
        graph,
        dataset,
        fit.settings,
        recipe,
        device=device,
        inherited=None if run.inherit is None else _inherit(space, architecture, run.inherit),
        hooks=Hooks(on_progress=run.tell),
        checkpoint=_checkpoint(run.out),
        share=share_of_this_process(),
        recomputed=fit.recomputed,
    )
    if share_of_this_process().rank or found.test is None:
        return
    found.weights.save(run.out, {"recipe": fit.settings.model_dump_json()})
    report = {"arch_id": architecture.arch_id, "test": found.test.figures()}
    if found.validation is not None:  # they were not trained on
        report["validation"] = found.validation.figures()
    sys.stdout.write(json.dumps(report) + "\n")


def _read_recipe(name: str) -> Recipe:
    path = Path(name)
    if path.suffix != ".json":
        return _preset(name)
    try:
        return recipe_of(parse_json(path.read_text()))
    except OSError as error:
        raise TrainingError(f"recipe {path} cannot be read: {error}") from error
    except ValueError as error:  # no JSON, or no recipe
        raise TrainingError(f"recipe {path} is none: {error}") from error


def _preset(name: str) -> Recipe:
    if name not in TRAINING_PRESETS:
        raise TrainingError(f"unknown preset {name!r}: known are {', '.join(TRAINING_PRESETS)}")
    preset = TRAINING_PRESETS[name]
    return recipe_of({**dict(preset.spec), "images": preset.images})


def recipe_of(document: object) -> Recipe:
    """The recipe that a document describes. Raises pydantic's ValidationError."""
    kind = NetworkRecipe if trains_network(document) else SupernetRecipe
    return kind.model_validate(document)


def open_images(
    images: ImagePreparation, image_size: int | None, channels: int | None, form: ImageForm, run: LocalRun
) -> ImageDataset:
    """The data set of a run without a server, in a size (None: the preparation's) and form. Raises DatasetError."""
    return open_dataset(
        DatasetSource(
            kind=run.kind,
            path=run.data,
            image_size=image_size or images.image_size,
            channels=channels or images.channels,
            validation_fraction=images.validation_fraction,
            centre_crop=images.centre_crop,
            form=form,
        )
    )


def _join_processes(wish: str) -> torch.device:
    """The training device; under torchrun the process group is joined first."""
    cuda = wish == "cuda" or (wish == "auto" and torch.cuda.is_available())
    if "RANK" not in os.environ:
        return torch.device("cuda" if cuda else "cpu")
    dist.init_process_group("nccl" if cuda else "gloo")
    if not cuda:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def _architecture(space: SearchSpace, recipe: NetworkRecipe, text: str | None) -> Architecture:
    if text is None and recipe.architecture is not None:
        return space.parse(recipe.architecture)
    if text is None:
        raise TrainingError("a retraining recipe needs --architecture: a published name, or a genotype as JSON")
    try:
        document: JsonValue = json.loads(text)
    except ValueError:
        document = text
    return space.parse(document)


def _inherit(
    space: SearchSpace, architecture: Architecture, path: Path
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    graphs = [space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED)]
    supernet, deployed = graphs
    if supernet is None or deployed is None:
        raise TrainingError(f"space {space.space_id!r} is a table of results: it has no weights to inherit")
    stored = {name: tensor.numpy() for name, tensor in read_tensors(path)[0].items()}
    return {name: np.asarray(w, dtype=np.float32) for name, w in inherited_weights(supernet, deployed, stored).items()}


def _checkpoint(out: Path) -> Path:
    return out.with_name(out.name + ".checkpoint")


if __name__ == "__main__":
    leave(main())
