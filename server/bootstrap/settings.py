"""Settings of the server's processes: environment variables ``HILNAS_*``, overridden by command-line options."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from nas_engine.domain.measuring.environment import DeviceClass
from nas_engine.settings.training import TorchDevice
from server.access.enrolment_token import EnrolmentDefaults
from server.access.limits.quotas import QuotaSettings
from server.access.page_session import PageSessionSettings
from server.core.home import ENROLMENT_TOKEN_FILE, default_home
from server.core.http.patience import Patience
from server.jobs.settings import LeaseSettings

_QUOTAS, _SESSIONS, _PATIENCE = QuotaSettings(), PageSessionSettings(), Patience()
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Settings(BaseSettings):
    """Everything that can be set; the names of the variables are the fields' in capitals after ``HILNAS_``.

    Attributes:
        home: folder of the embedded database, artifacts, tokens and the secret key; made when missing.
        database_url: SQLAlchemy URL; empty means SQLite in `home`. PostgreSQL: ``postgresql+psycopg://...``.
        artifact_dir: content-addressed store; empty means ``artifacts`` in `home`.
        http_host, http_port: where REST and the web pages listen; port 0 takes a free one.
        grpc_host, grpc_port: where agents dial in.
        api_processes: processes that serve both addresses together; more than one need PostgreSQL.
        grpc_cert, grpc_key: PEM files that switch TLS on for agents; ``hilnas certs`` makes them. Both or neither.
        grpc_client_ca: agents must show a certificate signed by this authority (mutual TLS); needs the two above.
        insecure_no_auth: everyone is admin; only accepted when both hosts are loopback.
        allowed_hosts: Host names answered to, comma-separated; empty means loopback names on a loopback
            bind and any name otherwise.
        allowed_origins: further web origins that may send changes, comma-separated.
        trusted_proxies: addresses (or networks) of TLS proxies in front of the server, comma-separated: their
            ``X-Forwarded-Proto`` and ``X-Forwarded-For`` are believed, nobody else's.
        session_idle_s: a session of the web pages ends when it was not used for so long.
        session_max_s: it ends so long after the login, however much it is used.
        quota_open_searches: searches of one owner that are not over; 0 switches this and each quota below off.
        quota_queued_jobs: jobs of one owner that may wait when it orders more.
        quota_search_candidates: candidates of one search.
        quota_open_candidates: candidates of all searches of one owner that are not over.
        quota_open_trainings: supernets and networks of one owner whose training is not over.
        quota_open_studies: ranking studies of one owner that are not over.
        quota_open_latency_tables: latency tables and reports of one owner that are not over.
        quota_registrations_per_day: supernets, networks and search spaces of one owner that came to be in the last
            24 hours, when it registers another one.
        quota_upload_bytes_per_day: bytes of artifacts that one owner sends in a day, UTC; an upload counts as 1 MiB at
            least.
        quota_label_bytes: bytes of the labels of one thing, names and values.
        quota_open_sessions: sessions of the web pages that one token has.
        quota_event_streams: event streams that one token has open, counted by each server for itself.
        quota_requests_per_minute: REST requests and pages of one owner, counted by each server for itself.
        header_timeout_s: a connection is closed that does not send the headers of a request within this.
        body_timeout_s: a request's body must come within this; every 16 KiB that come buy another second.
        secret_key: signs page tokens and sessions; replicas must share it; empty means a key file in `home`.
        admin_token, enrolment_token: fixed first tokens (``nas_...``), for deployments that set up agents from
            the same source; empty means they are made and written to `home`.
        enrolment_device_class, enrolment_device_type: what the first enrolment token lets in: devices of this class
            (emulated; board needs a type), of this type only; an empty type means every type without boards.
        enrolment_token_file: where the first enrolment token is written; absent means `home`. A place of its own
            lets agents of one deployment read it and nothing else.
        evidence_key_file: Ed25519 private key (PEM) that signs evidence bundles; absent means one in `home`, made once.
            Servers of one deployment share one.
        max_artifact_bytes: largest upload.
        min_free_bytes: floor of free space on the disks of the artifacts and of the embedded database: below it uploads
            are refused and the server reports that it is not ready.
        model_checks: uploaded models that are checked at the same time, each in a process of its own.
        model_check_memory_bytes: address space of such a process.
        scrub_every_h: how often every stored file is read again and compared with its digest; 0 for never.
        shutdown_s: how long open requests may take after SIGTERM.
        datasets_file: JSON file that registers data sets beside the embedded one.
        lease_ttl_s: a job whose holder is not heard of for so long is given to another; holders renew three times
            as often. The same value belongs in every process of a deployment.
        lease_accept_s: an agent must confirm a job within this, or it goes back into the queue, which does
            not count as an attempt.
        worker_name: of this worker in leases and logs; empty means host name and process id.
        worker_device: where workers run torch: auto takes a CUDA device where there is one.
        worker_threads: CPU threads of torch; absent means torch's own choice.
        pixel_cache_bytes: decoded held-out and calibration images that a worker keeps in `home`, at most; 0 keeps none.
        rknn_python: Python of the RKNN converter's environment; absent means the one that `make rknn` has made,
            where there is one, and no conversions for RKNN boards otherwise.
        rknn_processes: conversions at a time.
        host_lock: timing lock shared with agents on the same host: torch pauses while one times a block;
            absent means agents run elsewhere.
        log_level: debug, info, warning or error.
        log_json: one JSON object per log line instead of text for people.
    """

    model_config = SettingsConfigDict(env_prefix="HILNAS_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=default_home)
    database_url: str = ""
    artifact_dir: Path | None = None
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    grpc_host: str = "127.0.0.1"
    grpc_port: int = Field(default=50051, ge=0, le=65535)
    api_processes: int = Field(default=1, ge=1, le=64)
    grpc_cert: Path | None = None
    grpc_key: Path | None = None
    grpc_client_ca: Path | None = None
    insecure_no_auth: bool = False
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    session_idle_s: float = Field(default=_SESSIONS.idle_s, ge=1)
    session_max_s: float = Field(default=_SESSIONS.max_s, ge=1)
    quota_open_searches: int = Field(default=_QUOTAS.open_searches, ge=0)
    quota_queued_jobs: int = Field(default=_QUOTAS.queued_jobs, ge=0)
    quota_search_candidates: int = Field(default=_QUOTAS.search_candidates, ge=0)
    quota_open_candidates: int = Field(default=_QUOTAS.open_candidates, ge=0)
    quota_open_trainings: int = Field(default=_QUOTAS.open_trainings, ge=0)
    quota_open_studies: int = Field(default=_QUOTAS.open_studies, ge=0)
    quota_open_latency_tables: int = Field(default=_QUOTAS.open_latency_tables, ge=0)
    quota_registrations_per_day: int = Field(default=_QUOTAS.registrations_per_day, ge=0)
    quota_upload_bytes_per_day: int = Field(default=_QUOTAS.upload_bytes_per_day, ge=0)
    quota_label_bytes: int = Field(default=_QUOTAS.label_bytes, ge=0)
    quota_open_sessions: int = Field(default=_QUOTAS.open_sessions, ge=0)
    quota_event_streams: int = Field(default=_QUOTAS.event_streams, ge=0)
    quota_requests_per_minute: int = Field(default=_QUOTAS.requests_per_minute, ge=0)
    header_timeout_s: float = Field(default=_PATIENCE.header_s, gt=0)
    body_timeout_s: float = Field(default=_PATIENCE.body_s, gt=0)
    secret_key: SecretStr = SecretStr("")
    admin_token: SecretStr = SecretStr("")
    enrolment_token: SecretStr = SecretStr("")
    enrolment_device_class: DeviceClass = DeviceClass.EMULATED
    enrolment_device_type: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,99})?$")
    enrolment_token_file: Path | None = None
    evidence_key_file: Path | None = None
    max_artifact_bytes: int = Field(default=2 << 30, ge=1)
    min_free_bytes: int = Field(default=256 << 20, ge=0)
    model_checks: int = Field(default=2, ge=1, le=64)
    model_check_memory_bytes: int = Field(default=4 << 30, ge=512 << 20)
    scrub_every_h: float = Field(default=168.0, ge=0, le=87_600, allow_inf_nan=False)
    shutdown_s: int = Field(default=5, ge=0, le=600)
    datasets_file: Path | None = None
    lease_ttl_s: float = Field(default=60.0, gt=0, le=86_400, allow_inf_nan=False)
    lease_accept_s: float = Field(default=15.0, gt=0, le=3_600, allow_inf_nan=False)
    worker_name: str = ""
    worker_device: TorchDevice = "auto"
    worker_threads: int | None = Field(default=None, ge=1, le=1024)
    pixel_cache_bytes: int = Field(default=16 << 30, ge=0)
    rknn_python: Path | None = None
    rknn_processes: int = Field(default=1, ge=1, le=64)
    host_lock: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False

    @field_validator("allowed_hosts", "allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f"trusted proxy {proxy!r} is neither an address nor a network such as 10.0.0.0/8: nobody is that"
                ) from None
        return value

    @model_validator(mode="after")
    def _no_auth_is_for_loopback(self) -> Settings:
        exposed = [host for host in (self.http_host, self.grpc_host) if not is_loopback(host)]
        if self.insecure_no_auth and exposed:
            raise ValueError(
                f"insecure_no_auth is refused on {', '.join(exposed)}: without tokens the server may listen on "
                "loopback addresses only (127.0.0.1, ::1, localhost)"
            )
        return self

    @model_validator(mode="after")
    def _several_processes_need_postgresql(self) -> Settings:
        if self.api_processes > 1 and not self.database_url.startswith("postgresql"):
            raise ValueError(
                f"{self.api_processes} API processes need PostgreSQL (database_url, HILNAS_DATABASE_URL): SQLite has "
                "one writer at a time"
            )
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Settings:
        if (self.grpc_cert is None) != (self.grpc_key is None):
            raise ValueError("grpc_cert and grpc_key are given together or not at all")
        if self.grpc_client_ca is not None and self.grpc_cert is None:
            raise ValueError("grpc_client_ca asks agents for certificates: give grpc_cert and grpc_key as well")
        return self

    @model_validator(mode="after")
    def _boards_have_a_type(self) -> Settings:
        if self.enrolment_device_class is DeviceClass.BOARD and not self.enrolment_device_type:
            raise ValueError("enrolment_device_class board needs enrolment_device_type, such as rk3588")
        return self

    @classmethod
    def load(cls, overrides: Mapping[str, object] | None = None) -> Settings:
        """From the environment; what is in `overrides` wins.

        Raises:
            pydantic.ValidationError: a value is not allowed.
        """
        return cls(**(overrides or {}))  # type: ignore[arg-type]  # pydantic checks every value

    @property
    def leases(self) -> LeaseSettings:
        """How leases live, for everything that hands them out or keeps them."""
        return LeaseSettings(ttl_s=self.lease_ttl_s, accept_s=self.lease_accept_s)

    @property
    def enrolment(self) -> EnrolmentDefaults:
        """What enrolment tokens are made with where nobody says otherwise."""
        return EnrolmentDefaults(first_class=self.enrolment_device_class, first_type=self.enrolment_device_type or None)

    @property
    def quotas(self) -> QuotaSettings:
        """What one owner may have under way, send and ask."""
        names = (field.name for field in fields(QuotaSettings))
        return QuotaSettings(**{name: getattr(self, f"quota_{name}") for name in names})

    @property
    def sessions(self) -> PageSessionSettings:
        """How long sessions of the pages last."""
        return PageSessionSettings(idle_s=self.session_idle_s, max_s=self.session_max_s)

    @property
    def patience(self) -> Patience:
        """How slow clients may be."""
        return Patience(header_s=self.header_timeout_s, body_s=self.body_timeout_s)

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or the embedded database."""
        return self.database_url or f"sqlite:///{self.home / 'hilnas.sqlite3'}"

    @property
    def effective_artifact_dir(self) -> Path:
        """`artifact_dir`, or its place in `home`."""
        return self.artifact_dir or self.home / "artifacts"

    @property
    def effective_enrolment_token_file(self) -> Path:
        """`enrolment_token_file`, or its place in `home`."""
        return self.enrolment_token_file or self.home / ENROLMENT_TOKEN_FILE

    @property
    def effective_allowed_hosts(self) -> tuple[str, ...]:
        """`allowed_hosts`, or what suits the bind address."""
        if self.allowed_hosts:
            return self.allowed_hosts
        return (*_LOOPBACK_NAMES, self.http_host) if is_loopback(self.http_host) else ("*",)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
