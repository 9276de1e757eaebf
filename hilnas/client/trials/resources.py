"""The SDK's calls of evaluators outside: ask for trials of a search, tell what came of each."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ConfigDict, PrivateAttr

from hilnas.client.core.calls import Carrier, ClientBound, M, call, listing
from hilnas.client.core.group import Group, read
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items, Pause
from hilnas.client.errors import HilnasError
from nas_engine.domain.json_value import JsonValue
from server.searches.trials.schemas import DEFAULT_LEASE_S, AskedResource, AskedTrialResource, TrialResource
from server.searches.trials.trial import Fault

Told = float | tuple[float, float] | Mapping[str, float | Sequence[float]]
"""What is told of a metric: its value; value and standard error; or `value` with `standard_error` or `interval_95`."""


class Trial(AskedTrialResource, ClientBound[M]):
    """A candidate that an evaluator holds, with what it needs for it; its methods answer for it."""

    model_config = ConfigDict(ignored_types=(call, listing))

    _carrier: Carrier = PrivateAttr()

    @call
    def tell(self, /, **metrics: Told) -> Call[TrialResource]:
        """Bring every metric that is wanted: ``trial.tell(energy_mj=(1.2, 0.1))``, value and standard error.

        Raises:
            InvalidRequestError: a name, a value or an uncertainty is none that is wanted.
            ConflictError: somebody else has the trial by now, or nobody waits for it any more.
        """
        return self._end({"metrics": {name: _told(value) for name, value in metrics.items()}})

    @call
    def fail(self, reason: str, *, fault: Fault | str = Fault.EVALUATOR) -> Call[TrialResource]:
        """Say that it could not be evaluated: tried again, unless `fault` is ``architecture``. Raises ConflictError."""
        return self._end({"failed": {"reason": reason, "fault": Fault(fault).value}})

    @call
    def give_back(self) -> Call[TrialResource]:
        """Return it unevaluated, for whoever asks next. Raises ConflictError."""
        return self._end({"give_back": True})

    @call
    def renew(self, lease_s: float = DEFAULT_LEASE_S) -> Call[TrialResource]:
        """Keep it for so long from now. Raises ConflictError."""
        path = path_of("searches", self.search_id, "trials", verb="renew")
        answer = yield from Group[M](self._carrier)._http.post(path, {**self._lease, "lease_s": lease_s})
        return read(TrialResource, answer)

    @call
    def onnx(self) -> Call[bytes]:
        """The network as an ONNX file; `model.weights` says whose weights it has.

        Raises:
            HilnasError: its search space has no networks.
        """
        if self.model is None:
            raise HilnasError(f"candidate {self.candidate} has no ONNX file: its space is a table of results")
        return (yield from Group[M](self._carrier)._http.request("GET", self.model.url)).content

    @property
    def _lease(self) -> dict[str, JsonValue]:
        return {"trial_id": self.id, "lease_id": self.lease_id, "fence": self.fence}

    def _end(self, how: Mapping[str, JsonValue]) -> Call[TrialResource]:
        path = path_of("searches", self.search_id, "trials", verb="tell")
        return read(TrialResource, (yield from Group[M](self._carrier)._http.post(path, {**self._lease, **how})))


class TrialGroup(Group[M]):
    """Trials of searches whose metrics come from outside."""

    @call
    def ask(
        self,
        search_id: str,
        num_trials: int = 1,
        *,
        evaluator: str | None = None,
        lease_s: float = DEFAULT_LEASE_S,
        wait: bool = True,
        poll_s: float = 1.0,
    ) -> Call[list[Trial[M]]]:
        """Take trials: those that the evaluator holds, renewed, and new ones up to `num_trials`.

        Args:
            evaluator: name by which it is known when it comes back; absent: that of this machine. Two that run at a
                time need two names.
            lease_s: time after which what was neither told nor renewed goes to another.
            wait: for the next trial, where there is none now; empty then means that the search has ended.
            poll_s: seconds between two looks.
        """
        name = socket.gethostname()[:40] if evaluator is None else evaluator
        body: dict[str, JsonValue] = {"evaluator": name, "num_trials": num_trials, "lease_s": lease_s}
        while True:  # ends with a trial, or with the search
            answer = yield from self._http.post(path_of("searches", search_id, "trials", verb="ask"), body)
            asked = read(AskedResource, answer)
            if asked.trials or asked.search_state.final or not wait:
                break
            yield Pause(poll_s)
        documents = cast("Sequence[JsonValue]", cast("Mapping[str, Any]", answer)["trials"])
        return [self.read(Trial, document) for document in documents]

    @listing
    def all(self, search_id: str, *, states: Sequence[str] = (), limit: int | None = None) -> Items[TrialResource]:
        """Iterate over the trials of a search, newest first: who holds which, and what was told."""
        return self.items(path_of("searches", search_id, "trials"), TrialResource, {"state": list(states)}, limit)


def _told(value: Told) -> JsonValue:
    match value:
        case Mapping():
            return {name: list(one) if isinstance(one, Sequence) else one for name, one in value.items()}
        case tuple():
            return {"value": value[0], "standard_error": value[1]}
        case _:
            return {"value": value}
