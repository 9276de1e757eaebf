"""Batches of a split: shuffled and augmented for training, plain for evaluation and calibration.

The batch of step s is a function of (data set, seed, s) alone, so a resumed run goes on with exactly the
images that an undisturbed one would see. Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from nas_engine.domain.errors import TrainingError
from nas_engine.training.data.augmentation import ALONE, Augmentation, Augmenter, Share, normalise, to_float
from nas_engine.training.data.dataset import ImageDataset, Indices, Normalisation, Split, require_batch
from nas_engine.training.data.decoding.picture import Pixels
from nas_engine.training.randomness import Randomness, Stream
from nas_engine.training.strategies.strategy import ImageBatch


class TrainingStream:
    """Endless shuffled batches of the training images, addressed by step."""

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        batch_size: int,
        augmentation: Augmentation,
        randomness: Randomness,
        device: torch.device,
        share: Share = ALONE,
    ) -> None:
        """`batch_size` counts the images of all processes together.

        Raises:
            DatasetError: there are fewer training images than a batch takes.
            TrainingError: the batch does not divide over the processes, or colours of grey images are to be changed.
        """
        if batch_size < 1 or batch_size % share.num_processes:
            raise TrainingError(f"batch_size {batch_size} does not divide over {share.num_processes} processes")
        require_batch(dataset, batch_size)
        channels = dataset.train.image_shape[2]
        if channels != 3 and (any(augmentation.colour_jitter) or augmentation.auto_augment):
            raise TrainingError(f"colour augmentation needs 3 channels, the images have {channels}: set channels to 3")
        self._split = dataset.train
        self._normalisation = dataset.normalisation
        self._batch_size = batch_size
        self._randomness = randomness
        self._device = device
        self._share = share
        self._crops = augmentation.resized_crop_scale is not None and dataset.train.crops_on_load
        self._augment = Augmenter(
            augmentation, randomness, share, cropped=self._crops, interpolation=dataset.interpolation
        )
        self._order: tuple[int, Indices] = (-1, np.zeros(0, dtype=np.int64))
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="batches") if dataset.train.crops_on_load else None
        self._next: tuple[int, Future[Pixels]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass; the rest of a pass is left out."""
        return len(self._split) // self._batch_size

    def batch(self, step: int) -> ImageBatch:
        """This process's part of the batch of one step."""
        x_NCHW, indices = self._augmented(step)
        labels_N = torch.from_numpy(self._split.labels[indices]).to(self._device)
        return ImageBatch(self.normalised(x_NCHW), labels_N)

    def bytes_of(self, step: int) -> torch.Tensor:
        """The images of a step before normalisation, as bytes (N, C, H, W): a quarter of the memory."""
        x_NCHW, _ = self._augmented(step)
        return (x_NCHW * 255.0).round_().to(torch.uint8)

    def normalised(self, x_NCHW: torch.Tensor, *, in_place: bool = False) -> torch.Tensor:
        """Images of pixels in [0, 1] as networks take them; `in_place` may overwrite them."""
        return _fast(normalise(x_NCHW, self._normalisation, in_place=in_place))

    def _augmented(self, step: int) -> tuple[torch.Tensor, Indices]:
        indices = self._indices(step)
        return self._augment(to_float(self._pixels(step, indices), self._device), step), indices

    def close(self) -> None:
        """Stop reading ahead."""
        if self._ahead is not None:
            self._ahead.shutdown(cancel_futures=True)

    def _indices(self, step: int) -> Indices:
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            rng = self._randomness.numpy(Stream.ORDER, epoch)
            self._order = epoch, rng.permutation(len(self._split)).astype(np.int64)
        mine = self._batch_size // self._share.num_processes
        start = position * self._batch_size + self._share.rank * mine
        return self._order[1][start : start + mine]

    def _pixels(self, step: int, indices: Indices) -> Pixels:
        """Pixels of a step; files are decoded one step ahead."""
        if self._ahead is None:
            return self._split.load(indices)
        if self._next is not None and self._next[0] == step:
            pixels = self._next[1].result()
        else:
            pixels = self._decode(step, indices)
        self._next = step + 1, self._ahead.submit(self._decode, step + 1, self._indices(step + 1))
        return pixels

    def _decode(self, step: int, indices: Indices) -> Pixels:
        if not self._crops:
            return self._split.load(indices)
        seeds = self._randomness.numpy(Stream.FILE_CROP, step).integers(0, 2**31, size=self._batch_size)
        start = self._share.rank * len(indices)
        return self._split.load(indices, seeds[start : start + len(indices)])


