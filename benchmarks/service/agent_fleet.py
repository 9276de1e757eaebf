"""Many fake agents in one process, for `soak.py` and `dispatch.py`: each a whole agent with its channel and threads."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from pathlib import Path

import timed_board

from device_agent.agent import Agent
from device_agent.measuring.device import MeasuringSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.server_link.tls import LinkSettings
from device_agent.settings import AgentSettings
from nas_engine.domain.measuring.environment import PINNED_CLOCKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--folder", type=Path, required=True, help="state directories go here")
    parser.add_argument("--first", type=int, required=True, help="number of the first agent")
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--service-ms", type=float, help="be boards that take so long for a job (timed_board.py)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    numbers = range(arguments.first, arguments.first + arguments.agents)
    if arguments.service_ms is None:
        agents = [Agent(_settings(arguments, n, RuntimeName.FAKE)) for n in numbers]
    else:
        log = timed_board.StayLog(arguments.folder / f"stays-{arguments.first:03d}.jsonl")
        service_s = arguments.service_ms / 1e3
        agents = []
        for number in numbers:
            settings = _settings(arguments, number, timed_board.NAME)
            measurer = timed_board.TimedMeasurer(settings.name, settings.measuring, service_s, log)
            agents.append(Agent(settings, measurer))
    threads = [threading.Thread(target=agent.run, name=f"agent-{n}") for n, agent in enumerate(agents)]

    def stop(*_: object) -> None:
        for agent in agents:
            agent.stop()

    signal.signal(signal.SIGTERM, stop)
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # joins that can be interrupted by the signal
            thread.join(0.5)


def _settings(arguments: argparse.Namespace, number: int, runtime: str) -> AgentSettings:
    return AgentSettings(
        link=LinkSettings(server=arguments.server, insecure=True),
        name=f"soak-{number:03d}",
        device_type="soak",
        state_dir=arguments.folder / f"agent-{number:03d}",
        enrolment_token=os.environ["HILNAS_ENROLMENT_TOKEN"],
        measuring=MeasuringSettings(
            runtime=runtime,
            options=RuntimeOptions(),
            clocks_profile="unpinned" if runtime == RuntimeName.FAKE else PINNED_CLOCKS,
            lock_path=arguments.folder / "timing.lock",
        ),
        isolate=False,
    )


if __name__ == "__main__":
    main()
