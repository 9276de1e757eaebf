"""Whatever value a store takes, the same value comes back: every table's rows, written and read by the fields alone."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as AbstractSequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from nas_engine.domain.measurement import Validity, ValidityFlag
from nas_engine.domain.measuring.environment import DeviceIdentity
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.access.principal import Principal
from server.access.store import PRINCIPALS
from server.bootstrap.schema import TABLES_OF, metadata
from server.candidates.candidate import Candidate
from server.candidates.search import SearchCheckpoint
from server.candidates.spec import SearchSpec, parse_search_spec
from server.classifying.classification import ClassificationRecord
from server.classifying.store import COMPARED
from server.classifying.store import LISTED as LISTED_CLASSIFICATIONS
from server.core.database.rows import Rows
from server.core.events import NEW_EVENTS
from server.core.idempotency import SCOPES
from server.fleet.device import HardwareProfile
from server.fleet.sharing.rules import UseRules
from server.fleet.sharing.windows import WEEKDAYS, TimeWindow
from server.fleet.store import HARDWARE
from server.latency_tables.spec import LatencyTableSpec, parse_latency_table_spec
from server.measuring.measurement import MeasurementRecord
from server.measuring.store import LISTED as LISTED_MEASUREMENTS
from server.searches.amending.amendment import Amendment
from server.searches.what_if.spec import WhatIfSpec, parse_what_if_spec
from server.spaces.result_table import SpaceTable
from server.spaces.store import ARCHITECTURES
from server.studies.spec import RankingStudySpec
from server.studies.study import StudyEntry
from tests.support.worlds.service_world import SPEC, TRAINING

PARTS = (SCOPES, NEW_EVENTS, LISTED_CLASSIFICATIONS, COMPARED, LISTED_MEASUREMENTS)
"""Rows of a part of what lies in a table: other rows of the same table hold all of it."""
STORED = tuple(
    dict.fromkeys(
        one for module in TABLES_OF for one in vars(module).values() if isinstance(one, Rows) and one not in PARTS
    )
)
BESIDE = {
    "evaluation_answers": {"evaluation_id": "eval_1"},
    "evaluations": {"recorded_step": 0, "current": True},
    "idempotency_keys": {
        "caller": "",
        "method": "POST",
        "path": "/v1/searches",
        "key": "k",
        "fingerprint": "f",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    },
}

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
FRACTIONS = st.floats(min_value=1e-6, max_value=1.0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
PLAIN: Mapping[Any, SearchStrategy[Any]] = {
    str: TEXT,
    bool: st.booleans(),
    int: st.integers(1, 2**40),
    float: FRACTIONS,
    bytes: st.binary(max_size=8),
    datetime: st.datetimes(timezones=st.just(UTC)),
    SearchSpec: st.just(parse_search_spec(SPEC)),
    LatencyTableSpec: st.just(parse_latency_table_spec({"space": SPEC["space"], "device": SPEC["device"]})),
    WhatIfSpec: st.just(parse_what_if_spec({"device": SPEC["device"]})),
    TrainingSpec: st.just(TrainingSpec.model_validate(TRAINING)),
    NetworkSpec: st.just(
        NetworkSpec.model_validate({**TRAINING, "strategy": {"kind": "retrain", "architecture": [0, 0, 0]}})
    ),
    RankingStudySpec: st.just(
        RankingStudySpec.model_validate({"supernet": "sup_1", "num_architectures": 3, "training": {"epochs": 1}})
    ),
}
# What the values' own checks ask for.
SPECIAL: Mapping[tuple[type, str], SearchStrategy[Any]] = {
    (Candidate, "current"): st.just({}),  # rows of their own
    (ClassificationRecord, "num_correct"): st.just(0),
    (DeviceIdentity, "board_model"): st.just("board"),
    (DeviceIdentity, "runtime"): st.just("runtime"),
    (DeviceIdentity, "runtime_versions"): st.dictionaries(TEXT, TEXT, max_size=3).map(
        lambda d: tuple(sorted(d.items()))
    ),
    (SearchCheckpoint, "payload"): st.dictionaries(TEXT, JSON, max_size=3),
    (ValidityFlag, "validity"): st.just(Validity.NOISY),
    (ValidityFlag, "reason"): TEXT.map("because {}".format),
    (CorrectAnswers, "num_images"): st.just(16),
    (CorrectAnswers, "labels_sha256"): st.just("cd" * 32),
    (CorrectAnswers, "bits"): st.binary(min_size=2, max_size=2),
    (SpaceTable, "id"): st.just("table-1"),
    (TimeWindow, "days"): st.sets(st.sampled_from(WEEKDAYS), min_size=1).map(
        lambda days: tuple(day for day in WEEKDAYS if day in days)
    ),
    (TimeWindow, "start_min"): st.integers(0, 719),
    (TimeWindow, "end_min"): st.integers(720, 1440),
    (UseRules, "max_share_per_day"): st.none(),  # hours are given
    (SpaceTable, "sha256"): st.just("ab" * 32),
}


@cache
def values_of(kind: Any) -> SearchStrategy[Any]:
    """Values of a type, by its fields."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin in (Union, UnionType):
        inner = [argument for argument in arguments if argument is not NoneType]
        return st.none() | values_of(inner[0]) if len(inner) == 1 else JSON
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*map(values_of, arguments))
    if origin in (tuple, frozenset, AbstractSequence):
        return st.lists(values_of(arguments[0]), max_size=3).map(origin)
    if origin is not None:
        return st.dictionaries(TEXT, values_of(arguments[1]), max_size=3)
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    assert is_dataclass(kind), f"no values of {kind}"
    hints = get_type_hints(kind)
    known = {field: strategy for (owner, field), strategy in SPECIAL.items() if owner is kind}
    return st.builds(
        kind, **{f.name: known[f.name] if f.name in known else values_of(hints[f.name]) for f in fields(kind)}
    )


