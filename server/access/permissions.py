"""Who may do what: one table, which every route asks and which the reference prints (docs/reference/permissions.md).

A rule says for one kind of thing and one action which role may do it to what its caller owns, and which to what others
own. A route is named by its function; one that stands in no rule does not start (`check_policy`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from server.access.principal import Principal
from server.access.token import Role
from server.core.database.transaction import Transaction, UnitOfWork


class Kind(Enum):
    """What is owned or read, as people call it."""

    SEARCH = "search"
    WHAT_IF = "what-if of a search"
    CANDIDATE = "candidate"
    SUPERNET = "supernet"
    NETWORK = "network"
    STUDY = "ranking study"
    TABLE = "latency table"
    REPORT = "report of a latency table"
    MEASUREMENT = "measurement"
    CLASSIFICATION = "classification"
    JOB = "job"
    ARTIFACT = "artifact"
    SPACE = "search space"
    DATASET = "data set"
    ALGORITHM = "algorithm"
    PLUGIN = "plug-in"
    METRIC = "metric"
    PRESET = "preset"
    EVENT = "event"
    CHANGE = "change"
    DEVICE = "device"
    PRINCIPAL = "principal"
    TOKEN = "token"
    ENROLMENT = "enrolment token"
    METRICS = "server's metrics"
    PAGE = "web page"
    SERVICE = "service"


class Action(Enum):
    """What is done to it, as people call it."""

    READ = "read"
    CREATE = "create"
    AMEND = "amend"
    STEER = "pause, resume"
    CANCEL = "cancel"
    EVALUATE = "ask and tell trials"
    LABEL = "label"
    OPERATE = "drain, resume, quarantine, reserve, release"
    RETIRE = "retire"
    SHARE = "say who uses it, and when"
    VOUCH = "confirm, take back, give to another owner"
    SCRUB = "scrub"
    DELETE = "revoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who may do one action to one kind of thing.

    Attributes:
        own: role that may do it to what its bearer owns; None where ownership makes no difference.
        others: role that may do it to anybody's; None for everybody, without a token.
        subject: path parameter that names the thing; empty where ownership makes no difference, and for lists, which
            hold only what is their caller's own then.
        operations: the routes, by the names of their functions.
    """

    kind: Kind
    action: Action
    own: Role | None = None
    others: Role | None
    subject: str = ""
    operations: tuple[str, ...]

    def verdict(self, role: Role) -> str:
        """Whose things a role may do it to: `all`, `own` or `none`."""
        if self.others is None or role.grants(self.others):
            return "all"
        return "own" if self.own is not None and role.grants(self.own) else "none"


def _read(kind: Kind, *operations: str) -> Rule:
    return Rule(kind=kind, action=Action.READ, others=Role.VIEWER, operations=operations)


def _create(kind: Kind, *operations: str) -> Rule:
    return Rule(kind=kind, action=Action.CREATE, others=Role.ENGINEER, operations=operations)


def _own(kind: Kind, action: Action, subject: str, *operations: str) -> Rule:
    """An engineer's own things, and an admin's everything."""
    return Rule(kind=kind, action=action, own=Role.ENGINEER, others=Role.ADMIN, subject=subject, operations=operations)


def _admin(kind: Kind, action: Action, *operations: str) -> Rule:
    return Rule(kind=kind, action=action, others=Role.ADMIN, operations=operations)


