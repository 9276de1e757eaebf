"""`hilnas agent`: run an agent on a board, or ask what this board can do (doctor) and whether it measures (selftest).

Top-level imports are of the standard library only, so that `hilnas agent --help` works anywhere and a missing extra is
named instead of raising ImportError.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from device_agent.measuring.clocks import Pinned
    from device_agent.measuring.device import MeasuringSettings
    from device_agent.settings import AgentSettings

_DEFAULT_SERVER = "localhost:50051"
_COMMANDS = ("run", "doctor", "selftest")


def main(arguments: Sequence[str] | None = None, *, program: str = "hilnas agent") -> int:
    """Parse `arguments` (the process's own by default) and run; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser(program)
    parser.check_options(given)
    parsed = parser.parse_args(given)
    logging.basicConfig(
        level=getattr(logging, parsed.log_level.upper()), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    missing = [module for module in ("grpc", "numpy", "google.protobuf") if not _is_installed(module)]
    if missing:
        sys.stderr.write(f"hilnas agent needs {', '.join(missing)}: pip install 'hilnas[agent]'\n")
        return 2
    from device_agent.failures import AgentError, EnrolmentError

    try:
        match parsed.command:
            case "doctor":
                from device_agent.doctor.doctor import doctor

                return doctor(_measuring_settings(parsed), sys.stdout, as_json=parsed.json)
            case "selftest":
                from device_agent.doctor.selftest import selftest

                return selftest(_measuring_settings(parsed), parsed.golden, sys.stdout, as_json=parsed.json)
            case _:
                return _run(parsed)
    except AgentError as error:
        sys.stderr.write(f"hilnas agent: {error}\n")
        return 2 if isinstance(error, EnrolmentError) else 1


class CommandLine(argparse.ArgumentParser):
    """A parser that answers mistakes in one line, with what may have been meant."""

    def check_options(self, given: Sequence[str]) -> None:
        """End with a usage error where an option is not known, before the word behind it is taken for a command."""
        known = [name for action in self._actions for name in action.option_strings]
        for word in given:
            name = word.partition("=")[0]
            if name.startswith("--") and name != "--" and not any(one.startswith(name) for one in known):
                self.error(f"there is no option {name}{_did_you_mean(name, known)}")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where what is right stands, and exit with 2."""
        self.exit(2, f"{self.prog}: {message}\nTry '{self.prog} --help' for help.\n")


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    from nas_engine.domain.text import did_you_mean

    return did_you_mean(word, known)


def _command(word: str) -> str:
    """One of the commands.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if word not in _COMMANDS:
        raise argparse.ArgumentTypeError(
            f"there is no {word!r}: use run, doctor or selftest{_did_you_mean(word, _COMMANDS)}"
        )
    return word


def build_parser(program: str = "hilnas agent") -> CommandLine:
    """The command line. Environment variables give defaults; secrets should come from there."""
    parser = CommandLine(prog=program, description="Measure models on this device for a hilnas server.")
    parser.add_argument("command", nargs="?", type=_command, choices=_COMMANDS, default="run")
    parser.add_argument("--json", action="store_true", help="doctor and selftest answer as JSON")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    _add_server_options(parser)
    _add_device_options(parser)
    _add_runtime_options(parser)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("server")
    server.add_argument("--server", default=os.environ.get("HILNAS_GRPC_SERVER", _DEFAULT_SERVER), metavar="HOST:PORT")
    server.add_argument(
        "--enrolment-token",
        "--token",
        default=os.environ.get("HILNAS_ENROLMENT_TOKEN", ""),
        help="one-time token (default: HILNAS_ENROLMENT_TOKEN)",
    )
    server.add_argument(
        "--enrolment-token-file",
        type=Path,
        default=os.environ.get("HILNAS_ENROLMENT_TOKEN_FILE"),
        metavar="FILE",
        help="file with the token (default: HILNAS_ENROLMENT_TOKEN_FILE)",
    )
    server.add_argument(
        "--device-id",
        default=os.environ.get("HILNAS_DEVICE_ID", ""),
        metavar="dev_...",
        help="the enrolled device that this is, where its state directory was lost (default: HILNAS_DEVICE_ID)",
    )
    server.add_argument("--insecure", action="store_true", help="no TLS: for loopback and private networks only")
    server.add_argument(
        "--proxy",
        default="",
        metavar="URL",
        help="HTTP proxy on the way, http://HOST:PORT; none goes without (default: HILNAS_PROXY, else auto: as "
        "grpc_proxy, https_proxy, http_proxy and no_proxy say, and never to a server on this machine)",
    )
    server.add_argument("--ca", type=Path, help="certificate authority of the server")
    server.add_argument("--cert", type=Path, help="client certificate, where the server asks for one")
    server.add_argument("--key", type=Path, help="its private key")


def _add_device_options(parser: argparse.ArgumentParser) -> None:
    device = parser.add_argument_group("device")
    device.add_argument("--name", default=socket.gethostname(), help="unique name of this device")
    device.add_argument("--device-type", default="", help="what searches select by (default: the runtime's name)")
    device.add_argument("--labels", nargs="*", default=[], metavar="KEY=VALUE")
    device.add_argument("--board-model", default="", help="overrides what the board says of itself")
    device.add_argument("--ambient", default=None, help="surroundings, for the record, e.g. 'rack 3, 24 C'")
    device.add_argument("--state-dir", type=Path, help="default: $XDG_STATE_HOME/hilnas-agent/NAME")
    device.add_argument("--cache-bytes", type=int, default=2 * 2**30)
    device.add_argument("--max-model-bytes", type=int, default=512 * 2**20)
    device.add_argument("--poll-s", type=float, default=30.0, help="longest poll, seconds")


def _add_runtime_options(parser: argparse.ArgumentParser) -> None:
    runtime = parser.add_argument_group("runtime")
    runtime.add_argument(
        "--runtime",
        default="onnxruntime",
        metavar="NAME",
        help="onnxruntime, rknnlite, rk3588-sim, fake, or one that an installed package brings",
    )
    runtime.add_argument(
        "--runtime-settings", default="{}", metavar="JSON", help="settings of a runtime that a package brings"
    )
    runtime.add_argument("--threads", type=int, default=1, help="processor threads of the runtime")
    runtime.add_argument("--cpus", default="", help="processors to pin measuring to, e.g. 4-7 or 0,2")
    runtime.add_argument("--core-masks", nargs="*", default=["0x1"], help="NPU core masks to offer, default first")
    runtime.add_argument("--golden", type=Path, help="golden model, for the core probe (rknnlite) and the selftest")
    runtime.add_argument("--pin-clocks", action="store_true", help="set clocks to their highest step; needs root")
    runtime.add_argument(
        "--model-memory", type=int, default=0, metavar="BYTES", help="most a model may take; 0: no limit"
    )
    runtime.add_argument("--host-lock", type=Path, help="timing lock shared by everything on this host")
    runtime.add_argument(
        "--isolation", choices=("process", "none"), default="process", help="none: simulated runtimes only"
    )
    runtime.add_argument("--fake-slowdown", type=float, default=1.0, help=argparse.SUPPRESS)
    runtime.add_argument("--fake-real-time", action="store_true", help=argparse.SUPPRESS)


def parse_cpus(text: str) -> tuple[int, ...]:
    """Processors from "4-7" or "0,2".

    Raises:
        ValueError: not a list of numbers and ranges.
    """
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cpus))


