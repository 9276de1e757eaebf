"""What an agent keeps between starts: who it is, how often it started, and the right to be the only one here."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from device_agent.durable import write_durably
from device_agent.failures import AgentError

_MIN_CREDENTIAL_LENGTH = 43  # 32 random bytes in base 64


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An enrolment: the server it is with, the id it gave, the credential for it."""

    server: str
    agent_id: str
    credential: str


class StateDirectory:
    """The agent's directory. Holding it locks out a second agent with the same identity on this host.

    Raises:
        AgentError: another agent runs with this directory, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AgentError(f"state directory {path} cannot be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise AgentError(f"another agent runs with {path}: give each its own --state-dir") from error

    def next_instance_epoch(self) -> int:
        """One more than the last start's; durable, so that a newer instance always has the higher number."""
        path = self.path / "epoch"
        try:
            epoch = int(path.read_text()) + 1
        except (FileNotFoundError, ValueError):
            epoch = 1
        write_durably(path, str(epoch).encode())
        return epoch

    def enrolled(self, server: str) -> Enrolled | None:
        """Read the enrolment with this server; None without one."""
        enrolment = self.last_enrolled()
        return enrolment if enrolment is not None and enrolment.server == server else None

    def last_enrolled(self) -> Enrolled | None:
        """Read the last enrolment, with whatever server; None without one."""
        try:
            return Enrolled(**json.loads((self.path / "enrolment.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def wanted_credential(self) -> str:
        """The credential to enrol with: made once and kept until an enrolment is, so that an enrolment whose answer was
        late or lost is repeated with the same one, also after a crash."""
        path = self.path / "wanted_credential"
        try:
            credential = path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, ValueError):
            credential = ""
        if len(credential) < _MIN_CREDENTIAL_LENGTH:
            credential = f"nas_dev_{secrets.token_urlsafe(32)}"
            write_durably(path, credential.encode("ascii"), mode=0o600)
        return credential

    def remember(self, enrolled: Enrolled) -> None:
        """Store an enrolment, readable by this user only."""
        write_durably(self.path / "enrolment.json", json.dumps(asdict(enrolled)).encode(), mode=0o600)
        (self.path / "wanted_credential").unlink(missing_ok=True)

    def close(self) -> None:
        """Release the directory, so that another agent may use it."""
        os.close(self._lock)