POLICY: tuple[Rule, ...] = (
    _create(Kind.SEARCH, "create_search", "clone_search"),
    _read(
        Kind.SEARCH,
        "validate_search",  # starts nothing
        "list_searches",
        "get_search",
        "get_front",
        "get_hypervolume_history",
        "compare_searches",
        "get_answer",
        "list_checkpoints",
        "list_amendments",
        "list_search_events",
        "list_trials",
    ),
    _own(Kind.SEARCH, Action.AMEND, "search_id", "amend_search", "amend_running_search"),
    _own(Kind.SEARCH, Action.STEER, "search_id", "pause_search", "resume_search"),
    _own(Kind.SEARCH, Action.CANCEL, "search_id", "cancel_search"),
    # What is told steers the search: whoever may steer it may evaluate for it.
    _own(Kind.SEARCH, Action.EVALUATE, "search_id", "ask_trials", "renew_trial", "tell_trial"),
    _create(Kind.WHAT_IF, "create_what_if"),
    _read(Kind.WHAT_IF, "list_what_ifs", "get_what_if"),
    _own(Kind.WHAT_IF, Action.AMEND, "what_if_id", "measure_next_of_what_if"),
    _own(Kind.WHAT_IF, Action.CANCEL, "what_if_id", "cancel_what_if"),
    _read(
        Kind.CANDIDATE,
        "list_candidates",
        "get_candidate",
        "list_evaluations",
        "get_candidate_picture",
        "list_candidate_models",
        "get_candidate_bundle",
        "explain_candidate",
        "get_candidate_layers",
        "get_candidate_probe",
        "get_evidence_key",
    ),
    # The file is made of the supernet's weights, which whoever may export could read as they are.
    _create(Kind.CANDIDATE, "export_candidate", "measure_neighbours"),
    _create(Kind.SUPERNET, "create_supernet", "register_supernet"),
    _read(
        Kind.SUPERNET,
        "list_supernets",
        "get_supernet",
        "get_supernet_curve",
        "list_supernet_versions",
        "list_supernet_models",
        "list_supernet_events",
    ),
    _own(Kind.SUPERNET, Action.CANCEL, "supernet_id", "cancel_supernet"),
    # A candidate is retrained by whoever reads it: the network that comes of it is the caller's own.
    _create(Kind.NETWORK, "create_network", "register_network", "retrain_candidate"),
    _read(
        Kind.NETWORK,
        "list_networks",
        "get_network",
        "get_network_curve",
        "list_network_models",
        "get_network_bundle",
        "list_network_events",
    ),
    _own(Kind.NETWORK, Action.CANCEL, "network_id", "cancel_network"),
    _create(Kind.STUDY, "create_ranking_study"),
    _read(
        Kind.STUDY,
        "list_ranking_studies",
        "get_ranking_study",
        "list_ranking_study_entries",
        "list_ranking_study_events",
    ),
    _own(Kind.STUDY, Action.CANCEL, "study_id", "cancel_ranking_study"),
    _create(Kind.TABLE, "create_latency_table"),
    _read(Kind.TABLE, "list_latency_tables", "get_latency_table", "list_cost_tables", "get_cost_table"),
    _own(Kind.TABLE, Action.STEER, "table_id", "pause_latency_table", "resume_latency_table"),
    _own(Kind.TABLE, Action.CANCEL, "table_id", "cancel_latency_table"),
    _create(Kind.REPORT, "create_cost_report"),
    _read(Kind.REPORT, "list_cost_reports", "get_cost_report"),
    _own(Kind.REPORT, Action.STEER, "report_id", "pause_cost_report", "resume_cost_report"),
    _own(Kind.REPORT, Action.CANCEL, "report_id", "cancel_cost_report"),
    _create(Kind.MEASUREMENT, "measure_model"),
    _read(
        Kind.MEASUREMENT,
        "list_measurements",
        "get_measurement",
        "get_measurement_samples",
        "get_measurement_layers",
        # Its field `queue_missing` needs the role engineer besides, as ordering a measurement does.
        "query_latencies",
        "list_hardware_keys",
        "list_latency_predictors",
        "get_latency_predictor",
    ),
    _read(Kind.CLASSIFICATION, "list_classifications", "get_classification"),
    _read(Kind.JOB, "list_jobs", "get_job", "list_workers"),
    _own(Kind.JOB, Action.CANCEL, "job_id", "cancel_job"),
    _create(Kind.ARTIFACT, "put_artifact"),
    _read(Kind.ARTIFACT, "list_artifacts", "get_artifact", "get_artifact_scrub"),
    _admin(Kind.ARTIFACT, Action.SCRUB, "scrub_artifacts"),
    _create(Kind.SPACE, "register_table"),
    _read(Kind.SPACE, "list_search_spaces", "get_search_space", "decode_architecture"),
    _read(Kind.DATASET, "list_datasets", "list_dataset_kinds"),
    _read(Kind.ALGORITHM, "list_algorithms"),
    _read(Kind.PLUGIN, "list_plugins", "list_runtimes"),
    _read(Kind.METRIC, "list_metrics"),
    _read(
        Kind.PRESET,
        "list_search_presets",
        "get_search_preset",
        "list_training_presets",
        "get_training_preset",
    ),
    _read(Kind.EVENT, "list_events"),
    # Who did what is for those who own what it was done to, and for who did it.
    Rule(kind=Kind.CHANGE, action=Action.READ, own=Role.VIEWER, others=Role.ADMIN, operations=("list_changes",)),
    _read(Kind.DEVICE, "list_devices", "get_device", "list_device_types", "list_canaries"),
    # Boards are the team's: whoever measures on them may keep others off one that misbehaves, or that a person needs.
    Rule(kind=Kind.DEVICE, action=Action.LABEL, others=Role.ENGINEER, operations=("set_device_labels",)),
    Rule(
        kind=Kind.DEVICE,
        action=Action.OPERATE,
        others=Role.ENGINEER,
        operations=("drain_device", "resume_device", "quarantine_device", "reserve_device", "release_device"),
    ),
    _own(Kind.DEVICE, Action.RETIRE, "device_id", "retire_device"),
    _own(Kind.DEVICE, Action.SHARE, "device_id", "set_device_rules"),
    _admin(Kind.DEVICE, Action.VOUCH, "confirm_device", "unretire_device", "set_device_owner"),
    _admin(Kind.PRINCIPAL, Action.READ, "list_principals", "get_principal"),
    _admin(Kind.PRINCIPAL, Action.AMEND, "amend_principal"),
    _admin(Kind.TOKEN, Action.CREATE, "create_token"),
    _admin(Kind.TOKEN, Action.READ, "list_tokens", "get_token"),
    _admin(Kind.TOKEN, Action.DELETE, "revoke_token"),
    _admin(Kind.ENROLMENT, Action.CREATE, "create_enrolment_token"),
    _admin(Kind.ENROLMENT, Action.READ, "list_enrolment_tokens"),
    _admin(Kind.ENROLMENT, Action.DELETE, "revoke_enrolment_token"),
    _read(Kind.METRICS, "get_metrics"),
    _read(
        Kind.PAGE,
        "show_searches",
        "show_searches_table",
        "show_search",
        "show_progress",
        "show_waiting",
        "show_candidates",
        "show_candidate",
        "show_fleet",
        "show_fleet_table",
        "show_latencies",
        "show_api",
    ),
    Rule(
        kind=Kind.SERVICE,
        action=Action.READ,
        others=None,
        operations=(
            "get_health",
            "get_readiness",
            "get_version",
            "list_problem_types",
            "get_problem_type",
            "openapi",
            "static",
            "show_login",
            "sign_in",
            "sign_out",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRule:
    """What a device's credential may do in one call of the agents' endpoint.

    Attributes:
        call: service and method.
        own: what it does for the device itself, in words.
        others: what happens where it names another device, or what another device holds.
    """

    call: str
    own: str
    others: str


AGENT_POLICY: tuple[AgentRule, ...] = (
    AgentRule(
        call="AgentControl/Enroll",
        own="with an enrolment token: lets the device in, as a thing of the token's owner",
        others="refused while another live device has that name",
    ),
    AgentRule(
        call="AgentControl/Sync",
        own="reports its state, takes jobs and gives them back",
        others="PERMISSION_DENIED in another device's name; another's leases are LOST, or left alone",
    ),
    AgentRule(
        call="AgentControl/Renew",
        own="keeps the leases it holds alive",
        others="PERMISSION_DENIED in another device's name; another's leases are LOST, and not kept alive",
    ),
    AgentRule(
        call="AgentControl/PutResult",
        own="hands in the results of leases it holds or held",
        others="PERMISSION_DENIED in another device's name; a result of another's lease is REJECTED",
    ),
    AgentRule(
        call="Artifacts/Fetch",
        own="reads the artifacts of jobs it holds, or lately held; while it is quarantined none",
        others="PERMISSION_DENIED, whether the server has it or not",
    ),
)
"""What agents may do; a test holds it against every call of the wire."""
RULE_OF: Mapping[str, Rule] = {operation: rule for rule in POLICY for operation in rule.operations}
"""The rule of every route, by the name of its function."""


def check_policy(operations: Iterable[str]) -> None:
    """Refuse to serve routes that nobody has said who may use.

    Raises:
        LookupError: names the routes that stand in no rule.
    """
    unknown = sorted(set(operations) - RULE_OF.keys())
    if unknown:
        raise LookupError(f"no rule says who may use {', '.join(unknown)}: add them to POLICY in {__name__}")


FindOwner = Callable[[Transaction, str], Principal | None]
"""The owner of the thing with an id, None for nobody; raises NotFoundError where there is no such thing."""


class Owners:
    """Finds owners; concerns bring how theirs are found.

    Args:
        finders: one for each kind with a rule in which ownership makes a difference.
    """

    def __init__(self, uow: UnitOfWork, finders: Mapping[Kind, FindOwner]) -> None:
        self._uow = uow
        self._finders = dict(finders)

    def owner_of(self, kind: Kind, id: str) -> Principal | None:
        """The owner of a thing, None for nobody. Raises NotFoundError."""
        return self._uow.read(lambda tx: self._finders[kind](tx, id))
