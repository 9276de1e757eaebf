"""The first release as it is kept in `tests/fixtures/first_release`, and today's processes that have to take it up.

Nothing here imports the product: processes are started by the command that `pyproject.toml` installs, REST is spoken
with the standard library, and messages of the wire are read with the first release's own descriptors.
"""

from __future__ import annotations

import gzip
import http.client
import json
import lzma
import os
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from tests.support.paths import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "first_release"
PATIENCE_S = 180.0  # of one wait; a crowded machine takes its time to start Python with torch
LOOK_S = 0.05
GONE_S = 20.0
VERSION_TABLE = "hilnas_schema_version"
DATASETS = ("stripes", "bands")
# How the first release's agents were started, their names and addresses aside.
FAKE = ("--runtime", "fake", "--isolation", "none")
BENCH_1 = (*FAKE, "--device-type", "fake-board", "--board-model", "Test board", "--labels", "rack=3", "site=lab")
UNSENT_1 = (*FAKE, "--device-type", "unsent-measured", "--board-model", "Test board 1")


def document(name: str) -> Any:
    """One of the fixtures that are JSON, packed or not."""
    path = FIXTURES / name
    content = path.read_bytes()
    match path.suffix:
        case ".gz":
            content = gzip.decompress(content)
        case ".xz":
            content = lzma.decompress(content)
    return json.loads(content)


def unpack(folder: Path) -> None:
    """Lay out the installation: ``home`` of the server and worker, ``agents`` with the boards' state directories."""
    with tarfile.open(FIXTURES / "installation.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    entries = {
        name: {"kind": "npz", "path": str(folder / "datasets" / f"{name}.npz"), "num_classes": num_classes}
        for name, num_classes in zip(DATASETS, (3, 2), strict=True)
    }
    (folder / "datasets.json").write_text(json.dumps(entries))


# ---- processes


