"""The use cases of what-if boards: ordered, read, made surer, cancelled; and carried on when measurements are there."""

from __future__ import annotations

from dataclasses import replace

import structlog

from nas_engine.cost.transfer.transfer import MIN_MEASURED
from nas_engine.domain.errors import EngineError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.metrics import LATENCY_US
from server.access.principal import NOBODY, Creator, Principal
from server.artifacts.artifact import ModelFormat
from server.artifacts.artifacts import Artifacts
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidSpecError, InvalidStateTransitionError, NotFoundError, ServiceError, SpecViolation
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.core.transitions import check_transition
from server.fleet.device import HardwareProfile
from server.fleet.device_spec import DeviceSpec
from server.fleet.selection import format_for, misfit, most_common_profile, relabelled
from server.fleet.store import HardwareStore
from server.jobs.settings import SearchSettings
from server.latency_tables.batch import EntryState
from server.searches.what_if.documents import read_carried
from server.searches.what_if.measuring import as_they_stand, order_all, queue_work, stop_measuring
from server.searches.what_if.spec import WhatIfSpec
from server.searches.what_if.store import WhatIfStore
from server.searches.what_if.what_if import (
    WHAT_IF_TRANSITIONS,
    CarriedOver,
    ChosenNetwork,
    WhatIf,
    WhatIfState,
)
from server.spaces.catalog import SpaceCatalog

_log = structlog.get_logger("hilnas.what_if")


class WhatIfs:
    """Carries fronts of finished searches over to boards that they were not measured on."""

    def __init__(
        self, uow: UnitOfWork, spaces: SpaceCatalog, artifacts: Artifacts, settings: SearchSettings | None = None
    ) -> None:
        self._uow = uow
        self._spaces = spaces
        self._artifacts = artifacts
        self._settings = settings or SearchSettings()

    def create(self, search_id: str, spec: WhatIfSpec, creator: Creator = NOBODY) -> WhatIf:
        """Order one; a worker chooses what is measured.

        Raises:
            NotFoundError: there is no such search.
            InvalidSpecError: the search is not over, has too few candidates or no latency, or no board fits.
        """

        def work(tx: Transaction) -> WhatIf:
            search = SearchStore(tx).get_search(search_id)
            refused = self._unfit(tx, search)
            if refused:
                raise InvalidSpecError([SpecViolation("", refused)])
            profile = _resolve(tx, spec.device, creator.owner)
            if _is_its_own(search, spec.device, profile):
                message = "the search was measured on this very hardware: its front is there, GET it"
                raise InvalidSpecError([SpecViolation("/device", message)])
            HardwareStore(tx).put_hardware(profile)
            what_if = WhatIf(
                id=new_id(IdPrefix.WHAT_IF),
                search_id=search.id,
                spec=spec,
                hardware_key=profile.hardware_key,
                created_by=creator.token_id,
                owner=creator.owner,
                created_at=tx.now(),
            )
            WhatIfStore(tx).add_what_if(what_if)
            queue_work(tx, what_if)
            return what_if

        return self._uow.write(work)

    def page(self, search_id: str, page: PageRequest) -> Page[WhatIf]:
        """List those of a search, newest first. Raises NotFoundError."""

        def look(tx: Transaction) -> Page[WhatIf]:
            SearchStore(tx).get_search(search_id)
            found = WhatIfStore(tx).page_of_what_ifs(search_id, page)
            return Page(tuple(_standing(tx, one) for one in found.items), found.next)

        return self._uow.read(look)

    def get(self, search_id: str, what_if_id: str) -> WhatIf:
        """One of a search as it stands, also while it is measured. Raises NotFoundError."""
        return self._uow.read(lambda tx: _standing(tx, _of_search(WhatIfStore(tx).get_what_if(what_if_id), search_id)))

    def carried_over(self, what_if: WhatIf) -> CarriedOver | None:
        """What its last fit gave; None before the first.

        Raises:
            ServiceError: its file cannot be read.
        """
        return None if what_if.artifact_sha256 is None else read_carried(self._artifacts.read(what_if.artifact_sha256))

    def measure_next(self, search_id: str, what_if_id: str) -> WhatIf:
        """Have those measured which would most settle the front; then it is estimated anew.

        Raises:
            NotFoundError: there is no such one of this search.
            InvalidStateTransitionError: it is not completed, or there is nothing more to measure.
        """
        before = self.get(search_id, what_if_id)
        carried = self.carried_over(before)

        def work(tx: Transaction) -> WhatIf:
            what_if = WhatIfStore(tx).lock_what_if(what_if_id)
            check_transition("what-if", what_if.id, WHAT_IF_TRANSITIONS, what_if.state, WhatIfState.MEASURING)
            stale = carried is None or what_if.artifact_sha256 != before.artifact_sha256
            if stale or what_if.state is not WhatIfState.COMPLETED:
                raise InvalidStateTransitionError("what-if", what_if.id, what_if.state.value, "measuring", ())
            assert carried is not None
            known = {one.candidate_id for one in what_if.chosen}
            wanted = [one for one in carried.next_candidate_ids if one not in known]
            if not wanted:
                raise InvalidStateTransitionError("what-if", what_if.id, "measured whole", "measured further", ())
            new = self.chosen(tx, what_if, wanted, what_if.num_rounds + 1)
            chosen = (*what_if.chosen, *order_all(tx, what_if, new, self._settings))
            changed = replace(what_if, chosen=chosen, state=WhatIfState.MEASURING, reason="", finished_at=None)
            return WhatIfStore(tx).save_what_if(changed)

        return self._uow.write(work)

    def cancel(self, search_id: str, what_if_id: str) -> WhatIf:
        """Stop one: its jobs are stopped, unless another one waits for the same; what was measured stays.

        Raises:
            NotFoundError: there is no such one of this search.
            InvalidStateTransitionError: it is over.
        """

        def work(tx: Transaction) -> WhatIf:
            what_if = _of_search(WhatIfStore(tx).lock_what_if(what_if_id), search_id)
            if what_if.state is WhatIfState.CANCELLED:
                return what_if
            check_transition("what-if", what_if.id, WHAT_IF_TRANSITIONS, what_if.state, WhatIfState.CANCELLED)
            chosen = stop_measuring(tx, what_if)
            return _ended(tx, replace(what_if, chosen=chosen), WhatIfState.CANCELLED, "cancelled by a user")

        return self._uow.write(work)

    def chosen(
        self, tx: Transaction, what_if: WhatIf, candidate_ids: list[str], num_round: int
    ) -> tuple[ChosenNetwork, ...]:
        """Candidates as networks that are to be measured under the new board's keys."""
        device = what_if.spec.device
        found = {one.id: one for one in CandidateStore(tx).get_candidates(candidate_ids)}
        networks = []
        for candidate_id in candidate_ids:
            record = found[candidate_id].record
            key = self._spaces.latency_key(record.architecture, dtype=device.dtype, batch=device.batch)
            if key is None:
                raise EngineError(f"architecture {record.arch_id} has no layer graph that could be measured")
            networks.append(
                ChosenNetwork(
                    candidate_id=candidate_id,
                    seq=found[candidate_id].seq,
                    arch_id=record.arch_id,
                    latency_key=key,
                    num_round=num_round,
                )
            )
        return tuple(networks)

    def advance_all(self) -> None:
        """Have those fitted whose measurements have all ended. Idempotent; any replica may."""
        for one in self._uow.read(lambda tx: WhatIfStore(tx).measuring()):
            # One that cannot go on must not stop the others.
            try:
                self._uow.write(lambda tx, id=one.id: _advance(tx, id))  # type: ignore[misc]
            except (EngineError, ServiceError) as error:
                _log.warning("a what-if does not go on", what_if=one.id, error=str(error))

    def _unfit(self, tx: Transaction, search: Search) -> str:
        """Why a search's front cannot be carried over; empty where it can."""
        if not search.state.final:
            return f"search {search.id} is {search.state.value}: wait until it has ended"
        if LATENCY_US not in {one.metric for one in search.spec.domain_objectives()}:
            return f"search {search.id} has no objective {LATENCY_US.name}: its front is the same on every board"
        num = len(CandidateStore(tx).complete_candidate_ids(search.id))
        if num < MIN_MEASURED:
            return f"search {search.id} has {num} complete candidates: {MIN_MEASURED} are needed to learn from"
        space = search.spec.space
        if not self._spaces.describe(space.id, space.parameters).has_graphs:
            return f"space {space.id} has no networks that could be measured"
        return ""


