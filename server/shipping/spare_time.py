"""Spare board time for an explanation: neighbours of a candidate are measured while boards have nothing else to do."""

from __future__ import annotations

from nas_engine.domain.measurement import ValidityPolicy
from server.access.principal import Principal
from server.candidates.boards import MeasurementSpec
from server.candidates.candidate import Candidate
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ConflictError
from server.fleet.device import LAYERS_FEATURE
from server.fleet.device_spec import DeviceSpec
from server.fleet.store import DeviceStore, HardwareStore
from server.jobs.job import Job
from server.jobs.settings import SearchSettings
from server.measuring.network_orders import NetworkOrder, queue_network
from server.measuring.store import MeasurementStore
from server.shipping.neighbours import LatencySource, Neighbourhoods
from server.spaces.architecture import ArchitectureDocument, ArchitectureRecord
from server.spaces.catalog import SpaceCatalog

SPARE_PRIORITY = -100
"""The lowest there is: whatever a search or a person orders goes first."""


class SpareTime:
    """Use case of measuring a candidate's neighbours."""

    def __init__(
        self,
        uow: UnitOfWork,
        spaces: SpaceCatalog,
        neighbourhoods: Neighbourhoods,
        settings: SearchSettings | None = None,
    ) -> None:
        self._uow = uow
        self._spaces = spaces
        self._neighbourhoods = neighbourhoods
        self._settings = settings or SearchSettings()

    def order(self, candidate_id: str, max_networks: int, owner: Principal | None = None) -> tuple[Job, ...]:
        """Queue the latencies of neighbours that were not measured, those first of which the largest difference is
        expected; and the candidate's own layer times, where a board of the type tells them and none are known.

        Raises:
            NotFoundError: there is no such candidate.
            ConflictError: its search measures on no device.
        """
        explained = self._neighbourhoods.explain(candidate_id)
        candidate = explained.candidate
        known = (LatencySource.MEASURED, LatencySource.RECORDED)
        wanted = [one.record for one in explained.neighbours if one.source not in known][:max_networks]

        def work(tx: Transaction) -> tuple[Job, ...]:
            search = SearchStore(tx).get_search(candidate.search_id)
            device, hardware_key = search.spec.device, search.hardware_key
            if device is None or hardware_key is None:
                raise ConflictError(
                    f"search {search.id} measures on no device, so neighbours of candidate {candidate.id} cannot be "
                    "measured for it"
                )
            lacks_layers = self._lacks_layers(tx, candidate, device, hardware_key)
            records = [candidate.record, *wanted] if lacks_layers else wanted
            return tuple(self._queue(tx, search, device, hardware_key, record, owner) for record in records)

        return self._uow.write(work)

    def _lacks_layers(self, tx: Transaction, candidate: Candidate, device: DeviceSpec, hardware_key: str) -> bool:
        if candidate.latency_key is None:
            return False
        pool_key = HardwareStore(tx).get_hardware(hardware_key).pool_key
        boards = (one.capabilities for one in DeviceStore(tx).devices_of_type(device.device_type))
        told = any(LAYERS_FEATURE in one.features and pool_key in one.pool_keys() for one in boards)
        return (
            told
            and MeasurementStore(tx).newest_measurement(candidate.latency_key, hardware_key, with_layers=True) is None
        )

    def _queue(
        self,
        tx: Transaction,
        search: Search,
        device: DeviceSpec,
        hardware_key: str,
        record: ArchitectureRecord,
        owner: Principal | None,
    ) -> Job:
        key = self._spaces.latency_key(record.architecture, dtype=device.dtype, batch=device.batch)
        if key is None:
            raise ConflictError(f"space {record.architecture.space_id} has no networks that could be measured")
        given = search.spec.measurement
        measurement = MeasurementSpec(
            profile=given.profile,
            validity_policy=ValidityPolicy.ACCEPT_FLAGGED,  # an explanation shows the flags, and steers nothing
            timeout_s=given.timeout_s,
            max_attempts=given.max_attempts,
            layer_times=True,
        )
        order = NetworkOrder(
            source=ArchitectureDocument.of(record.architecture),
            latency_key=key,
            arch_id=record.arch_id,
            device=device,
            measurement=measurement,
            priority=SPARE_PRIORITY,
            owner=owner,
            purpose="explain",
            accepts=f"{device.device_type}:{given.profile}",
        )
        profile = HardwareStore(tx).get_hardware(hardware_key)
        return queue_network(tx, order, profile, self._settings.max_evaluation_attempts)
