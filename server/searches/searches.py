"""Searches: validate, create, follow, pause, resume, amend, cancel."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.plugins.doors import PluginError
from nas_engine.settings.auto_algorithm import choose_algorithm
from nas_engine.settings.kinds.algorithms import check_brought
from nas_engine.settings.training import TrainingSpec
from server.access.principal import NOBODY, Creator, Principal
from server.candidates.lifecycle import advance, drop_needs, end_search, set_search_state
from server.candidates.search import Search, SearchCheckpoint, SearchProgress, SearchQuery
from server.candidates.search_store import CheckpointStore, SearchStore
from server.candidates.spec import SearchSpec, names_no_algorithm, parse_search_spec
from server.candidates.states import SEARCH_TRANSITIONS, DesiredState, SearchState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import (
    InvalidSpecError,
    InvalidStateTransitionError,
    NotFoundError,
    PreconditionFailedError,
    SpecViolation,
)
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.fleet.store import HardwareStore
from server.jobs.completion import cancel_job
from server.jobs.queue import JobStore
from server.jobs.registry import JobKinds
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.searches.admission import Admission, SpecReport
from server.searches.amending.amended_spec import amended_spec, changes_of
from server.searches.amending.amendment import Amendment, SearchAmendment
from server.searches.amending.store import AmendmentStore
from server.training.store import SupernetStore
from server.training.supernets import Supernets


class Searches:
    """Use cases of searches."""

    def __init__(
        self,
        uow: UnitOfWork,
        admission: Admission,
        supernets: Supernets,
        kinds: JobKinds,
        settings: SearchSettings | None = None,
    ) -> None:
        self._uow = uow
        self._admission = admission
        self._supernets = supernets
        self._kinds = kinds
        self._settings = settings or SearchSettings()

    def validate(self, spec: SearchSpec, owner: Principal | None = None) -> SpecReport:
        """What is known of an owner's spec, without starting it. Never raises for what is wrong with it."""
        self.look_ahead(spec)
        return self._uow.read(lambda tx: self._admission.examine(tx, spec, owner))

    def requested(self, document: object) -> tuple[SearchSpec, str | None]:
        """A spec as it was sent, with an algorithm chosen where it leaves that open, and why that one.

        Raises:
            InvalidSpecError: one violation per place that is wrong.
        """
        spec = parse_search_spec(document)
        try:
            check_brought(spec.algorithm)
        except PluginError as error:
            raise InvalidSpecError([SpecViolation("/algorithm", str(error))]) from error
        if not names_no_algorithm(document):
            return spec, None
        space = self._admission.searched_space(spec)
        chosen = choose_algorithm(
            spec.budget.num_candidates,
            len(spec.objectives),
            None if space is None else space.size,
            is_shifting=spec.shifting is not None,
            is_noisy=bool(spec.needed_boards()),
            num_choices=None if space is None else sum(len(gene.options) for gene in space.genes),
        )
        return parse_search_spec({**spec.model_dump(mode="json"), "algorithm": chosen.settings.model_dump()}), (
            chosen.because
        )

    def look_ahead(self, spec: SearchSpec) -> None:
        """Ask packages about a spec before a transaction begins that would have to wait for them."""
        self._admission.look_ahead(spec)

    def create_search(
        self,
        spec: SearchSpec,
        creator: Creator = NOBODY,
        because: str | None = None,
        *,
        cloned_from: str | None = None,
    ) -> Search:
        """Start a search; its first step is queued at once, or as soon as its supernet is trained.

        Args:
            spec: what is searched.
            creator: who asked.
            because: why this algorithm, where the server chose it.
            cloned_from: search that the spec was made from.

        Raises:
            InvalidSpecError: it cannot be run; every reason is given, with the feasible range.
        """

        def work(tx: Transaction) -> Search:
            report = self._admission.examine(tx, spec, creator.owner)
            if report.violations:
                raise InvalidSpecError(report.violations)
            for hardware in (report.hardware, *report.board_hardware.values()):
                if hardware is not None:
                    HardwareStore(tx).put_hardware(hardware)
            supernet_id, version_id = self._supernet(tx, spec, report, creator)
            search = Search(
                id=new_id(IdPrefix.SEARCH),
                spec=spec,
                state=SearchState.QUEUED,
                desired_state=DesiredState.RUNNING,
                hardware_key=None if report.hardware is None else report.hardware.hardware_key,
                board_hardware_keys={name: one.hardware_key for name, one in report.board_hardware.items()},
                supernet_id=supernet_id,
                supernet_version_id=version_id,
                created_by=creator.token_id,
                owner=creator.owner,
                created_at=tx.now(),
                plugins=report.plugins,
                cloned_from=cloned_from,
                progress=SearchProgress(
                    warnings=report.warnings,
                    report={} if because is None else {"algorithm": {"kind": spec.algorithm.kind, "because": because}},
                ),
            )
            SearchStore(tx).add_search(search)
            return self._start(tx, search)

        return self._uow.write(work)

    def get_search(self, search_id: str) -> Search:
        """Read a search by its id. Raises NotFoundError."""
        return self._uow.read(lambda tx: SearchStore(tx).get_search(search_id))

    def page_of_searches(self, query: SearchQuery, page: PageRequest) -> Page[Search]:
        """List, newest first unless the query says otherwise."""
        return self._uow.read(lambda tx: SearchStore(tx).page_of_searches(query, page))

    def count_searches(self, query: SearchQuery) -> int:
        """Count what `page_of_searches` would list in all."""
        return self._uow.read(lambda tx: SearchStore(tx).count_searches(query))

    def page_of_checkpoints(self, search_id: str, page: PageRequest) -> Page[SearchCheckpoint]:
        """Checkpoints that are kept, newest first. Raises NotFoundError."""

        def look(tx: Transaction) -> Page[SearchCheckpoint]:
            SearchStore(tx).get_search(search_id)
            return CheckpointStore(tx).page_of_checkpoints(search_id, page)

        return self._uow.read(look)

    def pause(self, search_id: str) -> Search:
        """Ask no more candidates; what is in flight is finished first (DRAINING), then the search is PAUSED.

        Raises:
            NotFoundError: there is no such search.
            InvalidStateTransitionError: it is over.
        """

        def work(tx: Transaction) -> Search:
            search = _locked(tx, search_id, SearchState.PAUSED)
            if search.desired_state is DesiredState.PAUSED:
                return search
            search = SearchStore(tx).save_search(replace(search, desired_state=DesiredState.PAUSED))
            if search.state is SearchState.QUEUED:
                return set_search_state(tx, search, SearchState.PAUSED)
            search = set_search_state(tx, search, SearchState.DRAINING)
            for job in JobStore(tx).active_jobs_of_search(search.id):
                self._kinds[job.kind].search_paused(tx, job)
            return advance(tx, search, self._settings)  # paused at once where nothing is under way any more

        return self._uow.write(work)

    def resume(self, search_id: str) -> Search:
        """Go on where a pause stopped. Raises as `pause`."""

        def work(tx: Transaction) -> Search:
            search = _locked(tx, search_id, SearchState.RUNNING)
            if search.desired_state is DesiredState.RUNNING:
                return search
            search = SearchStore(tx).save_search(replace(search, desired_state=DesiredState.RUNNING))
            return self._start(tx, search)

        return self._uow.write(work)

    def cancel(self, search_id: str) -> Search:
        """Stop a search: queued jobs are dropped, leased ones told to stop, unfinished candidates end as FAILED.

        What was measured stays. Cancelling twice changes nothing.

        Raises:
            NotFoundError: there is no such search.
            InvalidStateTransitionError: it is completed or failed.
        """

        def work(tx: Transaction) -> Search:
            search = SearchStore(tx).lock_search(search_id)
            if search.state is SearchState.CANCELLED and search.moved_to is None:
                return search
            search = _locked(tx, search_id, SearchState.CANCELLED)
            search = SearchStore(tx).save_search(replace(search, desired_state=DesiredState.CANCELLED))
            return end_search(tx, search, SearchState.CANCELLED, "cancelled by a user")

        return self._uow.write(work)

    def amend(
        self,
        search_id: str,
        amendment: SearchAmendment,
        expected_version: int | None = None,
        creator: Creator = NOBODY,
    ) -> Search:
        """Change budget, constraints, stop rules, priority or labels of a search under way, and keep who did.

        What is in flight is finished. The next step goes by the changed spec; one under way is done again. Jobs queued
        from now on have the new priority. An amendment that changes nothing is not kept.

        Raises:
            NotFoundError: there is no such search.
            PreconditionFailedError: it has another version than expected.
            InvalidStateTransitionError: it is over, and more than its labels is to be changed.
            InvalidSpecError: the new budget is below what was asked already, a member cannot be amended, no
                architecture meets a bound, or a value is out of range.
        """

        def work(tx: Transaction) -> Search:
            search = SearchStore(tx).lock_search(search_id)
            if expected_version is not None and expected_version != search.version:
                raise PreconditionFailedError("search", search.id, expected_version, search.version)
            _check_amendable(search, amendment)
            spec = amended_spec(search, amendment)
            if spec == search.spec:
                return search
            is_bounded_anew = spec.constraints != search.spec.constraints or spec.stop != search.spec.stop
            if is_bounded_anew and (found := self._admission.examine_bounds(spec)):
                raise InvalidSpecError(found)
            return self._amended(tx, search, spec, creator)

        self._look_ahead_of_amendment(search_id, amendment)
        return self._uow.write(work)

    def _look_ahead_of_amendment(self, search_id: str, amendment: SearchAmendment) -> None:
        """Ask packages about the amended spec before a transaction begins that would have to wait for them."""
        search = self.get_search(search_id)
        try:
            self.look_ahead(amended_spec(search, amendment))
        except InvalidSpecError:  # said with all the rest, for the search as it is then
            return

    def _amended(self, tx: Transaction, search: Search, spec: SearchSpec, creator: Creator) -> Search:
        """Write an amended spec into a locked search."""
        amendments = AmendmentStore(tx)
        amendments.add_amendment(
            Amendment(
                search_id=search.id,
                seq=amendments.num_amendments(search.id) + 1,
                step_seq=search.checkpoint_seq,
                amended_at=tx.now(),
                token_id=creator.token_id,
                principal=creator.owner,
                changes=changes_of(search.spec, spec),
                changes_constraints=spec.constraints != search.spec.constraints,
                spec_before=search.spec,
            )
        )
        steers = (spec.budget, spec.constraints, spec.stop)
        is_steered = steers != (search.spec.budget, search.spec.constraints, search.spec.stop)
        is_relieved = spec.boards and spec.needed_boards() != search.spec.needed_boards()
        search = SearchStore(tx).save_search(replace(search, spec=spec))
        if is_relieved:
            search = drop_needs(tx, search)
        if not is_steered:
            return search
        for job in JobStore(tx).active_jobs_of_search(search.id):
            if job.kind is JobKind.SEARCH_STEP:  # it has read the spec as it was
                cancel_job(tx, JobStore(tx).lock_job(job.id))
        return advance(tx, search, self._settings)

    def page_of_amendments(self, search_id: str, page: PageRequest) -> Page[Amendment]:
        """List the amendments of a search, newest first. Raises NotFoundError."""

        def look(tx: Transaction) -> Page[Amendment]:
            SearchStore(tx).get_search(search_id)
            return AmendmentStore(tx).page_of_amendments(search_id, page)

        return self._uow.read(look)

    def launched_spec(self, search_id: str) -> SearchSpec | None:
        """Read the spec that a search was launched with; None where it was not amended since."""
        return self._uow.read(lambda tx: AmendmentStore(tx).launched_spec(search_id))

    def _supernet(
        self, tx: Transaction, spec: SearchSpec, report: SpecReport, creator: Creator
    ) -> tuple[str | None, str | None]:
        if isinstance(spec.supernet, TrainingSpec):
            return self._supernets.order(tx, spec.supernet, creator).id, None
        if report.supernet is None:
            return None, None
        # Locked, so that a version published meanwhile is either seen here or finds this search waiting.
        supernet = SupernetStore(tx).lock_training(report.supernet.id)
        return supernet.id, supernet.latest_version_id

    def _start(self, tx: Transaction, search: Search) -> Search:
        """Run a locked or new search if it has its weights; else it waits as QUEUED."""
        if search.supernet_id is not None and search.supernet_version_id is None:
            return set_search_state(tx, search, SearchState.QUEUED, "waits for its supernet")
        return advance(tx, set_search_state(tx, search, SearchState.RUNNING), self._settings)


def _locked(tx: Transaction, search_id: str, wanted: SearchState) -> Search:
    search = SearchStore(tx).lock_search(search_id)
    if search.moved_to is not None:
        raise NotFoundError("search", f"{search_id}, which is a latency table or its report: see {search.moved_to}")
    if search.state.final:
        allowed = sorted(state.value for state in SEARCH_TRANSITIONS[search.state])
        raise InvalidStateTransitionError("search", search.id, search.state.value, wanted.value, allowed)
    return search


def _check_amendable(search: Search, amendment: SearchAmendment) -> None:
    """Refuse changes of a search that is over; its labels can be changed for ever."""
    changed = {name for name in amendment.patch if name != "labels"}
    if amendment.num_candidates is not None or amendment.priority is not None:
        changed.add("budget")
    if changed and (search.state.final or search.moved_to is not None):
        instead = (
            f"launch it again with the change (POST /api/v1/searches/{search.id}:clone), or start a search that begins "
            f"with what it found (warm_start.search: {search.id})"
        )
        raise InvalidStateTransitionError("search", search.id, search.state.value, "amended", (), instead)
