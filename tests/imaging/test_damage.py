"""Damaged and hostile files of every format: an image or a `DataError`, never anything else, no hang, bounded memory.

Mutations are decoded in a process of their own, so that a crash is seen as one; this file is also that process's program.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gzip
import io
import json
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osler.errors import DataError
from osler.imaging.read import decode_image

FORMATS = ("png", "jpeg", "tiff", "dicom", "nifti")
SECONDS = 2.0
MEGABYTES = 1024
WHEEL_SEEDS = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "rtdose.dcm",
    "dicomdirtests/77654033/CR1/6154",
)


# --- seeds ------------------------------------------------------------------------------------------------------------------


def seeds_of(kind: str) -> list[bytes]:
    return {"png": pngs, "jpeg": jpegs, "tiff": tiffs, "dicom": dicoms, "nifti": niftis}[kind]()


def picture(channels: int = 1, dtype: type = np.uint8) -> Any:
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:48, 0:64]
    waves = [np.sin(rows / (3 + c)) + np.cos(columns / (5 + c)) + rng.normal(0, 0.2, rows.shape) for c in range(channels)]
    scaled = np.clip((np.stack(waves, axis=-1) + 3) / 6, 0, 1) * np.iinfo(dtype).max
    return np.squeeze(scaled.astype(dtype))


def saved(pixels: Any, kind: str, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def pngs() -> list[bytes]:
    from PIL import Image

    palette = io.BytesIO()
    Image.fromarray(picture(3)).quantize(16).save(palette, "PNG")
    return [saved(picture(), "PNG"), saved(picture(3), "PNG"), saved(picture(1, np.uint16), "PNG"), palette.getvalue()]


def jpegs() -> list[bytes]:
    colour = picture(3)
    return [
        saved(picture(), "JPEG"),
        saved(colour, "JPEG"),
        saved(colour, "JPEG", progressive=True),
        saved(colour, "JPEG", restart_marker_rows=1),
    ]


def tiffs() -> list[bytes]:
    import tifffile

    def tiff(pixels: Any, **options: Any) -> bytes:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack", **options)
        return buffer.getvalue()

    gray, colour, deep = picture(), picture(3), picture(3, np.uint16)
    return [
        tiff(gray),
        tiff(colour, compression="zlib"),
        tiff(deep, compression="zlib", predictor=True),
        tiff(gray.astype(np.float32), tile=(16, 16)),
        tiff(deep, bigtiff=True),
        saved(colour, "TIFF", compression="tiff_lzw"),
        saved(colour, "TIFF", compression="jpeg"),
        saved(picture(1, np.uint16), "TIFF", compression="tiff_lzw"),
        saved(gray > 99, "TIFF", compression="group4"),
    ]


def dicoms() -> list[bytes]:
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    return [(folder / name).read_bytes() for name in WHEEL_SEEDS]


def niftis() -> list[bytes]:
    plain = nifti(picture(1, np.uint16)[:32, :32, None], 512)
    scaled = nifti(picture(1, np.uint8)[:32, :32, None].astype(np.int16), 4, slope=2.0)
    return [plain, scaled, gzip.compress(plain, mtime=0), gzip.compress(scaled, mtime=0)]


def nifti(voxels: Any, datatype: int, slope: float = 1.0, shape: tuple[int, ...] | None = None) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *(shape or voxels.shape), 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, datatype, voxels.itemsize * 8)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, 352, slope, 0)
    struct.pack_into("<hh", head, 252, 1, 0)
    head[344:348] = b"n+1\0"
    return bytes(head) + voxels.tobytes("F")


# --- mutations --------------------------------------------------------------------------------------------------------------


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Cuts, flips, overwrites, removals, insertions, large numbers and grafts; mostly few, often near the start."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 32))):
        near = rng.choice((64, 400, len(changed)))
        place = rng.randrange(max(1, min(near, len(changed))))
        kind = rng.randrange(8)
        if kind <= 2 and changed:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 3 and changed:
            changed[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 4:
            changed[place : place + 4] = rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
        elif kind == 5:
            del changed[place : place + rng.choice((1, 2, 8, 64))]
        elif kind == 6:
            changed[place:place] = rng.randbytes(rng.choice((1, 2, 8, 64)))
        else:
            graft = rng.choice(others)
            start = rng.randrange(len(graft))
            changed[place : place + 64] = graft[start : start + 64]
    return bytes(changed[: rng.randrange(1, len(changed) + 1)]) if changed and rng.random() < 0.15 else bytes(changed)


def with_right_checksums(data: bytes) -> bytes:
    changed, at = bytearray(data), 8
    while at + 12 <= len(changed):
        (length,) = struct.unpack_from(">I", changed, at)
        end = at + 8 + length
        if end + 4 > len(changed):
            break
        struct.pack_into(">I", changed, end, zlib.crc32(changed[at + 4 : end]))
        at = end + 4
    return bytes(changed)


def one(data: bytes, name: str) -> str:
    """Decodes, and says in a word how it went; anything but an image and a DataError is a fault."""
    try:
        raw = decode_image(data, name)
    except DataError as error:
        return "refused" if "\n" not in str(error) and str(error).startswith(name) else f"FAULT: odd message {error!s:.200}"
    except Exception as error:
        return f"FAULT: {type(error).__name__}: {error!s:.200}"
    sound = raw.pixels.dtype in (np.uint8, np.uint16, np.float32) and (raw.pixels.ndim == 2 or raw.pixels.shape[2:] == (3,))
    return "read" if sound and raw.pixels.size else f"FAULT: {raw.pixels.dtype} pixels of shape {raw.pixels.shape}"


def run(kind: str, first: int, count: int) -> dict[str, Any]:
    """Mutations `first` to `first + count` of a format; the last before a crash or a hang is in the file named by stdin."""
    seeds = seeds_of(kind)
    outcomes: Counter[str] = Counter()
    faults: dict[int, str] = {}
    slowest = (0.0, -1)
    decode_image(seeds[0], "warm")
    for number in range(first, first + count):
        rng = random.Random(f"{kind} {number}")
        data = mutated(rng.choice(seeds), seeds, rng)
        if kind == "png" and rng.random() < 0.8:  # or the checksums would hide the decoder from all damage
            data = with_right_checksums(data)
        faulthandler.dump_traceback_later(20, exit=True)
        print(number, file=sys.stderr, flush=True)
        start = time.process_time()
        outcome = one(data, "x")
        slowest = max(slowest, (time.process_time() - start, number))
        outcomes[outcome.split(":")[0]] += 1
        if outcome.startswith("FAULT"):
            faults[number] = outcome
    faulthandler.cancel_dump_traceback_later()
    return {"outcomes": outcomes, "faults": faults, "slowest": slowest, "megabytes": peak_megabytes()}


def peak_megabytes() -> int:
    """The most memory that this process had; getrusage would count what its parent had before it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) // 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def in_a_process(kind: str, first: int, count: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, kind, str(first), str(count)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    last = done.stderr[-2000:]
    assert done.returncode == 0, f"{kind}: ended by {done.returncode} at the last number below\n{last}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(kind: str, first: int, count: int) -> None:
    if kind == "dicom":
        pytest.importorskip("pydicom", reason="pydicom is not installed")
    if sys.platform == "win32":
        pytest.skip("memory is measured by a module that Windows has not")
    found = in_a_process(kind, first, count)
    print(kind, found)
    assert found["faults"] == {}
    assert found["slowest"][0] < SECONDS, f"mutation {found['slowest'][1]} took {found['slowest'][0]:.1f} s"
    assert found["megabytes"] < MEGABYTES
    assert found["outcomes"].get("refused", 0) > 0.1 * count
    assert found["outcomes"].get("read", 0) > 0.01 * count


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_an_error_of_ours_or_still_an_image(kind: str) -> None:
    check(kind, 0, 200)


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", FORMATS)
def test_ten_thousand_mutations(kind: str, part: int) -> None:
    check(kind, part * 2500, 2500)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(result))
