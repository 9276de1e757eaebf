"""Converter processes may crash, hang and talk nonsense: every way is a typed error, and the next job works."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nas_engine.domain.errors import ConversionError, ConversionFailure
from nas_engine.domain.measuring.cycle_table import simulate_latency
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.rknn.cache import ConversionCache
from nas_engine.export.rknn.converter import RknnConverter
from nas_engine.export.rknn.process import PoolSettings
from nas_engine.export.rknn.settings import CalibrationBatch, RknnSettings
from tests.support.fakes import converter as fake_converter

FP16 = RknnSettings(dtype=Dtype.FP16)
MakeConverter = Callable[..., RknnConverter]


def _command(*options: str) -> tuple[str, ...]:
    return (sys.executable, "-I", str(Path(fake_converter.__file__)), *options)


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    return tmp_path / "jobs.txt"


@pytest.fixture
def make(tmp_path: Path, counter: Path) -> Iterator[MakeConverter]:
    made: list[RknnConverter] = []

    def build(*, cached: bool = False, num_processes: int = 1, **limits: float) -> RknnConverter:
        settings = PoolSettings(
            command=_command(f"--counter={counter}"),
            num_processes=num_processes,
            jobs_per_process=int(limits.get("jobs_per_process", 50)),
            job_timeout_s=limits.get("job_timeout_s", 30.0),
        )
        made.append(RknnConverter(settings, ConversionCache(tmp_path / "cache") if cached else None))
        return made[-1]

    yield build
    for converter in made:
        converter.close()


def _jobs(counter: Path) -> list[tuple[str, str]]:
    """(process id, directory) of every job that a process has started."""
    lines = counter.read_text().splitlines() if counter.exists() else []
    return [(line.split()[0], line.split()[1]) for line in lines]


def test_a_conversion_gives_the_model_its_table_and_its_provenance(make: MakeConverter) -> None:
    converter = make()
    conversion = converter.convert(b"ok", FP16, arch_id="a" * 64)
    assert converter.toolkit_version == conversion.key.toolkit_version == fake_converter.VERSION
    assert conversion.key.custom_string().encode() in conversion.model
    assert simulate_latency(conversion.table).total_cycles == 250
    assert conversion.table.npu_only


@pytest.mark.parametrize(
    ("behaviour", "failure", "message"),
    [
        ("signal:SIGSEGV", ConversionFailure.CONVERTER_CRASH, "died of SIGSEGV"),
        ("signal:SIGABRT", ConversionFailure.CONVERTER_CRASH, "died of SIGABRT"),
        ("signal:SIGKILL", ConversionFailure.CONVERTER_KILLED, "ended by SIGKILL"),
        ("exit:3", ConversionFailure.CONVERTER_FAULT, "exited with code 3"),
        ("garbage", ConversionFailure.CONVERTER_FAULT, "not JSON"),
        ("oversized", ConversionFailure.CONVERTER_FAULT, "announced a message of"),
        ("wrong-job", ConversionFailure.CONVERTER_FAULT, "answered for job 'another'"),
        ("no-result", ConversionFailure.CONVERTER_FAULT, "result cannot be read"),
        ("no-table", ConversionFailure.CONVERTER_FAULT, "no layer table"),
        ("refuse:ValueError: opset 20", ConversionFailure.CONVERT_FAILED, "at build: opset 20"),
        ("refuse:OSError: No space left on device", ConversionFailure.CONVERTER_FAULT, "No space left"),
        ("fault:KeyError: 'x'", ConversionFailure.CONVERTER_FAULT, "at build: 'x'"),
    ],
)
def test_every_failure_is_typed_and_the_next_job_works(
    make: MakeConverter, behaviour: str, failure: ConversionFailure, message: str
) -> None:
    converter = make()
    with pytest.raises(ConversionError, match=message) as caught:
        converter.convert(behaviour.encode(), FP16)
    assert caught.value.failure is failure
    assert converter.convert(b"ok", FP16).table.total_cycles == 250


def test_a_job_that_hangs_is_ended_at_its_timeout(make: MakeConverter) -> None:
    converter = make(job_timeout_s=0.2)
    with pytest.raises(ConversionError, match="took longer than allowed to convert") as caught:
        converter.convert(b"hang", FP16)
    assert caught.value.failure is ConversionFailure.CONVERTER_TIMEOUT


@pytest.mark.parametrize(
    ("option", "failure", "message"),
    [
        ("--start=hang", ConversionFailure.CONVERTER_TIMEOUT, "took longer than allowed to start"),
        ("--start=exit", ConversionFailure.CONVERTER_FAULT, "exited with code 7"),
    ],
)
def test_a_process_that_never_becomes_ready_is_a_typed_error(
    option: str, failure: ConversionFailure, message: str
) -> None:
    converter = RknnConverter(PoolSettings(command=_command(option), start_timeout_s=0.3 if "hang" in option else 30))
    with pytest.raises(ConversionError, match=message) as caught:
        converter.convert(b"ok", FP16)
    assert caught.value.failure is failure


def test_an_environment_without_the_toolkit_is_found_at_once() -> None:
    with pytest.raises(ConversionError, match="make rknn"):
        RknnConverter(PoolSettings(command=("/nonexistent/python",)))


def test_a_process_is_used_again_and_replaced_after_its_number_of_jobs(make: MakeConverter, counter: Path) -> None:
    converter = make(jobs_per_process=2)
    for _ in range(5):
        converter.convert(b"ok", FP16)
    processes = [process for process, _ in _jobs(counter)]
    assert processes[0] == processes[1] != processes[2] == processes[3] != processes[4]
    assert len(set(processes)) == 3


def test_every_job_has_a_folder_of_its_own_that_is_gone_afterwards(make: MakeConverter, counter: Path) -> None:
    converter = make()
    for behaviour in (b"ok", b"signal:SIGSEGV", b"ok"):
        try:
            converter.convert(behaviour, FP16)
        except ConversionError:
            continue
    folders = [folder for _, folder in _jobs(counter)]
    assert len(set(folders)) == 3
    assert all(folder.startswith(tempfile.gettempdir()) for folder in folders)
    assert not any(Path(folder).exists() for folder in folders)


def test_jobs_run_side_by_side_on_as_many_processes_as_allowed(make: MakeConverter, counter: Path) -> None:
    converter = make(num_processes=2)
    with ThreadPoolExecutor(6) as threads:
        tables = list(threads.map(lambda _: converter.convert(b"ok", FP16).table.total_cycles, range(12)))
    assert tables == [250] * 12
    assert 1 <= len({process for process, _ in _jobs(counter)}) <= 2


def test_a_conversion_is_made_once(make: MakeConverter, counter: Path) -> None:
    first = make(cached=True).convert(b"ok", FP16)
    assert make(cached=True).convert(b"ok", FP16) == first
    assert len(_jobs(counter)) == 1


@pytest.mark.parametrize(
    ("behaviour", "tries"),
    [("signal:SIGSEGV", 1), ("refuse:ValueError: no", 1), ("signal:SIGKILL", 2), ("garbage", 2), ("fault:OSError", 2)],
)
def test_only_failures_that_repeat_themselves_are_remembered(
    make: MakeConverter, counter: Path, behaviour: str, tries: int
) -> None:
    converter = make(cached=True)
    failures = []
    for _ in range(2):
        with pytest.raises(ConversionError) as caught:
            converter.convert(behaviour.encode(), FP16)
        failures.append(caught.value.failure)
    assert failures[0] is failures[1]
    assert len(_jobs(counter)) == tries


def test_other_settings_images_and_architectures_are_other_conversions(make: MakeConverter, counter: Path) -> None:
    converter = make(cached=True)
    images = [CalibrationBatch(np.full((1, 3, 8, 8), value, np.uint8)) for value in (0, 1)]
    int8 = RknnSettings(dtype=Dtype.W8A8)
    converter.convert(b"ok", FP16)
    converter.convert(b"ok", FP16, calibration=images[0])  # unused by FP16: the same conversion
    converter.convert(b"ok", FP16, arch_id="b" * 64)
    converter.convert(b"ok", int8, calibration=images[0])
    converter.convert(b"ok", int8, calibration=images[1])
    assert len(_jobs(counter)) == 4
