"""What the command shows of a derivation under way."""

from __future__ import annotations

from hilnas.cli.progress import deriving_text
from nas_engine.domain.json_value import JsonValue


def test_a_derivation_is_shown_with_its_cost_factor_and_step() -> None:
    said: dict[str, JsonValue] = {"number": 1, "cost_factor": 0.15, "step": 300, "num_steps": 4500}
    assert deriving_text({"deriving": said}) == "cost factor 0.15, step 300 of 4500"


def test_searches_that_derive_nothing_say_nothing_of_it() -> None:
    assert deriving_text({}) is None
    assert deriving_text({"derived": []}) is None
