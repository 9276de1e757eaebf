"""Decode is total over the space, canonical and stable."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.domain.views.latency_key import latency_key
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace

parameters = st.builds(
    ShuffleNetParameters,
    num_classes=st.integers(2, 20),
    input_size=st.sampled_from([28, 32, 64]),
    input_channels=st.sampled_from([1, 3]),
    stem_channels=st.integers(1, 3),
    stem_stride=st.sampled_from([1, 2]),
    stage_channels=st.sets(st.integers(1, 12).map(lambda c: 4 * c), min_size=3, max_size=3).map(sorted).map(tuple),
    stage_repeats=st.lists(st.integers(1, 3), min_size=3, max_size=3).map(tuple),
    tail_channels=st.integers(1, 64),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), p=parameters)
def test_every_genotype_decodes_to_a_consistent_graph(data: st.DataObject, p: ShuffleNetParameters) -> None:
    space = ShuffleNetSpace(p)
    genotype = tuple(data.draw(st.integers(0, gene.num_choices - 1)) for gene in space.genes)
    architecture = space.decode(genotype)
    graph = space.graph(architecture, Form.DEPLOYED)
    assert graph.input_shape == space.input_shapes[0]
    assert graph.output_shape == (p.num_classes,)
    assert complexity(graph).macs > 0
    assert space.genotype_of(architecture) == genotype
    assert space.decode(list(genotype)) == architecture
    assert hash(space.decode(genotype)) == hash(architecture)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_latency_keys_tell_structures_apart_and_ignore_nothing_else(data: st.DataObject) -> None:
    space = ShuffleNetSpace()
    one, other = (tuple(data.draw(st.integers(0, gene.num_choices - 1)) for gene in space.genes) for _ in range(2))
    keys = [latency_key(space.graph(space.decode(g), Form.DEPLOYED), batch=1, dtype=Dtype.FP32) for g in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)
