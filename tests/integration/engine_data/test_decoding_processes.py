"""Decoding in processes of their own: the threads' pixels, in order, whichever dies; none outlives its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation
from nas_engine.settings.training import AugmentationName
from nas_engine.training.data.augmentation import AUGMENTATIONS
from nas_engine.training.data.decoding import processes
from nas_engine.training.data.decoding.decoders import Decoded, Decoders, Picture, ThreadDecoders
from nas_engine.training.data.decoding.picture import Decoding
from nas_engine.training.data.decoding.pixel_cache import stacked
from nas_engine.training.data.decoding.processes import ProcessDecoders
from nas_engine.training.data.folder import load_folder
from nas_engine.training.data.stream import TrainingStream
from nas_engine.training.randomness import Randomness

DECODING = Decoding(image_size=24, channels=3, centre_crop=0.875, interpolation=Interpolation.BILINEAR)


@pytest.fixture(scope="module")
def decoders() -> Iterator[ProcessDecoders]:
    found = ProcessDecoders(2)
    yield found
    found.close()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(40):
        path = tmp_path / f"{number:02} \u00fc.jpg"
        Image.fromarray(rng.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)).save(path)
        found.append(Picture(path, number if number % 3 else None))
    return found


def children_of(process_id: int) -> list[int]:
    """Processes that a process started, and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == process_id and state != "Z":
                found.append(int(stat.parent.name))
    return found


