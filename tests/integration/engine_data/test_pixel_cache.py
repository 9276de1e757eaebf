"""Decoded pictures on disk: decoded once, never other pixels than the files', whoever dies or changes what."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation
from nas_engine.settings.training import AugmentationName
from nas_engine.training.data.augmentation import AUGMENTATIONS
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.decoding.decoders import Decoded, Picture, ThreadDecoders
from nas_engine.training.data.decoding.picture import Decoding, decode
from nas_engine.training.data.decoding.pixel_cache import ABANDONED_S, HEADER_BYTES, SPARED_S, PixelCache
from nas_engine.training.data.folder import load_folder
from nas_engine.training.data.stream import CalibrationBatches, PlainBatches, TrainingStream
from nas_engine.training.randomness import Randomness
from tests.support.decoding_run import DECODING, batches

CPU = torch.device("cpu")
NUM = 12


class Counting(ThreadDecoders):
    """Decodes, and counts what it was asked for."""

    def __init__(self) -> None:
        self.num = 0

    def decode(self, pictures: Sequence[Picture], decoding: Decoding, *, hashed: bool = False) -> Sequence[Decoded]:
        self.num += len(pictures)
        return super().decode(pictures, decoding, hashed=hashed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "images"
    found.mkdir()
    for number in range(NUM):
        write(found / f"{number:02}.jpg", number)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> PixelCache:
    return PixelCache(tmp_path / "kept", 1 << 30, min_free_bytes=0)


def write(path: Path, seed: int, size: tuple[int, int] = (60, 48)) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def pictures_of(folder: Path, seeds: bool = False) -> list[Picture]:
    return [Picture(path, 7 + n if seeds else None) for n, path in enumerate(sorted(folder.glob("*")))]


def files_of(cache: PixelCache) -> list[Path]:
    return sorted(cache.folder.glob("*.pixels"))


def loaded(cache: PixelCache, pictures: Sequence[Picture], decoding: Decoding = DECODING) -> int:
    """Pictures that had to be decoded; asserts that the pixels are the files'."""
    decoders = Counting()
    pixels = cache.load(pictures, decoding, decoders)
    expected = np.stack([decode(one.path, decoding, one.crop_seed) for one in pictures])
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.flags.writeable
    return decoders.num


def digest_of(batch: Sequence[Picture], size: int) -> str:
    pixels = np.stack([decode(one.path, replace(DECODING, image_size=size)) for one in batch])
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def test_what_was_decoded_once_is_not_decoded_again(folder: Path, cache: PixelCache, tmp_path: Path) -> None:
    assert loaded(cache, pictures_of(folder)) == NUM
    assert loaded(cache, pictures_of(folder)) == 0
    assert loaded(PixelCache(cache.folder, 1 << 30, min_free_bytes=0), pictures_of(folder)) == 0
    # The content counts, not the place.
    shutil.copytree(folder, tmp_path / "a copy")
    assert loaded(cache, pictures_of(tmp_path / "a copy")) == 0
    assert len(files_of(cache)) == 1
    assert files_of(cache)[0].stat().st_size == HEADER_BYTES + NUM * 96 * 96 * 3
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_other_sizes_filters_crops_and_orders_are_other_pixels(folder: Path, cache: PixelCache) -> None:
    plain = pictures_of(folder)
    assert loaded(cache, plain) == NUM
    for decoding in (
        replace(DECODING, image_size=64),
        replace(DECODING, channels=1),
        replace(DECODING, centre_crop=0.5),
        replace(DECODING, interpolation=Interpolation.BILINEAR),
    ):
        assert loaded(cache, plain, decoding) == NUM
        assert loaded(cache, plain, decoding) == 0
    for others in (pictures_of(folder, seeds=True), plain[::-1], plain[:-1]):
        assert loaded(cache, others) == len(others)
        assert loaded(cache, others) == 0


