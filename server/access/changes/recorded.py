"""Which routes change something, and what their records say; one table, without which no route starts.

A route that is not read-only is named here by its function, as in the table of permissions: with what it does to which
kind of thing, or with the reason why nothing is recorded of it. `Recorder` does the writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from server.access.changes.change import ChangeAction as Did
from server.access.changes.change import SubjectKind as Kind


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record of a route's work says.

    Attributes:
        kind: of what is changed, where its id does not tell.
        subject: path parameter that names it; empty where the route makes it, and its answer has its id.
        names_members: whether the members of the request's body are named; never their values.
    """

    action: Did
    kind: Kind
    subject: str = ""
    names_members: bool = False


RECORDED: Mapping[str, Recorded] = {
    "create_search": Recorded(Did.CREATE, Kind.SEARCH),
    "amend_search": Recorded(Did.AMEND, Kind.SEARCH, "search_id", names_members=True),
    "amend_running_search": Recorded(Did.AMEND, Kind.SEARCH, "search_id", names_members=True),
    "clone_search": Recorded(Did.CREATE, Kind.SEARCH),
    "pause_search": Recorded(Did.PAUSE, Kind.SEARCH, "search_id"),
    "resume_search": Recorded(Did.RESUME, Kind.SEARCH, "search_id"),
    "cancel_search": Recorded(Did.CANCEL, Kind.SEARCH, "search_id"),
    "tell_trial": Recorded(Did.TELL, Kind.SEARCH, "search_id"),
    "create_what_if": Recorded(Did.CREATE, Kind.WHAT_IF),
    "measure_next_of_what_if": Recorded(Did.MEASURE, Kind.WHAT_IF, "what_if_id"),
    "cancel_what_if": Recorded(Did.CANCEL, Kind.WHAT_IF, "what_if_id"),
    "export_candidate": Recorded(Did.EXPORT, Kind.CANDIDATE, "candidate_id"),
    "measure_neighbours": Recorded(Did.MEASURE, Kind.CANDIDATE, "candidate_id"),
    "create_supernet": Recorded(Did.CREATE, Kind.SUPERNET),
    "register_supernet": Recorded(Did.REGISTER, Kind.SUPERNET),
    "cancel_supernet": Recorded(Did.CANCEL, Kind.SUPERNET, "supernet_id"),
    "create_network": Recorded(Did.CREATE, Kind.NETWORK),
    "register_network": Recorded(Did.REGISTER, Kind.NETWORK),
    "retrain_candidate": Recorded(Did.CREATE, Kind.NETWORK),
    "cancel_network": Recorded(Did.CANCEL, Kind.NETWORK, "network_id"),
    "create_ranking_study": Recorded(Did.CREATE, Kind.STUDY),
    "cancel_ranking_study": Recorded(Did.CANCEL, Kind.STUDY, "study_id"),
    "create_latency_table": Recorded(Did.CREATE, Kind.TABLE),
    "pause_latency_table": Recorded(Did.PAUSE, Kind.TABLE, "table_id"),
    "resume_latency_table": Recorded(Did.RESUME, Kind.TABLE, "table_id"),
    "cancel_latency_table": Recorded(Did.CANCEL, Kind.TABLE, "table_id"),
    "create_cost_report": Recorded(Did.CREATE, Kind.REPORT),
    "pause_cost_report": Recorded(Did.PAUSE, Kind.REPORT, "report_id"),
    "resume_cost_report": Recorded(Did.RESUME, Kind.REPORT, "report_id"),
    "cancel_cost_report": Recorded(Did.CANCEL, Kind.REPORT, "report_id"),
    "measure_model": Recorded(Did.MEASURE, Kind.JOB),
    "query_latencies": Recorded(Did.MEASURE, Kind.JOB),
    "cancel_job": Recorded(Did.CANCEL, Kind.JOB, "job_id"),
    "put_artifact": Recorded(Did.UPLOAD, Kind.ARTIFACT, "sha256"),
    "scrub_artifacts": Recorded(Did.SCRUB, Kind.ARTIFACT),
    "register_table": Recorded(Did.REGISTER, Kind.SPACE),
    "set_device_labels": Recorded(Did.LABEL, Kind.DEVICE, "device_id"),
    "drain_device": Recorded(Did.DRAIN, Kind.DEVICE, "device_id"),
    "resume_device": Recorded(Did.RESUME, Kind.DEVICE, "device_id"),
    "quarantine_device": Recorded(Did.QUARANTINE, Kind.DEVICE, "device_id"),
    "reserve_device": Recorded(Did.RESERVE, Kind.DEVICE, "device_id"),
    "release_device": Recorded(Did.RELEASE, Kind.DEVICE, "device_id"),
    "retire_device": Recorded(Did.RETIRE, Kind.DEVICE, "device_id"),
    "unretire_device": Recorded(Did.UNRETIRE, Kind.DEVICE, "device_id"),
    "confirm_device": Recorded(Did.CONFIRM, Kind.DEVICE, "device_id"),
    "set_device_rules": Recorded(Did.AMEND, Kind.DEVICE, "device_id", names_members=True),
    "set_device_owner": Recorded(Did.AMEND, Kind.DEVICE, "device_id", names_members=True),
    "amend_principal": Recorded(Did.AMEND, Kind.PRINCIPAL, "principal_id", names_members=True),
    "create_token": Recorded(Did.CREATE, Kind.TOKEN),
    "revoke_token": Recorded(Did.REVOKE, Kind.TOKEN, "token_id"),
    "create_enrolment_token": Recorded(Did.CREATE, Kind.ENROLMENT),
    "revoke_enrolment_token": Recorded(Did.REVOKE, Kind.ENROLMENT, "enrolment_token_id"),
}
"""What is recorded of every route that changes something, by the name of its function."""
UNRECORDED: Mapping[str, str] = {
    "validate_search": "starts nothing",
    "decode_architecture": "is computed and kept nowhere",
    "ask_trials": "lends work for a while, as boards get theirs; what is told of it is recorded",
    "renew_trial": "prolongs a loan",
    "sign_in": "shows a token once more; what is done with it is recorded",
    "sign_out": "ends what signing in began",
}
"""Why nothing is recorded of the other routes that are not read-only, by the name of their functions."""


def check_recorded(recording: Iterable[str], unsafe: Iterable[str]) -> None:
    """Refuse to serve routes that could change something without a record.

    Args:
        recording: names of the routes that have a `Recorder`.
        unsafe: names of all routes that are not read-only.

    Raises:
        LookupError: names the routes that nothing is said of, or that lack their recorder.
    """
    having = set(recording)
    unknown = sorted(name for name in unsafe if name not in RECORDED and name not in UNRECORDED)
    lacking = sorted(name for name in unsafe if name in RECORDED and name not in having)
    if unknown:
        raise LookupError(f"nothing says what {', '.join(unknown)} changes: add it to RECORDED in {__name__}")
    if lacking:
        raise LookupError(f"{', '.join(lacking)}: take PermittedOnce or PermittedChange, which record the change")
