"""The layouts of published supernets: which tensor of a file is which weight of ours, every one accounted for.

Source of names and shapes: the published models as they build themselves (megvii-model/SinglePathOneShot,
facebookresearch/AttentiveNAS and AlphaNet). The files with trained weights were not at hand: not tried with them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from nas_engine.domain.errors import WeightsError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import SearchSpace
from nas_engine.spaces.attentive.space import SPACE_ID as ATTENTIVE
from nas_engine.spaces.registry import create_space
from nas_engine.spaces.shufflenet import SPACE_ID as SPOS
from nas_engine.supernet.norm_statistics import RunningStatistics
from nas_engine.supernet.published.checkpoint import PublishedCheckpoint
from nas_engine.supernet.weights import RUNNING_MEAN, RUNNING_VARIANCE, WeightStore, collect_weight_refs

Names = Mapping[str, tuple[int, ...]]
"""Shape of each weight of ours by its name in a file of weights."""


@dataclass(frozen=True, slots=True)
class SkippedTensors:
    """Tensors of a file that are no weights of the supernet.

    Attributes:
        rule: which tensors, and why they are left out.
        num_tensors, num_numbers: how many there were.
    """

    rule: str
    num_tensors: int
    num_numbers: int


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """What was made of a published file.

    Attributes:
        weights: of the supernet, with its running statistics.
        left_out: what of the file is in none of them, by rule.
    """

    weights: WeightStore
    left_out: tuple[SkippedTensors, ...]


@dataclass(frozen=True, slots=True)
class PublishedLayout:
    """One layout of tensors in a published file.

    Attributes:
        name: as people type it.
        space_id: search space of the supernet, with its published parameters.
        preset: training recipe of the supernet.
        source: who publishes such files.
        licence: of the weights, as their authors state it.
        left_out: rules by which tensors are left out: what people are told, and the pattern of their names.
        takes_bgr: whether the published network takes blue, green, red; ours take red, green, blue, so the inputs of
            the first convolution are turned round.
        renamed: from all names of ours, the function that gives the name of ours for that of a tensor of the file, or
            None where it is no name of this layout.
    """

    name: str
    space_id: str
    preset: str
    source: str
    licence: str
    left_out: tuple[tuple[str, re.Pattern[str]], ...]
    renamed: Callable[[Names], Callable[[str], str | None]]
    takes_bgr: bool = False

    @property
    def changes(self) -> tuple[str, ...]:
        """Say what is done to the weights on the way."""
        return ("the stem's inputs are turned from BGR to RGB",) if self.takes_bgr else ()

    def space(self) -> SearchSpace:
        """The search space, with its published parameters."""
        return create_space(self.space_id, {})

    def read(self, checkpoint: PublishedCheckpoint) -> PublishedWeights:
        """Take the weights out of a file.

        Raises:
            WeightsError: a tensor of the file is neither a weight nor left out by a rule, a weight is missing, or a
                shape differs; names the first of them.
        """
        space = self.space()
        graphs = tuple(space.supernet_graphs())
        wanted = _names(graphs)
        renamed = self.renamed(wanted)
        taken: dict[str, str] = {}
        unknown: list[str] = []
        counts = {rule: [0, 0] for rule, _ in self.left_out}
        for name, shape in checkpoint.shapes.items():
            target = renamed(name)
            if target is not None and target in wanted and target not in taken:
                taken[target] = name
            elif (rule := self._rule(name, shape)) is not None:
                counts[rule][0] += 1
                counts[rule][1] += math.prod(shape)
            else:
                unknown.append(name)
        missing = [name for name in wanted if name not in taken]
        if unknown or missing:
            raise WeightsError(
                f"not of layout {self.name}: {len(unknown)} tensors of the file are unknown (first: {unknown[:3]}) and "
                f"{len(missing)} weights are missing (first: {missing[:3]})"
            )
        for target, name in taken.items():
            if checkpoint.shapes[name] != wanted[target]:
                raise WeightsError(
                    f"not of layout {self.name}: {name!r} has the shape {checkpoint.shapes[name]}, expected "
                    f"{wanted[target]}"
                )
        tensors = {target: torch.from_numpy(checkpoint.array(name)) for target, name in taken.items()}
        if self.takes_bgr:
            tensors[_STEM] = tensors[_STEM].flip(1).contiguous()
        left_out = tuple(SkippedTensors(rule, *count) for rule, count in counts.items() if count[0])
        return PublishedWeights(WeightStore.from_tensors(tensors, graphs, source=self.name), left_out)

    def _rule(self, name: str, shape: tuple[int, ...]) -> str | None:
        for rule, pattern in self.left_out:
            if pattern.fullmatch(name) and (rule != _IDENTITY or shape[:1] == shape[1:2]):
                return rule
        return None


def _names(graphs: Sequence[LayerGraph]) -> dict[str, tuple[int, ...]]:
    names = {name: tuple(ref.full_shape) for name, ref in collect_weight_refs(graphs).items()}
    for name, (mean_C, _) in RunningStatistics.create(graphs).items():
        names[RUNNING_MEAN + name] = names[RUNNING_VARIANCE + name] = tuple(mean_C.shape)
    return names


_STEM = "stem.conv.weight"
_STATISTICS = {"running_mean": RUNNING_MEAN, "running_var": RUNNING_VARIANCE}
_COUNTERS = "num_batches_tracked: counters of batches, which nothing reads"
_TRACKED = "bn_tracking: running statistics for single widths; those of a sub-network are estimated anew"
_IDENTITY = "shortcut weights of blocks whose shortcut is the identity, which never uses them"

_SPOS_OPERATORS = ("shuffle3", "shuffle5", "shuffle7", "xception")
_SPOS_STAGES = (4, 4, 8, 4)
# Of each operator: index in the published Sequential -> (ours, kind). Convolution, BN and ReLU each take an index.
_SPOS_BRANCHES = {
    ("branch_proj", False): {0: (0, "conv"), 1: (0, "bn"), 2: (1, "conv"), 3: (1, "bn")},
    ("branch_main", False): {0: (0, "conv"), 1: (0, "bn"), 3: (1, "conv"), 4: (1, "bn"), 5: (2, "conv"), 6: (2, "bn")},
    ("branch_proj", True): {0: (0, "conv"), 1: (0, "bn"), 2: (1, "conv"), 3: (1, "bn")},
    ("branch_main", True): {
        index: (pair, kind)
        for pair, indices in enumerate(((0, 1), (2, 3), (5, 6), (7, 8), (10, 11), (12, 13)))
        for index, kind in zip(indices, ("conv", "bn"), strict=True)
    },
}
_SPOS_ENDS = {
    "first_conv.0": "stem.conv",
    "first_conv.1": "stem.bn",
    "conv_last.0": "tail.conv",
    "conv_last.1": "tail.bn",
}
_SPOS_BLOCK = re.compile(r"features\.(\d+)\.([0-3])\.(branch_main|branch_proj)\.(\d+)\.(\w+)")


def _spos_names(_: Names) -> Callable[[str], str | None]:
    return _spos_name


def _spos_name(name: str) -> str | None:
    module, _, leaf = name.rpartition(".")
    if module == "classifier.0":
        return f"head.linear.{leaf}"
    if module in _SPOS_ENDS:
        return _leaf(_SPOS_ENDS[module], leaf)
    if (match := _SPOS_BLOCK.fullmatch(name)) is None:
        return None
    layer, choice, branch, index = int(match[1]), int(match[2]), match[3], int(match[4])
    place = _SPOS_BRANCHES[branch, choice == len(_SPOS_OPERATORS) - 1].get(index)
    if place is None or layer >= sum(_SPOS_STAGES):
        return None
    stage = 0
    while layer >= _SPOS_STAGES[stage]:
        layer -= _SPOS_STAGES[stage]
        stage += 1
    ours = f"stage{stage}.block{layer}.{_SPOS_OPERATORS[choice]}.{branch.removeprefix('branch_')}.{place[0]}.{place[1]}"
    return _leaf(ours, match[5])


_ATTENTIVE_PARTS = {
    "mobile_inverted_conv.inverted_bottleneck": "expand",
    "mobile_inverted_conv.depth_conv": "depthwise",
    "mobile_inverted_conv.point_linear": "project",
    "shortcut": "shortcut",
}
_ATTENTIVE_MODULES = {
    "first_conv": "stem",
    "last_conv.final_expand_layer": "head.expand",
    "last_conv.feature_mix_layer": "head.mix",
}
_ATTENTIVE_BLOCK = re.compile(r"blocks\.(\d+)\.(.+?)\.(conv\.conv|bn\.bn|se\.fc\.reduce|se\.fc\.expand)\.(\w+)")
_ATTENTIVE_END = re.compile(r"(first_conv|last_conv\.\w+)\.(conv\.conv|bn\.bn)\.(\w+)")
_OUR_BLOCK = re.compile(r"(mb\d+\.block\d+)\..+")


def _attentive_names(ours: Names) -> Callable[[str], str | None]:
    # Blocks are numbered through all stages there, each stage at its greatest depth.
    blocks = {block[1] for known in ours if (block := _OUR_BLOCK.fullmatch(known))}
    in_order = sorted(blocks, key=lambda block: [int(digits) for digits in re.findall(r"\d+", block)])
    return lambda name: _attentive_name(name, in_order)


def _attentive_name(name: str, blocks: Sequence[str]) -> str | None:
    if (linear := re.fullmatch(r"classifier\.linear\.linear\.(\w+)", name)) is not None:
        return f"classifier.linear.{linear[1]}"
    if (end := _ATTENTIVE_END.fullmatch(name)) is not None:
        module = _ATTENTIVE_MODULES.get(end[1])
        return None if module is None else _leaf(f"{module}.{end[2].partition('.')[0]}", end[3])
    if (match := _ATTENTIVE_BLOCK.fullmatch(name)) is None:
        return None
    number, part = int(match[1]), _ATTENTIVE_PARTS.get(match[2])
    if part is None or number >= len(blocks):
        return None
    block = blocks[number]
    if match[3].startswith("se."):
        return f"{block}.se.{match[3].rpartition('.')[2]}.{match[4]}" if part == "depthwise" else None
    return _leaf(f"{block}.{part}.{match[3].partition('.')[0]}", match[4])


def _leaf(module: str, leaf: str) -> str:
    return _STATISTICS[leaf] + module if leaf in _STATISTICS else f"{module}.{leaf}"


LAYOUTS = {
    layout.name: layout
    for layout in (
        PublishedLayout(
            name="spos",
            space_id=SPOS,
            preset="spos-imagenet",
            takes_bgr=True,
            source="megvii-model/SinglePathOneShot, checkpoint of the supernet",
            licence="MIT",
            left_out=((_COUNTERS, re.compile(r".*\.num_batches_tracked")),),
            renamed=_spos_names,
        ),
        PublishedLayout(
            name="attentivenas",
            space_id=ATTENTIVE,
            preset="alphanet-imagenet",
            source="facebookresearch/AttentiveNAS and AlphaNet, checkpoint of the supernet",
            licence="CC-BY-NC 4.0: not for commercial use",
            left_out=(
                (_TRACKED, re.compile(r".*\.bn_tracking\.\d+\.\w+")),
                (_COUNTERS, re.compile(r".*\.num_batches_tracked")),
                (_IDENTITY, re.compile(r"blocks\.\d+\.shortcut\.conv\.conv\.weight")),
            ),
            renamed=_attentive_names,
        ),
    )
}
"""Published layouts by name."""