def _advance(tx: Transaction, what_if_id: str) -> None:
    what_if = WhatIfStore(tx).lock_what_if(what_if_id)
    if what_if.state is not WhatIfState.MEASURING:
        return
    what_if = replace(what_if, chosen=as_they_stand(tx, what_if))
    if not all(one.state.final for one in what_if.chosen):
        return
    num = sum(one.state is EntryState.MEASURED for one in what_if.chosen)
    if num < MIN_MEASURED:
        why = next((one.reason for one in what_if.chosen if one.reason), "")
        reason = f"{num} of {len(what_if.chosen)} were measured, {MIN_MEASURED} are needed; {why}"
        _ended(tx, what_if, WhatIfState.FAILED, reason)
        return
    queue_work(tx, WhatIfStore(tx).save_what_if(replace(what_if, state=WhatIfState.FITTING)))


def _is_its_own(search: Search, device: DeviceSpec, profile: HardwareProfile) -> bool:
    """Whether a search was measured on this very hardware, by devices of this type."""
    own = search.spec.device
    return own is not None and (own.device_type, search.hardware_key) == (device.device_type, profile.hardware_key)


def _standing(tx: Transaction, what_if: WhatIf) -> WhatIf:
    return replace(what_if, chosen=as_they_stand(tx, what_if)) if what_if.state is WhatIfState.MEASURING else what_if


def _ended(tx: Transaction, what_if: WhatIf, state: WhatIfState, reason: str) -> WhatIf:
    return WhatIfStore(tx).save_what_if(replace(what_if, state=state, reason=reason, finished_at=tx.now()))


def _of_search(what_if: WhatIf, search_id: str) -> WhatIf:
    if what_if.search_id != search_id:
        raise NotFoundError("what-if", what_if.id)
    return what_if


def _resolve(tx: Transaction, device: DeviceSpec, owner: Principal | None) -> HardwareProfile:
    """The one hardware profile that is measured under.

    Raises:
        InvalidSpecError: no registered device could measure it.
    """
    profile = most_common_profile(tx, device, owner)
    if profile is None:
        raise InvalidSpecError([misfit(tx, device, owner)])
    found = []
    if format_for(profile.key.identity.runtime) is ModelFormat.ONNX:
        found = relabelled(device, profile.key.identity.runtime)
    elif device.dtype is Dtype.W8A8:
        message = "w8a8 is calibrated with images, and these networks are measured without: make it fp16"
        found = [SpecViolation("/device/dtype", message)]
    if found:
        raise InvalidSpecError(found)
    return profile