def parse_labels(pairs: Sequence[str]) -> dict[str, str]:
    """Labels from KEY=VALUE.

    Raises:
        ValueError: a label without a key or an equals sign.
    """
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ValueError(f"label {pair!r}: write KEY=VALUE")
        labels[key] = value
    return labels


def _is_installed(module: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _run(parsed: argparse.Namespace) -> int:
    from device_agent.agent import Agent
    from device_agent.measuring.clocks import ClockPinner

    settings = _settings(parsed)
    pinner = ClockPinner()
    try:
        if parsed.pin_clocks:
            settings = replace(settings, measuring=_pinned(settings.measuring, pinner.pin()), can_pin_clocks=True)
        elif parsed.runtime == "rknnlite":
            settings = replace(settings, measuring=_pinned(settings.measuring, pinner.standing()))
        if parsed.golden is not None and parsed.runtime == "rknnlite":
            settings = replace(settings, measuring=_probed(settings.measuring, parsed.golden))
        agent = Agent(settings)
        agent.handle_signals()
        return int(agent.run())
    finally:
        pinner.restore()


def _pinned(measuring: MeasuringSettings, pinned: Pinned) -> MeasuringSettings:
    """The settings with the clocks that are pinned; for any that is not the hardware key says "unpinned"."""
    for complaint in pinned.complaints:
        logging.getLogger(__name__).warning("clock not pinned: %s", complaint)
    return replace(measuring, requested_khz=pinned.requested_khz, clocks_profile=pinned.profile)


def _probed(measuring: MeasuringSettings, golden: Path) -> MeasuringSettings:
    """The settings with the cores that work and the versions found on them."""
    from device_agent.child.probe import probe
    from device_agent.child.process import ChildMeasurer

    measurer = ChildMeasurer(measuring)
    try:
        probed = probe(measurer, golden, "rknn", measuring.options.core_masks)
    finally:
        measurer.close()
    return replace(
        measuring, options=replace(measuring.options, core_masks=probed.core_masks, versions=probed.versions)
    )


def _settings(parsed: argparse.Namespace) -> AgentSettings:
    from device_agent.failures import AgentError
    from device_agent.server_link.proxy import proxy_to
    from device_agent.server_link.tls import LinkSettings
    from device_agent.settings import AgentSettings

    try:
        labels = parse_labels(parsed.labels)
    except ValueError as error:
        raise AgentError(str(error)) from error
    state_home = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
    return AgentSettings(
        link=LinkSettings(
            server=parsed.server,
            insecure=parsed.insecure,
            ca_path=parsed.ca,
            certificate_path=parsed.cert,
            key_path=parsed.key,
            proxy=proxy_to(parsed.server, parsed.proxy, os.environ),
        ),
        name=parsed.name,
        device_type=parsed.device_type or parsed.runtime,
        labels=labels,
        # Absolute: the measuring child works in a folder of its own.
        state_dir=(parsed.state_dir or state_home / "hilnas-agent" / parsed.name).absolute(),
        enrolment_token=parsed.enrolment_token.strip() or _token_in(parsed.enrolment_token_file),
        device_id=parsed.device_id,
        measuring=_measuring_settings(parsed),
        isolate=parsed.isolation == "process",
        cache_bytes=parsed.cache_bytes,
        max_model_bytes=parsed.max_model_bytes,
        wait_s=parsed.poll_s,
    )


def _token_in(path: Path | None) -> str:
    from device_agent.failures import EnrolmentError

    # A board that has enrolled needs no token any more: a file that is gone is no error.
    try:
        return "" if path is None or not path.exists() else path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EnrolmentError(f"enrolment token file {path} cannot be read: {error}") from error


def _measuring_settings(parsed: argparse.Namespace) -> MeasuringSettings:
    from device_agent.failures import AgentError
    from device_agent.measuring.device import MeasuringSettings
    from device_agent.runtime.select import RuntimeOptions, check_runtime
    from nas_engine.domain.host.host_lock import default_lock_path

    try:
        cpus = parse_cpus(parsed.cpus)
    except ValueError as error:
        raise AgentError(f"--cpus {parsed.cpus!r}: write processors like 4-7 or 0,2") from error
    if parsed.threads < 1:
        raise AgentError(f"--threads {parsed.threads}: give at least 1")
    try:
        runtime_settings = json.loads(parsed.runtime_settings)
    except ValueError as error:
        raise AgentError(f"--runtime-settings {parsed.runtime_settings!r} is no JSON: {error}") from error
    if not isinstance(runtime_settings, dict):
        raise AgentError(f"--runtime-settings {parsed.runtime_settings!r}: write a JSON object")
    return MeasuringSettings(
        runtime=check_runtime(parsed.runtime, runtime_settings),
        runtime_settings=runtime_settings,
        options=RuntimeOptions(
            cpus=cpus,
            core_masks=tuple(parsed.core_masks),
            slowdown=parsed.fake_slowdown,
            real_time=parsed.fake_real_time,
        ),
        num_threads=parsed.threads,
        board_model=parsed.board_model,
        ambient_label=parsed.ambient,
        lock_path=(parsed.host_lock or default_lock_path()).absolute(),
        model_memory_bytes=parsed.model_memory,
    )


if __name__ == "__main__":
    raise SystemExit(main())