def is_running(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_equal(found: list[Decoded], expected: list[Decoded]) -> None:
    assert [(one.sha256, one.error) for one in found] == [(one.sha256, one.error) for one in expected]
    for one, other in zip(found, expected, strict=True):
        if other.pixels is None:
            assert one.pixels is None
        else:
            assert one.pixels is not None
            np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("hashed", [False, True])
def test_processes_give_the_pixels_of_threads_in_their_order(
    decoders: ProcessDecoders, pictures: list[Picture], hashed: bool
) -> None:
    broken = pictures[5].path
    broken.write_bytes(b"no picture")
    for decoding in (DECODING, Decoding(image_size=9, channels=1)):
        expected = list(ThreadDecoders().decode(pictures, decoding, hashed=hashed))
        assert "no image format that is known" in expected[5].error
        assert all(bool(one.sha256) is (hashed and not one.error) for one in expected)
        for _ in range(2):
            assert_equal(list(decoders.decode(pictures, decoding, hashed=hashed)), expected)
    assert decoders.decode([], DECODING) == []
    missing = Picture(broken.parent / "missing.jpg")
    with pytest.raises(DatasetError, match=r"missing\.jpg cannot be decoded .*hilnas datasets check"):
        stacked(decoders.decode([*pictures[:3], missing], DECODING))


def test_several_threads_ask_at_once(decoders: ProcessDecoders, pictures: list[Picture]) -> None:
    turns = [pictures[n:] + pictures[:n] for n in range(8)]
    expected = [list(ThreadDecoders().decode(turn, DECODING)) for turn in turns]
    with ThreadPoolExecutor(8) as threads:
        for found, wanted in zip(
            threads.map(lambda turn: decoders.decode(turn, DECODING), turns), expected, strict=True
        ):
            assert_equal(list(found), wanted)


def test_a_process_that_is_killed_is_replaced_and_nothing_is_lost(pictures: list[Picture]) -> None:
    decoders = ProcessDecoders(2)
    try:
        expected = list(ThreadDecoders().decode(pictures, DECODING))
        over = threading.Event()

        def kill() -> None:
            while not over.wait(0.15):
                for process_id in children_of(os.getpid())[:1]:
                    if b"decoding.child" in Path(f"/proc/{process_id}/cmdline").read_bytes():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(process_id, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        for process in children_of(os.getpid()):  # before anything was asked of them
            if b"decoding.child" in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGKILL)
        assert_equal(list(decoders.decode(pictures, DECODING)), expected)
        killer.start()
        try:
            for _ in range(6):
                found = list(decoders.decode(pictures, DECODING))
                # A picture is given up only where processes die over it alone.
                assert [one for one in found if one.error and "was ended by SIGKILL" not in one.error] == []
        finally:
            over.set()
            killer.join()
        assert_equal(list(decoders.decode(pictures, DECODING)), expected)
    finally:
        decoders.close()


def test_a_picture_that_its_process_dies_over_is_named(pictures: list[Picture], tmp_path: Path) -> None:
    """A pipe nobody writes to, that the process waits at: as a decoder that hangs, and is killed for it."""
    stuck = tmp_path / "stuck.jpg"
    os.mkfifo(stuck)
    decoders = ProcessDecoders(1)
    over = threading.Event()

    def kill_who_waits() -> None:
        while not over.wait(0.5):
            for process_id in children_of(os.getpid()):
                if b"decoding.child" in Path(f"/proc/{process_id}/cmdline").read_bytes():
                    os.kill(process_id, signal.SIGKILL)

    killer = threading.Thread(target=kill_who_waits)
    killer.start()
    try:
        found = decoders.decode([*pictures[:2], Picture(stuck), *pictures[2:4]], DECODING)
    finally:
        over.set()
        killer.join()
        decoders.close()
    assert found[2].pixels is None
    assert "stuck.jpg cannot be decoded (the process was ended by SIGKILL)" in found[2].error


PARENT = """
import sys, threading
from pathlib import Path
from nas_engine.training.data.decoding.decoders import Picture
from nas_engine.training.data.decoding.picture import Decoding
from nas_engine.training.data.decoding.processes import ProcessDecoders
decoders = ProcessDecoders(3)
pictures = [Picture(path) for path in sorted(Path(sys.argv[1]).glob("*.jpg"))] * 20
decoders.decode(pictures[:3], Decoding(image_size=24, channels=3))
print("ready", flush=True)
while True:
    decoders.decode(pictures, Decoding(image_size=24, channels=3))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_none_is_left_where_their_parent_is_killed(pictures: list[Picture], how: signal.Signals) -> None:
    folder = str(pictures[0].path.parent)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, folder], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == b"ready\n"
        children = children_of(parent.pid)
        assert len(children) == 3
    finally:
        parent.send_signal(how)
        parent.wait()
        parent.stdout.close()
    deadline_s = time.monotonic() + 20.0
    while any(map(is_running, children)) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert [one for one in children if is_running(one)] == []


def test_a_process_that_decodes_holds_no_torch() -> None:
    code = "import sys, nas_engine.training.data.decoding.child; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cores_decide_and_are_shared_by_processes_that_train_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(num_cores: int, variables: dict[str, str]) -> Decoders:
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(num_cores)))
        return processes.decoders()

    assert isinstance(chosen(2, {}), ThreadDecoders)
    four = chosen(4, {})
    assert isinstance(four, ProcessDecoders)
    assert chosen(4, {}) is four
    assert chosen(8, {"WORLD_SIZE": "2"}) is four
    assert chosen(8, {"WORLD_SIZE": "64", "LOCAL_WORLD_SIZE": "2"}) is four
    assert isinstance(chosen(8, {"WORLD_SIZE": "8"}), ThreadDecoders)
    four.close()


def test_a_stream_gives_the_same_batches_by_processes_and_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    for number in range(24):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)

    def batches(num_cores: int, steps: range) -> list[torch.Tensor]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(num_cores)))
        assert isinstance(processes.decoders(), ThreadDecoders if num_cores == 1 else ProcessDecoders)
        dataset = load_folder(tmp_path, image_size=16, channels=3, validation_fraction=0.2, seed=0, in_memory_bytes=0)
        stream = TrainingStream(
            dataset,
            batch_size=5,
            augmentation=AUGMENTATIONS[AugmentationName.IMAGENET],
            randomness=Randomness(7),
            device=torch.device("cpu"),
        )
        try:
            return [stream.batch(step).images_NCHW for step in steps]
        finally:
            stream.close()

    expected = batches(1, range(7))
    for one, other in zip(batches(5, range(7)), expected, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(batches(5, range(4, 7)), expected[4:], strict=True):
        assert torch.equal(one, other)
    made = processes.decoders()
    assert isinstance(made, ProcessDecoders)
    made.close()
