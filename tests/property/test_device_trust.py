"""Whatever agents say, in whatever order: no device counts as more than an admin gave it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.measurement import DeviceClass, DeviceIdentity
from server.fleet.enrolment.trust import TRUST, believed, is_simulator, lowered_reason

CLASSES = st.sampled_from(list(DeviceClass))
RUNTIMES = st.sampled_from(["onnxruntime", "rknnlite", "fake", "rk3588-sim"]) | st.text(min_size=1, max_size=20)


@st.composite
def identities(draw: st.DrawFn) -> DeviceIdentity:
    return DeviceIdentity(
        board_model=draw(st.text(min_size=1, max_size=10)),
        device_class=draw(CLASSES),
        runtime=draw(RUNTIMES),
        runtime_versions=(),
        clocks_profile="pinned-max",
        core_mask="0x1",
    )


@given(CLASSES, st.lists(identities(), max_size=8))
def test_what_agents_say_only_lowers(given_class: DeviceClass, said: list[DeviceIdentity]) -> None:
    limit = given_class
    for identity in said:
        counted = believed(identity, limit).device_class
        assert TRUST.index(counted) <= TRUST.index(limit)
        assert TRUST.index(counted) <= TRUST.index(identity.device_class)
        assert not is_simulator(identity.runtime) or counted is DeviceClass.SIMULATED
        limit = counted


@given(CLASSES, identities())
def test_everything_else_of_an_identity_is_left_as_it_was_sent(limit: DeviceClass, sent: DeviceIdentity) -> None:
    counted = believed(sent, limit)
    assert believed(counted, limit) == counted
    assert counted == sent or counted.device_class is not sent.device_class
    assert (counted.board_model, counted.runtime) == (sent.board_model, sent.runtime)


@given(CLASSES, identities())
def test_a_device_that_counts_for_less_says_why(limit: DeviceClass, sent: DeviceIdentity) -> None:
    counted = believed(sent, limit).device_class
    assert (lowered_reason(sent, limit, "a token") == "") == (counted is limit and counted is sent.device_class)
