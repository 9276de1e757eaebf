"""From the SUPERNET form to the DEPLOYED one: merging equivariant learnable stabilizers (ELS).

SCARLET's proof (arXiv 1908.06022, supplementary material, Eq. 1-4): a linear 1x1 convolution W1 before
a convolution W2 equals one convolution W3 with

    W3[m, u, ky, kx] = sum_p W2[m, p, ky, kx] * W1[p, u].

The printed sum runs over the diagonal of the kernel only; the full two-dimensional kernel is used here.
The proof holds where convolutions read the stabilizer and nothing else does, and where the layer after
it has the same shape in both forms. A residual around the next block (ELS(x) + F(ELS(x)) is not
x + F'(x)) and a skip that changes the width (the stand-alone block expands the old width) break it:
then the forms are two different networks and the weights cannot be inherited.

Nothing here is particular to SCARLET: layers that only the SUPERNET form has are found by comparing the
two graphs, so spaces without stabilizers pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import FormsDifferError, WeightsError
from nas_engine.domain.layer_graph import Add, BatchNorm, Conv2d, LayerGraph, Node, WeightRef, weight_refs

Array = NDArray[np.floating]
# A DEPLOYED convolution that takes a stabilizer in is named after the SUPERNET's with this added.
MERGED = ".merged"


def merge(stabilizer: Array, convolution: Array) -> Array:
    """Eq. 4 with full kernels: the one convolution that equals `convolution` after `stabilizer`.

    Args:
        stabilizer: W1, (p, u, 1, 1).
        convolution: W2, (m, p, k, k), not grouped.

    Returns:
        W3, (m, u, k, k).

    Raises:
        FormsDifferError: W1 is not 1x1, or its outputs are not W2's inputs.
    """
    if stabilizer.shape[2:] != (1, 1):
        raise FormsDifferError(f"a stabilizer is a 1x1 convolution, this one has shape {stabilizer.shape}")
    if stabilizer.shape[0] != convolution.shape[1]:
        raise FormsDifferError(
            f"a stabilizer with {stabilizer.shape[0]} outputs does not fit a convolution of shape {convolution.shape}"
        )
    merged: Array = np.einsum("mpyx,pu->muyx", convolution, stabilizer[:, :, 0, 0])
    return merged


def forms_differ(supernet: LayerGraph, deployed: LayerGraph) -> str | None:
    """Why the two forms of one architecture are not equivalent; None where they are.

    Equivalent means: with `inherited_weights` and the BN statistics of the SUPERNET form, the DEPLOYED
    form gives the same output.
    """
    return _Forms(supernet, deployed).difference()


def inherited_weights(supernet: LayerGraph, deployed: LayerGraph, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weights of the DEPLOYED form that make it equal to the SUPERNET form.

    Args:
        supernet, deployed: both forms of one architecture.
        weights: the supernet's stored tensors (full shapes) by name.

    Returns:
        Full tensors by the names and shapes of ``deployed.weights``: the supernet's own where a layer
        stands in both forms, merged ones (Eq. 4) after a stabilizer, ones and zeros where only the
        DEPLOYED form has an affine BN.

    Raises:
        FormsDifferError: the forms are not equivalent; the message says where and why.
        WeightsError: a weight is missing or has another shape.
    """
    forms = _Forms(supernet, deployed)
    reason = forms.difference()
    if reason is not None:
        raise FormsDifferError(f"{reason}; retrain the architecture, or export it with random weights for latency only")
    inherited: dict[str, Array] = {}
    for node in deployed.nodes:
        inherited |= forms.inherit(node, weights)
    return inherited


