"""How fast the phantom draws: 2,000 images of 128² with the default findings, beside the calibration loop.

python benchmarks/phantom.py [--samples 2000] [--size 128]
"""

from __future__ import annotations

import argparse
import time

from calibration import calibration_seconds

from osler.config import DataConfig, PhantomConfig
from osler.data.phantom import phantom_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    images = phantom_samples(DataConfig(phantom=PhantomConfig(samples=options.samples, size=options.size))).images
    start = time.perf_counter()
    for row in range(options.samples):
        images.read(row)
    seconds = time.perf_counter() - start
    print(f"calibration: {calibration_seconds():.2f} s")
    each = 1000 * seconds / options.samples
    print(f"{options.samples} images of {options.size}² on one core: {seconds:.1f} s, {each:.2f} ms each")


if __name__ == "__main__":
    main()
