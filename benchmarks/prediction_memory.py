"""Peak memory of predicting one image: tiled, it is that of the tiles and of K + 1 planes; whole, it grows with the image.

    python benchmarks/prediction_memory.py [--sizes 1024 2048 4096] [--whole 1024 2048] [--tile 256]

Each prediction runs in a process of its own, since memory that is given back does not lower a peak; what the process had taken
before it predicted is subtracted. "Planes" is the part that must grow with the image: its K + 1 float32 planes.
"""

from __future__ import annotations

import argparse
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from osler.config import ModelConfig
from osler.models.segmenters import SegmenterSpec, build_segmenter
from osler.predict.tiles import logit_maps

CLASSES = 1


def peak() -> float:
    """Most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def growth(size: int, tile: int | None) -> float:
    """MiB that predicting an image of this side takes."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_segmenter(ModelConfig(architecture="compact"), SegmenterSpec(CLASSES, 1, 256)).eval()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(model(torch.from_numpy(images)).numpy())

    run(np.zeros((1, 1, 64, 64), np.uint8))  # what a library takes once is not the image's
    image = np.random.default_rng(0).integers(0, 256, (1, 1, size, size), np.uint8)
    before = peak()
    logit_maps(run, image, tile=tile, batch=8)
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--whole", type=int, nargs="*", default=[1024, 2048])
    parser.add_argument("--tile", type=int, default=256)
    options = parser.parse_args()
    print("| image | way | MiB | planes, MiB |\n|--|--|--|--|", flush=True)
    plans = [(size, options.tile) for size in options.sizes] + [(size, None) for size in options.whole]
    for size, tile in plans:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            taken = pool.submit(growth, size, tile).result()
        planes = (CLASSES + 1) * size * size * 4 / 2**20
        print(f"| {size}² | {'whole' if tile is None else f'tiles of {tile}'} | {taken:.0f} | {planes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
