"""What each kind of thing can be named by, and which parameters of requests and members of documents name which."""

from __future__ import annotations

from server.access.store import api_tokens, enrolment_tokens, principals
from server.artifacts.store import artifacts
from server.candidates.search_store import searches
from server.candidates.tables import candidates
from server.classifying.store import classifications
from server.core.database.references import Numbered, References, Referent, Stead
from server.core.database.transaction import UnitOfWork
from server.fleet.store import devices, hardware
from server.jobs.tables import jobs
from server.latencies.predictors.store import latency_predictors
from server.latency_tables.store import latency_batches
from server.measuring.store import measurements
from server.searches.what_if.store import what_ifs
from server.spaces.store import architectures
from server.studies.store import ranking_studies
from server.training.networks.store import networks
from server.training.store import supernet_versions, supernets

_REFERENTS = {
    "search": Referent.with_spec("search", searches),
    "candidate": Referent(
        noun="candidate",
        id=candidates.c.id,
        digests=(candidates.c.arch_id,),
        numbered=Numbered(within="search", owner_id=candidates.c.search_id, number=candidates.c.seq),
    ),
    "supernet": Referent.with_spec("supernet", supernets),
    "network": Referent.with_spec("network", networks),
    "what_if": Referent(noun="what-if", id=what_ifs.c.id),
    "predictor": Referent(noun="latency predictor", id=latency_predictors.c.id),
    "study": Referent.with_spec("ranking study", ranking_studies),
    "batch": Referent.with_spec("latency table or report", latency_batches),
    "device": Referent(noun="device", id=devices.c.id, names=(devices.c.name,)),
    "job": Referent(noun="job", id=jobs.c.id),
    "measurement": Referent(noun="measurement", id=measurements.c.id),
    "classification": Referent(noun="classification", id=classifications.c.id),
    "enrolment": Referent(noun="enrolment token", id=enrolment_tokens.c.id, names=(enrolment_tokens.c.name,)),
    "principal": Referent(noun="principal", id=principals.c.id, names=(principals.c.name,)),
    "artifact": Referent(noun="artifact", id=artifacts.c.sha256),
    "version": Referent(
        noun="supernet version",
        id=supernet_versions.c.id,
        stead=Stead(kind="supernet", id=supernets.c.id, meant=supernets.c.latest_version_id),
    ),
    "token": Referent(noun="token", id=api_tokens.c.id, names=(api_tokens.c.name,)),
    "architecture": Referent(noun="architecture", id=architectures.c.arch_id),
    "hardware": Referent(noun="hardware key", id=hardware.c.hardware_key),
}
_PARAMETERS: dict[str, str] = {
    **{f"{kind}_id": kind for kind in _REFERENTS},
    "table_id": "batch",
    "report_id": "batch",
    "compared_with": "candidate",
    "arch_id": "architecture",
    "hardware_key": "hardware",
    "enrolment_token_id": "enrolment",
    "owner": "principal",
    "actor": "principal",
    "sha256": "artifact",
}
_MEMBERS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("supernet",): ("supernet", "version"),  # of a search, of a ranking study
    ("inherit_from",): ("version",),
    ("strategy", "inherit_from"): ("version",),
    ("algorithm", "latency_table"): ("batch",),
    ("warm_start", "search"): ("search",),
    **dict.fromkeys(
        (
            ("algorithm", "cost_table"),
            ("weights_sha256",),
            ("model_sha256",),
            ("calibration_images_sha256",),
            ("images", "sha256"),
            ("sha256",),
        ),
        ("artifact",),
    ),
}


def referent_of(parameter: str) -> Referent:
    """Give the kind of things that a parameter of a path names."""
    return _REFERENTS[_PARAMETERS[parameter]]


def all_references(uow: UnitOfWork) -> References:
    """What the routes find references with."""
    return References(uow, _REFERENTS, _PARAMETERS, _MEMBERS)
