"""Ids, pages, state machines, failures and other values of the service."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, HardwareKey
from server.access.principal import Principal
from server.access.token import ApiToken, Role
from server.access.tokens import digest, new_secret
from server.artifacts.artifact import check_sha256
from server.candidates.candidate import HeldOutAccuracy
from server.candidates.payloads import SearchStepPayload
from server.candidates.search import SearchProgress
from server.candidates.states import CANDIDATE_TRANSITIONS, SEARCH_TRANSITIONS, SearchState
from server.core.errors import InvalidSpecError, InvalidStateTransitionError, InvalidValueError, SpecViolation
from server.core.ids import IdPrefix, Ulids, has_prefix, new_id
from server.core.paging import PageRequest, Position
from server.core.transitions import check_transition
from server.fleet.device import DEVICE_TRANSITIONS, DeviceCapabilities, HardwareProfile
from server.jobs.failures import backoff_s, policy_of
from server.jobs.payloads import read_payload
from server.jobs.states import JOB_TRANSITIONS, JobState
from server.measuring.payloads import MeasurePayload
from server.searches.steps.step import SearchStepOutcome, StepStatus
from server.spaces.architecture import ArchitectureRecord
from server.training.training import TRAINING_TRANSITIONS, TrainingProgress
from tests.support.fakes.service import toy_record
from tests.support.worlds.service_world import IDENTITY


def test_ids_sort_in_the_order_they_were_made() -> None:
    ids = [new_id(IdPrefix.SEARCH) for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(has_prefix(one, IdPrefix.SEARCH) for one in ids)


@given(readings=st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=50))
def test_ids_grow_whatever_the_clock_says(readings: list[int]) -> None:
    clock = iter(readings)
    ulids = Ulids(lambda: next(clock))
    made = [ulids.next() for _ in readings]
    assert made == sorted(set(made))
    assert all(has_prefix(f"srch_{one}", IdPrefix.SEARCH) for one in made)


def test_ids_of_threads_grow_in_each_and_never_repeat() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: [new_id(IdPrefix.JOB) for _ in range(500)], range(8)))
    assert all(one == sorted(one) for one in made)
    assert len({one for several in made for one in several}) == 8 * 500


@pytest.mark.parametrize(
    "wrong", ["", "srch", "srch_", "cand_01jd3x5w8k2v7m4q9r6t1y0z3a", "srch_01JD3X5W8K2V7M4Q9R6T1Y0Z3A"]
)
def test_what_is_no_id_is_recognised(wrong: str) -> None:
    assert not has_prefix(wrong, IdPrefix.SEARCH)


@pytest.mark.parametrize("value", [None, 3, 2.5, "x"])
def test_a_position_survives_json(value: Any) -> None:
    assert Position.from_json(Position(value, "id").to_json()) == Position(value, "id")


@pytest.mark.parametrize("document", [None, [], [1], [1, 2], [True, "x"], [math.nan, "x"], {"a": 1}, [[1], "x"]])
def test_what_is_no_position_is_refused(document: Any) -> None:
    with pytest.raises(InvalidValueError):
        Position.from_json(document)


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_page_sizes_have_limits(size: int) -> None:
    with pytest.raises(InvalidValueError):
        PageRequest(size)


@pytest.mark.parametrize(
    "table", [SEARCH_TRANSITIONS, CANDIDATE_TRANSITIONS, JOB_TRANSITIONS, DEVICE_TRANSITIONS, TRAINING_TRANSITIONS]
)
def test_every_state_has_its_transitions_and_every_final_state_can_be_reached(table: Any) -> None:
    states: list[Enum] = list(type(next(iter(table))).__members__.values())
    assert list(table) == states
    reached = {after for followers in table.values() for after in followers}
    assert all(state in reached for state in states if not table[state])


def test_a_refused_transition_names_what_is_allowed() -> None:
    with pytest.raises(InvalidStateTransitionError) as caught:
        check_transition("search", "s", SEARCH_TRANSITIONS, SearchState.PAUSED, SearchState.COMPLETED)
    assert caught.value.allowed == ("cancelled", "queued", "running")
    assert "cannot become completed" in str(caught.value)


def test_nothing_follows_a_final_state() -> None:
    with pytest.raises(InvalidStateTransitionError, match="it has ended"):
        check_transition("job", "job_1", JOB_TRANSITIONS, JobState.DONE, JobState.QUEUED)


def test_staying_in_a_state_is_no_transition() -> None:
    check_transition("search", "s", SEARCH_TRANSITIONS, SearchState.COMPLETED, SearchState.COMPLETED)


def test_every_failure_has_a_policy_and_refusals_are_not_retried() -> None:
    assert all(policy_of(failure) is not None for failure in FailureType)
    assert not policy_of(FailureType.CONVERT_FAILED).retryable
    assert policy_of(FailureType.CONVERT_FAILED).penalise_model
    assert not policy_of(FailureType.AGENT_SHUTDOWN).counts_attempt


def test_no_failure_is_the_devices_and_a_deterministic_refusal_of_the_model() -> None:
    for failure in FailureType:
        assert not (policy_of(failure).penalise_device and not policy_of(failure).retryable)


def test_back_off_doubles_up_to_a_minute() -> None:
    assert [backoff_s(n) for n in (0, 1, 2, 3, 7, 50)] == [1.0, 1.0, 2.0, 4.0, 60.0, 60.0]


def test_secrets_are_long_and_differ() -> None:
    one, other = new_secret("api"), new_secret("api")
    assert one != other
    assert one.startswith("nas_api_")
    assert len(one.removeprefix("nas_api_")) == 43
    assert len(digest(one)) == 64


@pytest.mark.parametrize("wrong", ["", "g" * 64, "A" * 64, "a" * 63, "../" + "a" * 61])
def test_only_digests_are_digests(wrong: str) -> None:
    with pytest.raises(InvalidValueError):
        check_sha256(wrong)


def test_a_pool_key_leaves_out_the_batch_alone() -> None:
    key = HardwareKey(identity=IDENTITY, dtype=Dtype.FP32, batch=1)
    pool = HardwareProfile(key=key).pool_key
    assert HardwareProfile(key=dataclasses.replace(key, batch=32)).pool_key == pool
    assert HardwareProfile(key=dataclasses.replace(key, dtype=Dtype.FP16)).pool_key != pool
    assert HardwareProfile(key=dataclasses.replace(key, batch=32)).hardware_key != key.digest


def test_a_device_offers_every_core_mask_with_every_dtype() -> None:
    capabilities = DeviceCapabilities(
        identity=IDENTITY, dtypes=(Dtype.FP32, Dtype.FP16), core_masks=("0x1", IDENTITY.core_mask)
    )
    assert len(capabilities.pool_keys()) == 4
    masked = dataclasses.replace(IDENTITY, core_mask="0x1")
    assert HardwareProfile(key=HardwareKey(identity=masked, dtype=Dtype.FP16)).pool_key in capabilities.pool_keys()


@pytest.mark.parametrize("top1", [math.nan, math.inf, -0.1, 1.1])
def test_an_accuracy_is_a_fraction(top1: float) -> None:
    with pytest.raises(InvalidValueError):
        HeldOutAccuracy(top1=top1, num_images=10)


def test_the_standard_error_of_an_accuracy_is_binomial() -> None:
    assert HeldOutAccuracy(top1=0.5, num_images=100).standard_error == pytest.approx(0.05)


@pytest.mark.parametrize("wrong", [{"loss": math.nan}, {"metrics": {"top1": math.inf}}])
def test_training_progress_is_finite(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        TrainingProgress(**wrong)


def test_a_hypervolume_is_finite() -> None:
    with pytest.raises(InvalidValueError):
        SearchProgress(hypervolume=math.nan)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hypervolume": math.inf}, "not finite"),
        ({"observed": ()}, "repeat for ever"),
        ({"status": StepStatus.COMPLETED, "re_measure": ("cand_1",)}, "cannot ask for more"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(change: dict[str, Any], reason: str) -> None:
    good: dict[str, Any] = {"observed": ("cand_1",), "asked": (), "checkpoint": {}, "code_version": "1"}
    SearchStepOutcome(**good)
    with pytest.raises(InvalidValueError, match=reason):
        SearchStepOutcome(**{**good, **change})


def test_counts_of_an_architecture_fit_a_database() -> None:
    record = toy_record((0, 0, 0, 0))
    with pytest.raises(InvalidValueError):
        ArchitectureRecord(architecture=record.architecture, values={"macs": 2**63})


def test_payloads_ignore_what_a_newer_server_added_and_refuse_what_is_missing() -> None:
    assert read_payload(SearchStepPayload, {"search_id": "s", "seq": 1, "new": True}).seq == 1
    with pytest.raises(InvalidValueError, match="MeasurePayload"):
        read_payload(MeasurePayload, {"model_sha256": "x"})


def test_engineers_may_look_and_admins_may_do_everything() -> None:
    def token(*roles: Role) -> ApiToken:
        return ApiToken(
            id="tok_1",
            name="t",
            prefix="nas",
            secret_sha256="0" * 64,
            roles=frozenset(roles),
            owner=Principal(id="prin_1", name="t", created_at=datetime(2026, 1, 1, tzinfo=UTC)),
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    assert token(Role.ENGINEER).permits(Role.VIEWER)
    assert not token(Role.VIEWER).permits(Role.ENGINEER)
    assert not token(Role.AGENT).permits(Role.VIEWER)
    assert all(token(Role.ADMIN).permits(role) for role in Role)


def test_an_invalid_spec_lists_every_violation_in_its_message() -> None:
    error = InvalidSpecError([SpecViolation("/a", "one"), SpecViolation("", "two")])
    assert str(error) == "/a: one; /: two"