class PlainBatches:
    """A split in order, or an even part of it, without augmentation; can be iterated again and again.

    Images of splits in memory are prepared once and kept.
    """

    def __init__(
        self,
        split: Split,
        normalisation: Normalisation,
        *,
        batch_size: int,
        device: torch.device,
        max_images: int | None = None,
        share: Share = ALONE,
    ) -> None:
        """`max_images` takes so many images, evenly spread: splits are sorted by class, and the first images of a
        thousand classes would be of a few. Of several processes each takes its turn: whole batches, maybe none.
        """
        self._split = split
        self._normalisation = normalisation
        self._batch_size = batch_size
        self._device = device
        count = min(len(split), max_images or len(split))
        self._indices = np.arange(count, dtype=np.int64) * len(split) // count
        self._share = share
        self._kept: list[ImageBatch] | None = None

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._parts())

    def __iter__(self) -> Iterator[ImageBatch]:
        if self._split.crops_on_load:
            return self._read_ahead()
        if self._kept is None:
            self._kept = list(self._batches())
        return iter(self._kept)

    def _batches(self) -> Iterator[ImageBatch]:
        return (self._prepared(indices, self._split.load(indices)) for indices in self._parts())

    def _read_ahead(self) -> Iterator[ImageBatch]:
        """The batches; while one is worked on the next one is read."""
        parts = self._parts()
        if not parts:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="held-out") as ahead:
            coming = ahead.submit(self._split.load, parts[0])
            for number, indices in enumerate(parts):
                pixels = coming.result()
                if number + 1 < len(parts):
                    coming = ahead.submit(self._split.load, parts[number + 1])
                yield self._prepared(indices, pixels)

    def _parts(self) -> list[Indices]:
        parts = [self._indices[s : s + self._batch_size] for s in range(0, len(self._indices), self._batch_size)]
        return parts[self._share.rank :: self._share.num_processes]

    def _prepared(self, indices: Indices, pixels: Pixels) -> ImageBatch:
        x_NCHW = normalise(to_float(pixels, self._device), self._normalisation)
        labels_N = torch.from_numpy(self._split.labels[indices]).to(self._device)
        return ImageBatch(_fast(x_NCHW), labels_N)


class CalibrationBatches:
    """Training images for BN recalibration: always the same, drawn once per seed, augmented as their stream does it.

    Iterating gives images alone. They are kept as bytes on their device and normalised when they are looked at:
    SPOS's 200 batches of 128 at 224 pixels are 3.9 GB.
    """

    def __init__(self, stream: TrainingStream, num_batches: int) -> None:
        if num_batches < 1:
            raise TrainingError(f"num_batches is {num_batches}: BN recalibration needs at least one")
        self._stream = stream
        self._images = [stream.bytes_of(step) for step in range(num_batches)]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self._stream.normalised(x_NCHW.float().div_(255.0), in_place=True) for x_NCHW in self._images)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._images)


def _fast(x_NCHW: torch.Tensor) -> torch.Tensor:
    """The same images in channels_last memory, also where one channel makes torch see no difference."""
    if x_NCHW.stride(1) == 1:
        return x_NCHW.contiguous(memory_format=torch.channels_last)
    return torch.empty_like(x_NCHW, memory_format=torch.channels_last).copy_(x_NCHW)
