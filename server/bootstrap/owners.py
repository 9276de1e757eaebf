"""How owner and name of each kind of thing are found, and how much an owner has of what quotas limit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from server.access.changes.change import SubjectKind
from server.access.changes.changes import DescribeSubject, Subject, Subjects
from server.access.limits.orders import Orders
from server.access.limits.quotas import QuotaSettings
from server.access.permissions import POLICY, FindOwner, Kind, Owners, Rule
from server.access.principal import Principal
from server.access.store import PrincipalStore, TokenStore
from server.bootstrap.references import referent_of
from server.candidates.candidate_store import CandidateStore
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import NotFoundError
from server.jobs.queue import JobStore
from server.latency_tables.store import BatchStore
from server.spaces.store import SpaceTableStore
from server.studies.store import StudyStore
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore

_TRAININGS = (SupernetStore, NetworkStore)


def all_owners(uow: UnitOfWork) -> Owners:
    """What the routes ask before they let a caller change a thing: the owner in the row of what their path names."""
    in_rows = {rule.kind: _in_row(rule) for rule in POLICY if rule.subject}
    return Owners(uow, {**in_rows, Kind.SEARCH: _of_search, Kind.SUPERNET: _of_supernet})


def all_orders(settings: QuotaSettings) -> Orders:
    """What the routes ask before they take an order."""
    return Orders(
        settings,
        {
            "queued_jobs": lambda tx, owner_id: JobStore(tx).num_queued_of(owner_id),
            "open_trainings": lambda tx, owner_id: sum(store(tx).num_open_of(owner_id) for store in _TRAININGS),
            "open_studies": lambda tx, owner_id: StudyStore(tx).num_open_of(owner_id),
            "open_latency_tables": lambda tx, owner_id: BatchStore(tx).num_open_of(owner_id),
            "registrations_per_day": _made_in_a_day,
        },
    )


def all_subjects() -> Subjects:
    """What records of changes say of the things that are changed."""
    return Subjects({kind: _described(parameter, find) for kind, (parameter, find) in _SUBJECTS.items()})


def _described(parameter: str, find_owner: FindOwner) -> DescribeSubject:
    referent = referent_of(parameter)

    def describe(tx: Transaction, id: str) -> Subject:
        try:
            owner = find_owner(tx, id)
        except NotFoundError:
            return Subject()
        return Subject(referent.name_in(tx, id), None if owner is None else owner.id)

    return describe


def _in_row(rule: Rule) -> FindOwner:
    return _in_row_of(rule.subject, rule.kind)


def _in_row_of(parameter: str, kind: Kind) -> FindOwner:
    id_column, noun = referent_of(parameter).id, kind.value
    return lambda tx, id: PrincipalStore(tx).owner_of(id_column, id, noun)


def _made_in_a_day(tx: Transaction, owner_id: str) -> int:
    since = tx.now() - timedelta(days=1)
    num_trained = sum(store(tx).num_made_since(owner_id, since) for store in _TRAININGS)
    return num_trained + SpaceTableStore(tx).num_made_since(owner_id, since)


def _of_search(tx: Transaction, id: str) -> Principal | None:
    """Also that of a latency table or report, which the paths of searches redirect to."""
    batch = BatchStore(tx).find_batch(id)
    return SearchStore(tx).get_search(id).owner if batch is None else batch.owner


def _of_supernet(tx: Transaction, id: str) -> Principal | None:
    """Also that of a network, which clients of the first release cancel as a supernet."""
    network = NetworkStore(tx).find_training(id)
    return SupernetStore(tx).get_training(id).owner if network is None else network.owner


def _of_candidate(tx: Transaction, id: str) -> Principal | None:
    """That of its search."""
    return SearchStore(tx).get_search(CandidateStore(tx).get_candidate(id).search_id).owner


def _of_principal(tx: Transaction, id: str) -> Principal | None:
    """That principal: what is said of somebody is theirs to read."""
    return PrincipalStore(tx).get_principal(id)


def _of_token(tx: Transaction, id: str) -> Principal | None:
    """Who holds it."""
    return TokenStore(tx).get_token(id).owner


_SUBJECTS: Mapping[SubjectKind, tuple[str, FindOwner]] = {
    SubjectKind.SEARCH: ("search_id", _of_search),
    SubjectKind.WHAT_IF: ("what_if_id", _in_row_of("what_if_id", Kind.WHAT_IF)),
    SubjectKind.CANDIDATE: ("candidate_id", _of_candidate),
    SubjectKind.SUPERNET: ("supernet_id", _of_supernet),
    SubjectKind.NETWORK: ("network_id", _in_row_of("network_id", Kind.NETWORK)),
    SubjectKind.STUDY: ("study_id", _in_row_of("study_id", Kind.STUDY)),
    SubjectKind.TABLE: ("table_id", _in_row_of("table_id", Kind.TABLE)),
    SubjectKind.REPORT: ("report_id", _in_row_of("report_id", Kind.REPORT)),
    SubjectKind.JOB: ("job_id", _in_row_of("job_id", Kind.JOB)),
    SubjectKind.ARTIFACT: ("sha256", _in_row_of("sha256", Kind.ARTIFACT)),
    SubjectKind.DEVICE: ("device_id", _in_row_of("device_id", Kind.DEVICE)),
    SubjectKind.PRINCIPAL: ("principal_id", _of_principal),
    SubjectKind.TOKEN: ("token_id", _of_token),
    SubjectKind.ENROLMENT: ("enrolment_token_id", _in_row_of("enrolment_token_id", Kind.ENROLMENT)),
}
"""By which parameter each kind is named, and who owns one."""
