"""A database of many measurements of architectures on boards of several types, each under two runtime versions.

The rows are made by the database itself, from the architectures and the boards, so that a million take a minute or so;
`benchmarks/service/latency_query.py` and the tests of query plans ask of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, Dtype, HardwareKey
from nas_engine.domain.search_space import SearchSpace
from server.core.database.transaction import UnitOfWork
from server.core.database.types import Json
from server.fleet.device import DeviceCapabilities, Enrolment, HardwareProfile
from server.fleet.devices import Devices
from server.fleet.store import HardwareStore
from server.jobs.settings import LeaseSettings
from server.spaces.architecture import ArchitectureRecord
from server.spaces.store import ARCHITECTURES, architectures
from tests.support.worlds.enrolment_tokens import token_for

NUM_TYPES, VERSIONS = 10, ("1.19.2", "1.20.0")
CHUNK = 10_000
_STATS = {
    **dict.fromkeys(("min_us", "p10_us", "p50_us", "mean_us", "trimmed_mean_us", "p90_us", "p99_us", "max_us"), 4321.5),
    **dict.fromkeys(("stdev_us", "cv", "mad_scaled_us", "ci95_low_us", "ci95_high_us"), 12.25),
    "count": 1000,
    "num_blocks": 20,
    "num_outliers_mild": 3,
    "num_outliers_severe": 1,
}
_ENVIRONMENT = {"agent_version": "0.16", "clocks": [{"name": f"cpu-policy{n}", "khz": 1_800_000} for n in range(8)]}

_INSERT = """
INSERT INTO measurements (
    id, kind, latency_key, hardware_key, device_class, device_type, device_id, arch_id, label, profile,
    p50_us, min_us, p90_us, ci95_low_us, ci95_high_us, stats, load_us, init_us, first_run_us, validity, flags,
    superseded, suspect, rejection, environment, created_at
)
SELECT 'meas_01n00000000000000' || substr(CAST(1000000000 + a.num * :repeats + :turn AS TEXT), 2),
    'measured', a.latency_key, h.hardware_key, 'board', h.device_type, h.device_id, a.arch_id, '', 'standard',
    500 + (a.num * 7919 + h.num * 31) % 9000, 490, 600, 495, 505, :stats, 1, 2, 3, 'valid', :nothing,
    :no, :no, '', :environment, 1700000000000000 + a.num
FROM many_architectures a JOIN many_hardware h ON h.num = (a.num * 7 + :turn * 3 + (a.num / 20) * :turn) % :num_hardware
WHERE a.num >= :first AND a.num < :last
"""


@dataclass(frozen=True, slots=True)
class Many:
    """What was made.

    Attributes:
        device_types: every one.
        genotypes: of the measured architectures.
        arch_ids: the same.
        hardware_keys: every one, by the number of its type and then version.
    """

    device_types: tuple[str, ...]
    genotypes: Sequence[Genotype]
    arch_ids: Sequence[str]
    hardware_keys: Sequence[str]


def add_measurements(
    engine: sa.Engine, uow: UnitOfWork, space: SearchSpace, *, num_architectures: int, repeats: int = 10
) -> Many:
    """Add `repeats` measurements of each architecture, on changing types and versions."""
    types = tuple(f"board-{number:02d}" for number in range(NUM_TYPES))
    boards = [_board(uow, types[number // 2], VERSIONS[number % 2]) for number in range(2 * NUM_TYPES)]
    rng = np.random.default_rng(3)
    choices = [gene.num_choices for gene in space.genes]
    records: dict[str, ArchitectureRecord] = {}
    while len(records) < num_architectures:
        for row in rng.integers(choices, size=(num_architectures - len(records), len(choices))).tolist():
            architecture = space.decode(tuple(row))
            record = ArchitectureRecord(architecture=architecture, genotype=space.genotype_of(architecture))
            records[record.arch_id] = record
    with engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
        connection.execute(
            sa.text("CREATE TEMP TABLE many_architectures (num INTEGER PRIMARY KEY, arch_id TEXT, latency_key TEXT)")
        )
        connection.execute(
            sa.text(
                "CREATE TEMP TABLE many_hardware "
                "(num INTEGER PRIMARY KEY, hardware_key TEXT, device_type TEXT, device_id TEXT)"
            )
        )
        connection.execute(
            sa.text("INSERT INTO many_hardware VALUES (:num, :hardware_key, :device_type, :device_id)"), boards
        )
        every = list(records.values())
        for first in range(0, len(every), CHUNK):
            some = every[first : first + CHUNK]
            connection.execute(sa.insert(architectures), [ARCHITECTURES.row_of(record) for record in some])
            rows = [
                {"num": first + place, "arch_id": one.arch_id, "latency_key": one.arch_id[::-1]}
                for place, one in enumerate(some)
            ]
            connection.execute(sa.text("INSERT INTO many_architectures VALUES (:num, :arch_id, :latency_key)"), rows)
        statement = sa.text(_INSERT).bindparams(
            sa.bindparam("stats", type_=Json),
            sa.bindparam("environment", type_=Json),
            sa.bindparam("nothing", type_=Json),
            sa.bindparam("no", type_=sa.Boolean),
        )
        given = {"stats": _STATS, "environment": _ENVIRONMENT, "nothing": [], "no": False}
        for first in range(0, len(every), CHUNK):
            for turn in range(repeats):
                some_of = {"turn": turn, "repeats": repeats, "first": first, "last": first + CHUNK}
                connection.execute(statement, {**given, **some_of, "num_hardware": 2 * NUM_TYPES})
        connection.execute(sa.text("DROP TABLE many_architectures"))
        connection.execute(sa.text("DROP TABLE many_hardware"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    return Many(
        types,
        [one.genotype or () for one in every],
        [one.arch_id for one in every],
        [str(one["hardware_key"]) for one in sorted(boards, key=lambda one: int(str(one["num"])))],
    )


def _board(uow: UnitOfWork, device_type: str, version: str) -> dict[str, str | int]:
    identity = DeviceIdentity(
        board_model=f"Board {device_type}",
        device_class=DeviceClass.BOARD,
        runtime="onnxruntime",
        runtime_versions=(("onnxruntime", version),),
        clocks_profile="pinned-max",
        core_mask="any",
    )
    enrolment = Enrolment(
        name=f"{device_type}-{version}", device_type=device_type, capabilities=DeviceCapabilities(identity=identity)
    )
    token = token_for(uow, DeviceClass.BOARD, device_type)
    device, _ = Devices(uow, LeaseSettings()).enrol(token, enrolment)
    profile = HardwareProfile(key=HardwareKey(identity=identity, dtype=Dtype.FP32))
    uow.write(lambda tx: HardwareStore(tx).put_hardware(profile))
    number = 2 * int(device_type[-2:]) + VERSIONS.index(version)
    return {"num": number, "hardware_key": profile.hardware_key, "device_type": device_type, "device_id": device.id}
