"""Values that pass between processes come back as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nas_engine.domain.plugins.value_document import from_document, to_document
from nas_engine.domain.search_space import Form, NamedArchitecture
from nas_engine.spaces.registry import BUILT_IN_IDS, create_space


@pytest.mark.parametrize("space_id", BUILT_IN_IDS)
def test_architectures_genes_and_graphs_come_back_equal(space_id: str) -> None:
    space = create_space(space_id)
    architecture = space.decode(tuple(gene.num_choices - 1 for gene in space.genes))
    values = (architecture, space.genes, *(space.graph(architecture, form) for form in Form))
    assert from_document(json.loads(json.dumps(to_document(values)))) == values


def test_numbers_of_numpy_become_numbers_and_documents_stay_lists() -> None:
    named = NamedArchitecture("a", [1, [2, {"b": None}]], "")
    document = json.loads(json.dumps(to_document((np.int64(3), np.float32(0.5), True, named))))
    assert from_document(document) == (3, 0.5, True, named)


@pytest.mark.parametrize("value", [object(), {1}, np.zeros(3), type("Form", (), {})()])
def test_what_is_no_value_of_ours_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="none of the values of hilnas"):
        to_document(value)
