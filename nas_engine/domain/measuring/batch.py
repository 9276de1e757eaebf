"""The batch of a model: which axis of which input says how many images one inference takes."""

from __future__ import annotations

from collections.abc import Sequence


def own_batch(shapes: Sequence[Sequence[int]]) -> int:
    """The batch of a model's inputs where nobody says another: the first axis of the first one.

    An input with one axis, say of samples of sound, has no batch, nor has a scalar: 1.
    """
    return shapes[0][0] if shapes and len(shapes[0]) > 1 else 1


def may_be_batch(batch: int, shapes: Sequence[Sequence[int]]) -> bool:
    """Whether a batch that is said fits a model's inputs.

    The first input may be state itself, or have time first, as recurrent networks do: a batch that some input has as
    its first axis will do, or as the second of three.
    """
    places = {shape[0] for shape in shapes if shape} | {shape[1] for shape in shapes if len(shape) == 3}
    return batch in places or batch == own_batch(shapes)
