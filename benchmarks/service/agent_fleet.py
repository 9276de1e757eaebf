"""Many fake agents in one process, for `soak.py` beside it: each is a whole agent with its own channel and threads."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from pathlib import Path

from device_agent.agent import Agent
from device_agent.measuring.device import MeasuringSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.server_link.tls import LinkSettings
from device_agent.settings import AgentSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--folder", type=Path, required=True, help="state directories go here")
    parser.add_argument("--first", type=int, required=True, help="number of the first agent")
    parser.add_argument("--agents", type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    agents = [Agent(_settings(arguments, arguments.first + n)) for n in range(arguments.agents)]
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


def _settings(arguments: argparse.Namespace, number: int) -> AgentSettings:
    return AgentSettings(
        link=LinkSettings(server=arguments.server, insecure=True),
        name=f"soak-{number:03d}",
        device_type="soak",
        state_dir=arguments.folder / f"agent-{number:03d}",
        enrolment_token=os.environ["HILNAS_ENROLMENT_TOKEN"],
        measuring=MeasuringSettings(
            runtime=RuntimeName.FAKE, options=RuntimeOptions(), lock_path=arguments.folder / "timing.lock"
        ),
        isolate=False,
    )


if __name__ == "__main__":
    main()
