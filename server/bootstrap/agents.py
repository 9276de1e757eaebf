"""What stands behind the agents' endpoint, put together."""

from __future__ import annotations

from server.artifacts.artifacts import Artifacts
from server.classifying.results import ClassificationResults
from server.classifying.rpc import ClassifyingRpc
from server.core.database.transaction import UnitOfWork
from server.core.database.wakeups import Wakeups
from server.fleet.devices import Devices
from server.fleet.rpc import AgentServices
from server.fleet.sessions import AgentSessions
from server.jobs.registry import JobKinds
from server.jobs.results import JobResults
from server.jobs.settings import LeaseSettings
from server.measuring.canaries.canaries import Canaries
from server.measuring.results import MeasurementResults
from server.measuring.rpc import MeasuringRpc


def agent_services(
    uow: UnitOfWork,
    wakeups: Wakeups,
    kinds: JobKinds,
    artifacts: Artifacts,
    canaries: Canaries,
    leases: LeaseSettings | None = None,
) -> AgentServices:
    """The use cases of agents, with every kind of job that devices do."""
    measuring = MeasuringRpc(MeasurementResults(uow, kinds), artifacts, canaries)
    classifying = ClassifyingRpc(ClassificationResults(uow, kinds, artifacts), artifacts)
    return AgentServices(
        devices=Devices(uow, leases),
        sessions=AgentSessions(uow, wakeups, kinds, leases, canaries.proving_kind),
        artifacts=artifacts,
        results=JobResults(uow, kinds),
        work={measuring.kind: measuring, classifying.kind: classifying},
    )
