"""The example of docs/how-to/add_a_search_space.md works as it is printed."""

from __future__ import annotations

import pytest

from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.layer_graph import Dropout
from nas_engine.domain.metrics import MACS
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.complexity import complexity
from nas_engine.spaces.parameters import read_parameters
from nas_engine.spaces.ranges import metric_range
from tests.support.samples.example_space import TinyParameters, TinySpace

SPACE: SearchSpace = TinySpace()


def test_the_example_decodes_and_its_graph_costs_what_its_convolutions_say() -> None:
    architecture = SPACE.parse("tiny-baseline")
    graph = SPACE.graph(architecture, Form.DEPLOYED)
    assert graph is not None
    # Three 3x3 convolutions at 16, 8 and 4 pixels (3, 16 and 16 inputs, 16 outputs), and a 16x10 classifier.
    assert complexity(graph).macs == 9 * 16 * (3 * 16**2 + 16 * 8**2 + 16 * 4**2) + 160
    assert (graph.input_shape, graph.output_shape) == ((3, 32, 32), (10,))


def test_genes_beyond_the_depth_have_no_effect() -> None:
    assert SPACE.decode([0, 1, 2, 3]) == SPACE.decode([0, 1, 0, 0]) == SPACE.parse(["conv5"])
    assert SPACE.genotype_of(SPACE.parse([1, 2, 3, 3])) == (1, 2, 3, 0)


def test_the_forms_differ_in_dropout_only_and_the_supernet_holds_every_weight() -> None:
    held = {name for graph in SPACE.supernet_graphs() for name in graph.weights}
    for genotype in ([2, 0, 1, 2], [1, 3, 3, 0]):
        architecture = SPACE.decode(genotype)
        supernet, deployed = (SPACE.graph(architecture, form) for form in (Form.SUPERNET, Form.DEPLOYED))
        assert supernet is not None
        assert deployed is not None
        assert len(list(supernet.of_type(Dropout))) == 1
        assert set(deployed.weights) == set(supernet.weights) <= held


def test_the_example_has_a_range_for_every_cheap_metric() -> None:
    found = metric_range(SPACE, MACS)
    assert found is not None
    assert 0 < found.minimum < found.maximum


def test_the_example_names_what_is_wrong() -> None:
    with pytest.raises(InvalidGenotypeError, match=r"gene 0 \(depth\) is 3: allowed are 0=1 blocks"):
        SPACE.decode([3, 0, 0, 0])
    with pytest.raises(InvalidArchitectureError, match="block1 is 'conv9': allowed are conv3"):
        SPACE.parse(["conv3", "conv9"])
    with pytest.raises(InvalidArchitectureError, match="4 blocks: give 1 to 3"):
        SPACE.parse(["conv3"] * 4)
    with pytest.raises(InvalidSpaceError, match="unknown space parameter 'depth'"):
        read_parameters(TinyParameters, {"depth": 4})
    with pytest.raises(InvalidSpaceError, match="input_size is 4"):
        read_parameters(TinyParameters, {"input_size": 4})
