"""Images per second that a training process gets from files, by threads and by processes, on 1, 2, ... cores.

    python benchmarks/service/image_loading.py [--images 400] [--batch 128] [--folder IMAGES]

JPEG files of 500x375 pixels (about 90 kB, as ImageNet's) are made unless a folder is given; random crops of them are
brought to 224 pixels. Each line is measured in a process of its own that is bound to so many cores. What the reading
process itself computes for an image bounds what any number of cores can bring: its inverse is printed as the limit. For
threads that is not so: there it is what decoding costs, and how far it scales is what the lines show.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from nas_engine.training.data.decoding.decoders import Decoders, Picture, ThreadDecoders
from nas_engine.training.data.decoding.picture import Decoding
from nas_engine.training.data.decoding.processes import ProcessDecoders

DECODING = Decoding(image_size=224, channels=3)


def main() -> None:
    """Measure every number of cores in its own process, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("HOW", "CORES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        how, cores = options.measure
        print(json.dumps(_measured(options.folder, how, int(cores), options.images, options.batch)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or _made(Path(made))
        print("cores  decoded by  images/s  own ms/image  limit images/s")
        num_cores = len(os.sched_getaffinity(0))
        for cores in sorted({1, 2, *(2**n for n in range(2, 8)), num_cores}):
            for how in ("threads", "processes"):
                if cores <= num_cores:
                    command = [sys.executable, __file__, "--measure", how, str(cores), "--folder", str(folder)]
                    command += ["--images", str(options.images), "--batch", str(options.batch)]
                    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                    limit = f"{1e3 / found['own_ms']:14.0f}" if how == "processes" else f"{'-':>14}"
                    print(
                        f"{cores:5}  {how:10}  {found['images_per_s']:8.0f}  {found['own_ms']:12.2f}  {limit}",
                        flush=True,
                    )


def _made(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(64):
        coarse = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8))
        fine = rng.normal(0, 9, (375, 500, 3))
        pixels = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float64) + fine
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=80)
    return folder


def _measured(folder: Path, how: str, cores: int, num_images: int, batch: int) -> dict[str, float]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    decoders: Decoders = ThreadDecoders() if how == "threads" else ProcessDecoders(cores)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    pictures = [Picture(paths[n % len(paths)], n) for n in range(num_images)]
    decoders.decode(pictures[:batch], DECODING)  # processes are started, files are in memory
    started_s, own_s = time.monotonic(), time.process_time()
    for start in range(0, num_images, batch):
        decoders.decode(pictures[start : start + batch], DECODING)
    seconds, own_s = time.monotonic() - started_s, time.process_time() - own_s
    return {"images_per_s": num_images / seconds, "own_ms": 1e3 * own_s / num_images}


if __name__ == "__main__":
    main()
