"""SCARLET and AttentiveNAS: decode is total, reversible, and uses the supernet's weights only."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.domain.layer_graph import TRAINING_ONLY
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.space import AttentiveSpace
from nas_engine.spaces.els import forms_differ, inherited_weights
from nas_engine.spaces.mobilenet import S1, S2, MobileNetParameters, MobileNetSpace

stages = st.integers(1, 4)


@st.composite
def mobilenet_spaces(draw: st.DrawFn) -> SearchSpace:
    length = draw(stages)
    widths = sorted(draw(st.lists(st.integers(2, 24), min_size=length + 1, max_size=length + 1)))
    per_stage = {"min_size": length, "max_size": length}
    parameters = MobileNetParameters(
        num_classes=draw(st.integers(2, 12)),
        input_size=draw(st.sampled_from([32, 33, 40])),
        input_channels=draw(st.sampled_from([1, 3])),
        stem_channels=draw(st.integers(1, 12)),
        stem_stride=draw(st.sampled_from([1, 2])),
        first_channels=widths[0],
        stage_channels=tuple(widths[1:]),
        stage_repeats=tuple(draw(st.lists(st.integers(1, 3), **per_stage))),
        stage_strides=tuple(draw(st.lists(st.sampled_from([1, 2]), **per_stage))),
        tail_channels=draw(st.integers(1, 32)),
    )
    return MobileNetSpace(draw(st.sampled_from([S1, S2])), parameters)


def options(values: st.SearchStrategy[int], size: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    return st.sets(values, min_size=1, max_size=size).map(lambda found: tuple(sorted(found)))


@st.composite
def attentive_spaces(draw: st.DrawFn) -> SearchSpace:
    length = draw(stages)
    per_stage = {"min_size": length, "max_size": length}
    widths = options(st.integers(1, 24))
    parameters = AttentiveParameters(
        num_classes=draw(st.integers(2, 12)),
        resolutions=draw(options(st.integers(32, 48))),
        stem_channels=draw(widths),
        stem_stride=draw(st.sampled_from([1, 2])),
        stage_channels=tuple(draw(st.lists(widths, **per_stage))),
        stage_depths=tuple(draw(st.lists(options(st.integers(1, 3)), **per_stage))),
        stage_kernels=tuple(draw(st.lists(options(st.sampled_from([1, 3, 5, 7])), **per_stage))),
        stage_expand_ratios=tuple(draw(st.lists(st.one_of(st.just((1,)), options(st.integers(2, 6))), **per_stage))),
        stage_strides=tuple(draw(st.lists(st.sampled_from([1, 2]), **per_stage))),
        stage_squeeze_excite=tuple(draw(st.lists(st.booleans(), **per_stage))),
        head_channels=draw(options(st.integers(1, 64))),
    )
    return AttentiveSpace(parameters)


def genotype_in(space: SearchSpace, data: st.DataObject) -> tuple[int, ...]:
    return tuple(data.draw(st.integers(0, gene.num_choices - 1)) for gene in space.genes)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), space=st.one_of(mobilenet_spaces(), attentive_spaces()))
def test_every_genotype_decodes_to_consistent_graphs_that_round_trip(data: st.DataObject, space: SearchSpace) -> None:
    genotype = genotype_in(space, data)
    architecture = space.decode(genotype)
    graphs = {form: space.graph(architecture, form) for form in Form}
    for graph in graphs.values():
        assert graph is not None
        assert graph.input_shape in space.input_shapes
        assert graph.output_shape == (space.num_classes,)
        assert complexity(graph).macs > 0
    deployed = graphs[Form.DEPLOYED]
    assert deployed is not None
    assert not [node for node in deployed.nodes if isinstance(node, TRAINING_ONLY)]
    assert space.genotype_of(architecture) == space.canonical(genotype) == genotype
    assert space.parse(list(genotype)) == space.parse(architecture.choices_value()) == architecture


@settings(max_examples=60, deadline=None)
@given(data=st.data(), space=st.one_of(mobilenet_spaces(), attentive_spaces()))
def test_a_sample_trains_only_weights_that_the_supernet_holds(data: st.DataObject, space: SearchSpace) -> None:
    held = {ref.name: (ref.full_shape, ref.init) for g in space.supernet_graphs() for ref in g.weights.values()}
    graph = space.graph(space.decode(genotype_in(space, data)), Form.SUPERNET)
    assert graph is not None
    for ref in graph.weights.values():
        assert held[ref.name] == (ref.full_shape, ref.init)
        assert all(0 <= start < stop <= full for (start, stop), full in zip(ref.slices, ref.full_shape, strict=True))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), space=st.one_of(mobilenet_spaces(), attentive_spaces()))
def test_forms_that_do_not_differ_inherit_every_weight_in_its_shape(data: st.DataObject, space: SearchSpace) -> None:
    architecture = space.decode(genotype_in(space, data))
    supernet, deployed = (space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    assert supernet is not None
    assert deployed is not None
    if forms_differ(supernet, deployed) is None:
        weights = {name: np.ones(ref.full_shape) for name, ref in supernet.weights.items()}
        inherited = inherited_weights(supernet, deployed, weights)
        assert {n: w.shape for n, w in inherited.items()} == {n: r.full_shape for n, r in deployed.weights.items()}
    else:
        assert isinstance(space, MobileNetSpace)


PUBLISHED = AttentiveSpace()


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_latency_keys_tell_architectures_of_the_published_attentive_space_apart(data: st.DataObject) -> None:
    pair = [genotype_in(PUBLISHED, data) for _ in range(2)]
    graphs = [PUBLISHED.graph(PUBLISHED.decode(genotype), Form.DEPLOYED) for genotype in pair]
    keys = [latency_key(graph, batch=1, dtype=Dtype.FP32) for graph in graphs]
    assert (keys[0] == keys[1]) == (pair[0] == pair[1])


@settings(max_examples=30, deadline=None)
@given(position=st.integers(3, 5), kept=st.integers(0, 11))
def test_the_place_of_a_skip_among_equal_layers_changes_the_supernet_path_but_not_the_latency_key(
    position: int, kept: int
) -> None:
    space = MobileNetSpace(S2)
    pair = [space.decode([kept if layer != skip else 12 for layer in range(19)]) for skip in (3, position)]
    keys = {latency_key(space.graph(one, Form.DEPLOYED), batch=1, dtype=Dtype.FP32) for one in pair}
    assert len(keys) == 1
    assert (pair[0].arch_id == pair[1].arch_id) == (position == 3)
