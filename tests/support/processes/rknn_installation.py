"""A server, a worker with the real RKNN converter and simulated boards: one installation in a folder, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.access.tokens import Tokens
from server.bootstrap import api, worker
from server.bootstrap.settings import Settings
from server.candidates.candidate import Candidate, CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.core.paging import PageRequest
from server.fleet.device import Device, DeviceQuery
from server.fleet.devices import Devices
from server.fleet.rpc_server import start_rpc_server
from server.searches.searches import Searches
from tests.support.processes.agent_process import AgentProcess
from tests.support.samples.rknn_files import RKNN_PYTHON


class RknnInstallation:
    """Everything in this process but the boards and the converter, which are processes of their own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._folder = folder
        chosen = Settings(home=folder, rknn_python=RKNN_PYTHON, **settings)
        self.server = api.build(chosen)
        tokens = self.server.get(Tokens).bootstrap()
        assert tokens is not None
        self._token = tokens.enrolment_token
        self._rpc = start_rpc_server(self.server.agents, "127.0.0.1:0", num_threads=16)
        self._process = worker.build(chosen)
        self.server.wakeups.start()
        self._process.wakeups.start()
        self._thread = threading.Thread(target=self._process.worker.run)
        self._thread.start()
        self._agents: list[AgentProcess] = []

    def start_board(self, runtime: str, name: str) -> None:
        """One more agent, enrolled once this returns."""
        options = ("--runtime", runtime, "--isolation", "none", "--poll-s", "1")
        self._agents.append(AgentProcess(self._folder, self._rpc.port, *options, name=name, token=self._token))
        self.until(lambda: any(device.name == name for device in self._devices()), 60.0)

    def search(self, document: dict[str, Any]) -> Search:
        """A new search, once it is over."""
        searches = self.server.get(Searches)
        made = searches.create_search(parse_search_spec(document))
        self.until(lambda: searches.get_search(made.id).state.final, 300.0)
        return searches.get_search(made.id)

    def candidates(self, search: Search) -> tuple[Candidate, ...]:
        """Every candidate of a search."""
        query = CandidateQuery(search_id=search.id)
        return self.server.uow.read(lambda tx: CandidateStore(tx).page_of_candidates(query, PageRequest(100))).items

    def until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a condition that other processes bring about."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen: " + "; ".join(a.log[-1500:] for a in self._agents)
            time.sleep(0.1)

    def close(self) -> None:
        """End all of it."""
        for agent in self._agents:
            agent.end()
        self._process.worker.stop()
        self._thread.join(60.0)
        self._rpc.stop(0.0)
        if self._process.rknn is not None:
            self._process.rknn.close()
        for part in (self.server, self._process):
            part.wakeups.close()
            part.engine.dispose()

    def _devices(self) -> tuple[Device, ...]:
        return self.server.get(Devices).page(DeviceQuery(), PageRequest(100)).items
