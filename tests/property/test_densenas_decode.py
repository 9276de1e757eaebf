"""Decode is total over the DenseNAS spaces, canonical, and round-trips through the net_config text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_engine.domain.search_space import Form
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.densenas.parameters import DenseMbv2Parameters, DenseResNetParameters
from nas_engine.spaces.densenas.space import DenseSpace

SPACES = {
    "mbv2": DenseSpace(DenseMbv2Parameters()),
    "resnet": DenseSpace(DenseResNetParameters()),
    "small": DenseSpace(
        DenseMbv2Parameters(
            num_classes=10,
            input_size=28,
            input_channels=1,
            stem_stride=1,
            stem_channels=8,
            block_channels=(8, 8, 16, 24, 32),
            downsamplings=(0, 1, 1, 2, 2),
            stages=(0, 1, 1, 2, 2, 3),
            num_layers=(0, 2, 1, 2, 0),
            max_connections=2,
            last_channels=40,
        )
    ),
}


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_genotype_decodes_to_a_consistent_network(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    genotype = tuple(data.draw(st.integers(0, gene.num_choices - 1)) for gene in space.genes)
    architecture = space.decode(genotype)
    deployed = space.graph(architecture, Form.DEPLOYED)
    assert deployed.input_shape == space.input_shapes[0]
    assert deployed.output_shape == (space.num_classes,)
    assert complexity(deployed).macs > 0
    canonical = space.canonical(genotype)
    assert space.genotype_of(architecture) == canonical
    assert space.canonical(canonical) == canonical
    assert space.decode(canonical) == architecture
    text = space.net_config(architecture).text()
    assert space.parse(text) == architecture
    path = space.path_of(architecture)
    assert path is not None
    assert space.architecture_of(path) == architecture


@pytest.mark.parametrize("name", ["mbv2", "small"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_forms_of_an_mbv2_network_differ_in_affine_batch_norms_only(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    genotype = tuple(data.draw(st.integers(0, gene.num_choices - 1)) for gene in space.genes)
    architecture = space.decode(genotype)
    search, deployed = (space.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
    assert [(type(n), n.name, n.inputs, n.shape) for n in search.nodes] == [
        (type(n), n.name, n.inputs, n.shape) for n in deployed.nodes
    ]
    assert complexity(search).macs == complexity(deployed).macs