def command(*arguments: str) -> list[str]:
    """The installed ``hilnas`` command of this checkout."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["hilnas"].partition(":")
    return [sys.executable, "-c", f"import sys, {module} as m; sys.exit(m.{function}())", *arguments]


class Process:
    """One of today's processes with its own log."""

    def __init__(self, name: str, folder: Path, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HILNAS_")}
        surroundings = {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command(*arguments), cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def log_tail(self) -> str:
        return f"== {self.name}\n" + self._log.read_text(errors="replace")[-4000:]

    def terminate(self) -> int:
        """Ask it to end; its exit status."""
        self._process.terminate()
        return self._process.wait(60.0)

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        if self.alive:
            self._process.kill()
        self._process.wait(GONE_S)


@dataclass
class Installation:
    """The first release's installation with today's server on it, and whatever else a test starts."""

    folder: Path
    database_url: str
    http_port: int = field(default_factory=lambda: free_port())
    grpc_port: int = field(default_factory=lambda: free_port())
    processes: list[Process] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def token(self) -> str:
        """Of the first release's admin."""
        return (self.home / "admin.token").read_text().strip()

    def start_server(self) -> None:
        """Start it, which upgrades the database, and wait until it is ready."""
        server = self._start("server", ["server"], {})
        self.until(lambda: self._answers(server), "the server is ready")

    def start_worker(self) -> None:
        """Start a worker."""
        self._start("worker", ["worker"], {"HILNAS_WORKER_DEVICE": "cpu", "HILNAS_WORKER_THREADS": "1"})

    def start_agent(self, name: str, *arguments: str) -> Process:
        """Start an agent on the state directory that the first release's agent of this name left behind."""
        state = self.folder / "agents" / name
        enrolment = state / "enrolment.json"
        known = json.loads(enrolment.read_text())
        enrolment.write_text(json.dumps({**known, "server": f"127.0.0.1:{self.grpc_port}"}))
        options = ["agent", "--insecure", "--server", f"127.0.0.1:{self.grpc_port}", "--name", name]
        options += ["--state-dir", str(state), "--host-lock", str(self.folder / "timing.lock"), "--poll-s", "1"]
        return self._start(name, [*options, *arguments], {})

    def until(self, condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is so; fails with everybody's last words at the deadline, or when a process dies."""
        deadline = time.monotonic() + patience_s
        while not condition():
            dead = [process.name for process in self.processes if not process.alive]
            words = "\n".join(process.log_tail() for process in self.processes)
            assert not dead, f"{', '.join(dead)} died while waiting until {what}\n{words}"
            assert time.monotonic() < deadline, f"not within {patience_s} s: {what}\n{words}"
            time.sleep(LOOK_S)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request as the first release's admin; moved resources are followed as its client would."""
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        for _ in range(5):
            connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60.0)
            try:
                connection.request(method, path, body=body, headers=sent)
                response = connection.getresponse()
                answer = Answer(response.status, dict(response.getheaders()), response.read())
            finally:
                connection.close()
            if answer.status not in (307, 308):
                return answer
            path = answer.header("location").removeprefix(f"http://127.0.0.1:{self.http_port}")
        raise AssertionError(f"{method} {path} is redirected for ever")

    def get(self, path: str) -> Any:
        """A JSON document that must be there."""
        answer = self.request("GET", path)
        assert answer.status == 200, (path, answer.status, answer.body[:2000])
        return answer.json()

    def items(self, path: str) -> list[Any]:
        """Every item of a listing."""
        found: list[Any] = []
        separator, token = "&" if "?" in path else "?", ""
        while True:
            page = self.get(f"{path}{separator}page_size=200{token}")
            found += page["items"]
            if page.get("next_page_token") is None:
                return found
            token = f"&page_token={page['next_page_token']}"

    def post(self, path: str, document: Any = None) -> Any:
        """The JSON answer to a POST that must succeed."""
        body = None if document is None else json.dumps(document).encode()
        answer = self.request("POST", path, body, {"Content-Type": "application/json"} if body else {})
        assert answer.status < 300, (path, answer.status, answer.body[:2000])
        return answer.json()

    def end(self) -> None:
        """Leave nothing running."""
        for process in self.processes:
            process.end()

    def _start(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Process:
        settings = {
            "HILNAS_HOME": str(self.home),
            "HILNAS_DATABASE_URL": self.database_url,
            "HILNAS_HTTP_PORT": str(self.http_port),
            "HILNAS_GRPC_PORT": str(self.grpc_port),
            "HILNAS_DATASETS_FILE": str(self.folder / "datasets.json"),
        }
        process = Process(name, self.folder, arguments, {**settings, **environment})
        self.processes.append(process)
        return process

    def _answers(self, server: Process) -> bool:
        if not server.alive:
            return False
        try:
            return self.request("GET", "/readyz").status == 200
        except OSError:
            return False


@contextmanager
def opened(folder: Path, database_url: str | None = None) -> Iterator[Installation]:
    """The unpacked installation, over its own SQLite file or another database; nothing runs yet."""
    installation = Installation(folder, database_url or f"sqlite:///{folder / 'home' / 'hilnas.sqlite3'}")
    try:
        yield installation
    finally:
        installation.end()


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """A header by its name in small letters; empty where it is missing."""
        return next((value for key, value in self.headers.items() if key.lower() == name), "")

    def json(self) -> Any:
        return json.loads(self.body)


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# ---- databases


def rows_of(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, as values that are equal on every database; in the order of the primary key."""
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: [
                {column.name: _plain(column, value) for column, value in zip(table.columns, row, strict=True)}
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in metadata.sorted_tables
            if table.name != VERSION_TABLE
        }


def _plain(column: sa.Column[Any], value: Any) -> Any:
    if isinstance(value, memoryview):
        value = bytes(value)
    if isinstance(column.type, sa.JSON) and isinstance(value, str):
        return json.loads(value)
    if isinstance(column.type, sa.Boolean) and value is not None:
        return bool(value)
    return value


def keep_leases(database_url: str) -> None:
    """Let the leases that were held go on for an hour: as if the upgrade had taken no time."""
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        expires_us = round((time.time() + 3600.0) * 1e6)
        statement = sa.text("UPDATE jobs SET lease_expires_at = :expires WHERE state = 'leased'")
        connection.execute(statement, {"expires": expires_us})
    engine.dispose()


def copy_rows(source: sa.Engine, target: sa.Engine) -> None:
    """Put the rows of one database into the empty tables of another with the same schema."""
    metadata = sa.MetaData()
    metadata.reflect(target)
    found = rows_of(source)
    with target.begin() as connection:
        for table in metadata.sorted_tables:
            if rows := found.get(table.name):
                connection.execute(sa.insert(table), rows)
        if target.dialect.name == "postgresql":
            connection.execute(
                sa.text("SELECT setval(pg_get_serial_sequence('events', 'id'), (SELECT max(id) FROM events))")
            )


def create_first_schema(engine: sa.Engine) -> None:
    """The PostgreSQL schema as the first release's migrations made it."""
    with engine.begin() as connection:
        connection.exec_driver_sql((FIXTURES / "schema.postgresql.sql").read_text())


# ---- the wire


@cache
def _messages() -> Mapping[str, Any]:
    """The first release's message classes by full name."""
    files = descriptor_pb2.FileDescriptorSet.FromString((FIXTURES / "wire.descriptors").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    found: dict[str, Any] = {}
    for file in files.file:
        pool.Add(file)
        for message in file.message_type:
            name = f"{file.package}.{message.name}"
            found[name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return found


def message(name: str, data: bytes = b"") -> Any:
    """A message of package ``hilnas.v1`` as the first release reads it."""
    return _messages()[f"hilnas.v1.{name}"].FromString(data)


def as_json(value: Any) -> Any:
    """A message as JSON, its fields named as in the .proto files."""
    return json_format.MessageToDict(value, preserving_proto_field_name=True)


def call(port: int, method: str, request: bytes, metadata: list[tuple[str, str]]) -> tuple[str, list[bytes]]:
    """Send recorded bytes; the code that came back, and the answers' bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            if method.endswith("/Fetch"):
                stream = channel.unary_stream(method, request_serializer=None, response_deserializer=None)
                return "OK", list(stream(request, metadata=metadata, timeout=60.0))
            unary = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
            return "OK", [unary(request, metadata=metadata, timeout=60.0)]
        except grpc.RpcError as error:
            return error.code().name, []  # type: ignore[attr-defined]
