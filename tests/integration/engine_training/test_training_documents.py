"""Training settings travel as JSON and come back the same; nothing unknown is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.errors import TrainingError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.layer_graph import WeightRole
from nas_engine.training.config import (
    Decay,
    OptimizerConfig,
    OptimizerKind,
    Precision,
    ScheduleConfig,
    TrainConfig,
)
from nas_engine.training.data.augmentation import Augmentation
from nas_engine.training.documents import from_document, to_document

configs = st.builds(
    TrainConfig,
    num_steps=st.integers(1, 10**6),
    batch_size=st.integers(1, 4096),
    seed=st.integers(0, 2**31),
    optimizer=st.builds(
        OptimizerConfig,
        kind=st.sampled_from(OptimizerKind),
        learning_rate=st.floats(1e-6, 10),
        decayed_roles=st.frozensets(st.sampled_from(WeightRole)),
        clip_value=st.none() | st.floats(0.1, 5),
    ),
    schedule=st.builds(ScheduleConfig, decay=st.sampled_from(Decay), warmup_steps=st.integers(0, 100)),
    augmentation=st.builds(
        Augmentation,
        crop_padding=st.integers(0, 8),
        colour_jitter=st.tuples(*[st.floats(0, 1)] * 3),
        resized_crop_scale=st.none() | st.floats(0.05, 1),
    ),
    precision=st.sampled_from(Precision),
)


@given(config=configs)
def test_settings_survive_the_round_trip(config: TrainConfig) -> None:
    document = to_document(config)
    canonical_json(document)
    assert from_document(TrainConfig, document) == config


def test_absent_keys_take_their_defaults_and_integers_are_numbers() -> None:
    config = from_document(TrainConfig, {"num_steps": 5, "batch_size": 8, "optimizer": {"learning_rate": 1}})
    assert config.optimizer == OptimizerConfig(learning_rate=1.0)
    assert config.schedule == ScheduleConfig()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be an object"),
        ({"num_steps": 5}, "lacks batch_size"),
        ({"num_steps": 5, "batch_size": 8, "momentum": 1}, "unknown key 'momentum'"),
        ({"num_steps": "5", "batch_size": 8}, r"config\.num_steps is '5': it must be of type int"),
        ({"num_steps": True, "batch_size": 8}, "must be of type int"),
        ({"num_steps": 5, "batch_size": 8, "optimizer": {"kind": "lion"}}, r"optimizer\.kind is 'lion'.*sgd, adamw"),
        ({"num_steps": 5, "batch_size": 8, "optimizer": {"momentum": 2.0}}, r"config\.optimizer: momentum is 2\.0"),
        ({"num_steps": 5, "batch_size": 8, "augmentation": {"colour_jitter": [1]}}, "1 items: it must have 3"),
        ({"num_steps": 5, "batch_size": 8, "augmentation": {"colour_jitter": "abc"}}, "must be a list"),
    ],
)
def test_documents_that_cannot_be_read_are_refused_where_they_are_wrong(document: JsonValue, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        from_document(TrainConfig, document)