def _insert(connection: sa.Connection, rows: Rows[Any], value: Any) -> None:
    row = {**rows.row_of(value), **BESIDE.get(rows.table.name, {})}
    connection.execute(sa.insert(rows.table).values(row))


def _stored(connection: sa.Connection, rows: Rows[Any], value: Any) -> Any:
    """The value that is written, once what it refers to is there."""
    match value:
        case MeasurementRecord() | ClassificationRecord() if value.hardware is not None:
            _insert(connection, HARDWARE, HardwareProfile(key=value.hardware))
            if isinstance(value, MeasurementRecord):
                value = replace(value, hardware_key=value.hardware.digest)
        case Candidate() | StudyEntry():
            _insert(connection, ARCHITECTURES, value.record)
        case Amendment() if value.principal is not None:
            _insert(connection, PRINCIPALS, value.principal)
        case _ if isinstance(owner := getattr(value, "owner", None), Principal):
            _insert(connection, PRINCIPALS, owner)
    _insert(connection, rows, value)
    return value


@pytest.fixture(scope="module")
def engine() -> sa.Engine:
    engine = sa.create_engine("sqlite://")  # foreign keys are not enforced: one value is stored without its parents
    metadata.create_all(engine)
    return engine


@pytest.mark.parametrize("rows", STORED, ids=lambda rows: rows.kind.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_is_read_is_what_was_written(engine: sa.Engine, rows: Rows[Any], data: DataObject) -> None:
    value = data.draw(values_of(rows.kind))
    with engine.connect() as connection:
        written = _stored(connection, rows, value)
        assert rows.value_of(connection.execute(rows.select()).one()) == written
        connection.rollback()


def test_every_table_with_values_is_tested() -> None:
    valueless = {
        "job_exclusions",
        "labels",
        "latency_predictor_progress",
        "measurement_layers",
        "uploads",
        "wake_counts",
    }
    assert {rows.table.name for rows in STORED} | valueless == set(metadata.tables)