def test_a_changed_file_is_never_answered_with_the_pixels_it_had(folder: Path, cache: PixelCache) -> None:
    pictures = pictures_of(folder)
    assert loaded(cache, pictures) == NUM
    # As large as before, with the times it had, as backups and `cp -p` write them.
    first, state = pictures[0].path, pictures[0].path.stat()
    content = bytearray(first.read_bytes())
    last = bytes(255 - byte if 0 < byte < 255 else byte for byte in content[-40:-2])
    first.write_bytes(bytes(content[:-40]) + last + bytes(content[-2:]))
    os.utime(first, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert first.stat().st_size == state.st_size
    assert loaded(cache, pictures) == NUM
    assert loaded(cache, pictures) == 0
    # Two files that change places.
    second, third, between = pictures[1].path, pictures[2].path, folder / "between"
    second.rename(between)
    third.rename(second)
    between.rename(third)
    assert loaded(cache, pictures) == NUM
    # What it was before is still there.
    first.write_bytes(bytes(content))
    second.rename(between)
    third.rename(second)
    between.rename(third)
    assert loaded(cache, pictures) == 0


def test_files_whose_state_did_not_change_are_not_read(folder: Path, cache: PixelCache) -> None:
    pictures = pictures_of(folder)
    loaded(cache, pictures)
    time.sleep(2.1)  # their times are believed from now on
    loaded(cache, pictures)
    before = [path.stat().st_atime_ns for path in folder.glob("*")]
    pixels = cache.load(pictures, DECODING, Counting())
    assert [path.stat().st_atime_ns for path in folder.glob("*")] == before
    np.testing.assert_array_equal(pixels[3], decode(pictures[3].path, DECODING))


@pytest.mark.parametrize("damage", ["a bit", "cut short", "empty", "header", "another's"])
def test_damaged_files_are_decoded_anew(folder: Path, cache: PixelCache, damage: str) -> None:
    pictures = pictures_of(folder)
    loaded(cache, pictures)
    (kept,) = files_of(cache)
    content = bytearray(kept.read_bytes())
    match damage:
        case "a bit":
            content[HEADER_BYTES + 5000] ^= 1
        case "cut short":
            content = content[:-1]
        case "empty":
            content.clear()
        case "header":
            content[3] ^= 1
        case _:
            loaded(cache, pictures[::-1])
            (other,) = set(files_of(cache)) - {kept}
            content = bytearray(other.read_bytes())
    kept.write_bytes(content)
    assert loaded(cache, pictures) == NUM
    assert loaded(cache, pictures) == 0


def test_what_cannot_be_decoded_is_named_and_not_kept(folder: Path, cache: PixelCache) -> None:
    broken = folder / "03.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"03\.jpg cannot be decoded .*hilnas datasets check"):
        cache.load(pictures_of(folder), DECODING, ThreadDecoders())
    assert files_of(cache) == []
    broken.unlink()
    with pytest.raises(DatasetError, match=r"03\.jpg cannot be decoded"):
        cache.load([Picture(broken)], DECODING, ThreadDecoders())


def test_where_nothing_can_be_written_images_are_decoded(folder: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_bytes(b"")
    for cache in (
        PixelCache(in_the_way / "kept", 1 << 30),
        PixelCache(tmp_path / "no room", 1 << 30, min_free_bytes=1 << 60),
        PixelCache(tmp_path / "too small", 1000),
    ):
        assert loaded(cache, pictures_of(folder)) == NUM
        assert loaded(cache, pictures_of(folder)) == NUM


def test_what_was_not_used_longest_goes_first(folder: Path, tmp_path: Path) -> None:
    size = HEADER_BYTES + NUM * 96 * 96 * 3
    cache = PixelCache(tmp_path / "kept", 3 * size + size // 2, min_free_bytes=0)
    orders = [pictures_of(folder)[n:] + pictures_of(folder)[:n] for n in range(6)]
    for order in orders[:3]:
        assert loaded(cache, order) == NUM
    # All were used just now: of a set that is too large a part stays, instead of each going before its turn.
    assert loaded(cache, orders[3]) == NUM
    assert len(files_of(cache)) == 3
    assert [loaded(cache, order) for order in orders[:3]] == [0, 0, 0]
    past = time.time() - SPARED_S - 60
    for number, path in enumerate(files_of(cache)):
        os.utime(path, (past + number, past + number))
    oldest = files_of(cache)[0]
    assert loaded(cache, orders[3]) == NUM
    assert len(files_of(cache)) == 3
    assert oldest not in files_of(cache)
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= cache.max_bytes


def test_what_a_killed_process_left_half_written_goes_after_an_hour(folder: Path, cache: PixelCache) -> None:
    loaded(cache, pictures_of(folder))
    left, fresh = cache.folder / ".writing-old", cache.folder / ".writing-new"
    for path in (left, fresh):
        path.write_bytes(b"half")
    past = time.time() - ABANDONED_S - 60
    os.utime(left, (past, past))
    loaded(cache, pictures_of(folder)[::-1])
    assert (left.exists(), fresh.exists()) == (False, True)


def test_processes_share_a_folder_and_are_killed_at_any_moment(folder: Path, cache: PixelCache) -> None:
    command = [sys.executable, "-m", "tests.support.decoding_run", str(folder), str(cache.folder)]
    running = [subprocess.Popen([*command, "400"], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told: set[tuple[str, str]] = set()
    for number, process in enumerate(running):
        assert process.stdout is not None
        for _ in range(4 + 5 * number):  # so that each is killed somewhere else
            size, digest = process.stdout.readline().split()
            told.add((size, digest))
        process.kill()
        process.wait()
        process.stdout.close()
    sizes = {int(size) for size, _ in told}
    expected = {(str(size), digest_of(batch, size)) for size in sizes for batch in batches(folder)}
    assert told <= expected
    kept = files_of(cache)
    for batch in batches(folder):
        assert loaded(cache, batch) == 0  # their first round was kept
    assert set(kept) <= set(files_of(cache))  # nothing that is there was found damaged


def large_set(folder: Path) -> ImageDataset:
    """A set that is read from its files, as those that are too large for memory."""
    for name in ("a", "b"):
        for number in range(20):
            write(folder / name / f"{number:02}.png", number + (100 if name == "b" else 0), (20, 24))
    return load_folder(folder, image_size=16, channels=3, validation_fraction=0.3, seed=0, in_memory_bytes=0)


@pytest.mark.parametrize("name", [AugmentationName.NONE, AugmentationName.IMAGENET])
def test_cached_batches_are_those_of_the_files(tmp_path: Path, cache: PixelCache, name: AugmentationName) -> None:
    dataset = large_set(tmp_path / "set")

    def held_out(kept: PixelCache | None) -> PlainBatches:
        return PlainBatches(
            dataset.validation.kept_in(kept), dataset.normalisation, batch_size=5, device=CPU, max_images=9
        )

    def calibration(kept: PixelCache | None) -> list[torch.Tensor]:
        stream = TrainingStream(
            replace(dataset, train=dataset.train.kept_in(kept)),
            batch_size=6,
            augmentation=AUGMENTATIONS[name],
            randomness=Randomness(3),
            device=CPU,
        )
        try:
            return list(CalibrationBatches(stream, 2))
        finally:
            stream.close()

    plain, cached = held_out(None), held_out(cache)
    for _ in range(2):
        for one, other in zip(plain, cached, strict=True):
            assert torch.equal(one.images_NCHW, other.images_NCHW)
            assert torch.equal(one.labels_N, other.labels_N)
    for _ in range(2):
        for mine, theirs in zip(calibration(None), calibration(cache), strict=True):
            assert torch.equal(mine, theirs)
    assert len(files_of(cache)) in (4, 5)  # the stream may have read one batch ahead
    assert dataset.validation.kept_in(cache).digest() == dataset.validation.digest()