class _Forms:
    """Both forms of one architecture, compared node by node."""

    def __init__(self, supernet: LayerGraph, deployed: LayerGraph) -> None:
        self._nodes = supernet.nodes
        self._deployed = deployed
        self._sources = {node.name: node for node in supernet.nodes}
        kept = {node.name.removesuffix(MERGED) for node in deployed.nodes}
        self._stripped = {
            index: node
            for index, node in enumerate(supernet.nodes)
            if isinstance(node, Conv2d) and node.name not in kept
        }

    def difference(self) -> str | None:
        """The first reason why the forms are two networks."""
        reasons = (
            *(_nonlinear(node) for node in self._stripped.values()),
            *(self._unmergeable(reader) for reader in self._nodes),
            *(self._unlike(node) for node in self._deployed.nodes if weight_refs(node)),
        )
        return next((reason for reason in reasons if reason is not None), None)

    def inherit(self, node: Node, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The stored tensors of one DEPLOYED node."""
        source = self._source(node)
        if isinstance(node, BatchNorm) and isinstance(source, BatchNorm) and source.weight is None:
            dtype = next((tensor.dtype for tensor in weights.values()), np.dtype(np.float32))
            return {ref.name: np.full(ref.full_shape, ref is node.weight, dtype) for ref in weight_refs(node)}
        tensors = {ref.name: _stored(weights, ref) for ref in weight_refs(node) if ref != self._merged_ref(node)}
        if isinstance(node, Conv2d) and isinstance(source, Conv2d):
            merged = _used(weights, source.weight)
            chain = self._chain(source)
            for stabilizer in chain:
                merged = merge(_used(weights, stabilizer.weight), merged)
            if chain:
                tensors[node.weight.name] = merged
        return tensors

    def _source(self, node: Node) -> Node | None:
        """The SUPERNET node that a DEPLOYED node stands for."""
        return self._sources.get(node.name.removesuffix(MERGED))

    def _merged_ref(self, node: Node) -> WeightRef | None:
        """The weight of a DEPLOYED node that Eq. 4 makes, if any."""
        source = self._source(node)
        merges = isinstance(node, Conv2d) and isinstance(source, Conv2d) and bool(self._chain(source))
        return node.weight if merges and isinstance(node, Conv2d) else None

    def _chain(self, conv: Conv2d) -> list[Conv2d]:
        """The stabilizers straight before a convolution, nearest first."""
        chain: list[Conv2d] = []
        source = conv.inputs[0]
        while source in self._stripped:
            chain.append(self._stripped[source])
            source = self._stripped[source].inputs[0]
        return chain

    def _unmergeable(self, reader: Node) -> str | None:
        """Why a node of the SUPERNET form may not read the stripped layers it reads."""
        read = [self._stripped[index] for index in reader.inputs if index in self._stripped]
        if not read or (isinstance(reader, Conv2d) and reader.groups == 1):
            return None
        if isinstance(reader, Add):
            return f"{read[0].name} stands before the residual {reader.name}: ELS(x) + F(ELS(x)) is not x + F'(x)"
        return f"{read[0].name} is read by {reader.name}, which is no plain convolution: it cannot take it in"

    def _unlike(self, node: Node) -> str | None:
        """Why a DEPLOYED node is not the SUPERNET node of the same name."""
        source = self._source(node)
        if source is None or type(source) is not type(node):
            return f"{node.name} stands in the stand-alone network only"
        if source.shape != node.shape:
            return (
                f"{node.name} gives {node.shape} in the stand-alone network and {source.shape} in the supernet:"
                " a skip before it changes the width"
            )
        own, theirs = ({ref.name: ref for ref in weight_refs(each)} for each in (node, source))
        merged = self._merged_ref(node)
        for name, ref in own.items():
            if name in theirs and ref != merged and _part(ref) != _part(theirs[name]):
                return f"{name} is {_part(ref)} in the stand-alone network and {_part(theirs[name])} in the supernet"
        return None


def _nonlinear(stripped: Conv2d) -> str | None:
    """Why a stripped layer is no stabilizer."""
    if stripped.weight.shape[2:] != (1, 1) or stripped.groups != 1:
        return f"{stripped.name} stands in the supernet only and is no plain 1x1 convolution"
    if stripped.bias is not None:
        return f"{stripped.name} has a bias: with zero padding its merge is inexact"
    return None


def _part(ref: WeightRef) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    return ref.full_shape, ref.slices


def _stored(weights: Mapping[str, Array], ref: WeightRef) -> Array:
    if ref.name not in weights:
        raise WeightsError(
            f"weight {ref.name} is missing: the supernet's weights hold every layer of the SUPERNET form"
        )
    tensor = weights[ref.name]
    if tensor.shape != ref.full_shape:
        raise WeightsError(f"weight {ref.name} has shape {tensor.shape}, the layer graph says {ref.full_shape}")
    return tensor


def _used(weights: Mapping[str, Array], ref: WeightRef) -> Array:
    return _stored(weights, ref)[tuple(slice(start, stop) for start, stop in ref.slices)]
