"""Checksums: a damaged byte is found on opening, costs its own image and no more, and a sound shard is read once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from osler.data import geometry, integrity
from osler.data.geometry import Geometry
from osler.data.records import RECORD, digest, make_records, read_records
from osler.data.shards import ShardStore

ROWS = 12


def store_of(folder: Path, dtype: str = "uint8") -> ShardStore:
    store = ShardStore(Geometry(folder, (2, 4, 4), dtype, 4), {"samples": ROWS})
    store.open()
    return store


def pixels(dtype: str = "uint8", seed: int = 0) -> NDArray[np.generic]:
    values = np.random.default_rng(seed).integers(0, 256, (ROWS, 2, 4, 4))
    return (values * (257 if dtype == "uint16" else 1) + (0.125 if dtype.startswith("float") else 0)).astype(dtype)


def add(store: ShardStore, rows: NDArray[np.int64], images: NDArray[np.generic], lane: int = 0) -> NDArray[np.int64]:
    with store.lock(lane):
        slots = store.reserve(len(rows), lane)
        with store.proving(slots):
            crcs = np.array(
                [store.geometry.write(int(slot), image) for slot, image in zip(slots, images, strict=True)], np.uint32
            )
            store.commit(slots, rows, np.array([digest(str(row)) for row in rows], np.uint64), crcs)
    return slots


def flip(path: Path, at: int, keep_time: bool = False) -> None:
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 0x04
    path.write_bytes(data)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_rows_of_any_type_come_back_to_the_bit(dtype: str, tmp_path: Path) -> None:
    store, images = store_of(tmp_path, dtype), pixels(dtype)
    slots = add(store, np.arange(ROWS), images)
    out = np.empty((ROWS, 2, 4, 4), dtype)
    store.gather(slots[::-1].copy(), out)
    np.testing.assert_array_equal(out, images[::-1])
    assert store.check(slots, everything=True)


def test_a_flipped_bit_costs_its_own_image(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    slots = add(store, np.arange(ROWS), pixels())
    flip(tmp_path / "image-00001.bin", 2 * 32 + 5)  # row 6
    fresh = store_of(tmp_path)
    assert not fresh.check(slots)
    assert fresh.notes == [f"{tmp_path}: 1 prepared image(s) were damaged on the disk (checksum); they are prepared again"]
    assert sorted(fresh.records()["row"]) == [row for row in range(ROWS) if row != 6]
    assert fresh.check(fresh.records()["slot"])


def test_what_a_disk_loses_by_itself_is_found_by_reading_everything(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    slots = add(store, np.arange(ROWS), pixels())
    flip(tmp_path / "image-00002.bin", 0, keep_time=True)
    assert store.check(slots)  # size and time are as they were
    assert not store.check(slots, everything=True)
    assert 8 not in store.records()["row"]


def test_a_sound_shard_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    checksums = Geometry.checksums
    monkeypatch.setattr(
        Geometry, "checksums", lambda self, shard, places: (read.append(shard), checksums(self, shard, places))[1]
    )
    store = store_of(tmp_path)
    slots = add(store, np.arange(ROWS), pixels())
    assert store.check(slots)
    assert read == []  # this process has just written them
    (tmp_path / integrity.MARKS).unlink()
    assert store_of(tmp_path).check(slots)
    assert sorted(read) == [0, 1, 2]
    assert store_of(tmp_path).check(slots)
    assert sorted(read) == [0, 1, 2]
    os.utime(tmp_path / "image-00001.bin")
    assert store_of(tmp_path).check(slots)
    assert sorted(read) == [0, 1, 1, 2]


def test_rows_added_beside_doubtful_ones_do_not_vouch_for_them(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    slots = add(store, np.arange(2), pixels()[:2])
    flip(tmp_path / "image-00000.bin", 3)
    add(store, np.arange(2, 4), pixels()[2:4])  # the same shard
    assert not store.check(slots)
    assert sorted(store.records()["row"]) == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"image-00000.bin": 3}'])
def test_damaged_marks_cost_a_reading(text: str, tmp_path: Path) -> None:
    store = store_of(tmp_path)
    slots = add(store, np.arange(ROWS), pixels())
    (tmp_path / integrity.MARKS).write_text(text)
    assert store.check(slots)
    assert integrity.unproved(store.geometry, range(3)) == []


def test_a_folder_without_write_permission_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path)
    slots = add(store, np.arange(ROWS), pixels())
    (tmp_path / integrity.MARKS).unlink()

    def refuse(*args: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(integrity, "write_json", refuse)
    assert store.check(slots)
    assert not (tmp_path / integrity.MARKS).exists()


# --- records ----------------------------------------------------------------------------------------------------------------


def test_every_bit_of_a_record_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    identities = rng.integers(0, 2**63, (6, 2)).astype(np.uint64)
    made = make_records(np.arange(6), rng.permutation(6), identities, rng.integers(0, 2**32, 6).astype(np.uint32))
    path = tmp_path / "index.bin"
    path.write_bytes(made.tobytes())
    assert read_records(path).tobytes() == made.tobytes()
    for bit in range(RECORD.itemsize * 8):
        data = bytearray(made.tobytes())
        data[2 * RECORD.itemsize + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert len(read_records(path)) == 5, f"bit {bit} is not seen"
    path.write_bytes(bytes(RECORD.itemsize * 3))
    assert len(read_records(path)) == 0


# --- lanes ------------------------------------------------------------------------------------------------------------------


def test_lanes_share_a_store_and_no_file(tmp_path: Path) -> None:
    store, images = store_of(tmp_path), pixels()
    first, second = np.arange(0, ROWS, 2), np.arange(1, ROWS, 2)
    add(store, first, images[first], lane=1)
    add(store, second, images[second], lane=257)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"index-1.bin", "index-257.bin", "image-1-00000.bin", "image-1-00001.bin", "image-257-00000.bin"} <= names
    records = store_of(tmp_path).records()
    assert sorted(records["row"]) == list(range(ROWS))
    out = np.empty((ROWS, 2, 4, 4), np.uint8)
    store.gather(records["slot"][np.argsort(records["row"])], out)
    np.testing.assert_array_equal(out, images)


def test_damage_in_a_lane_is_mended_in_its_index(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    add(store, np.arange(6), pixels()[:6])
    add(store, np.arange(6, ROWS), pixels()[6:], lane=2)
    (tmp_path / "image-2-00001.bin").unlink()
    again = store_of(tmp_path)
    assert sorted(again.records()["row"]) == list(range(10))
    assert "1 shard(s) were missing or cut short; 2 images" in again.notes[0]


def test_the_lock_of_all_waits_for_a_lane_and_a_lane_waits_for_it(tmp_path: Path) -> None:
    store, other = store_of(tmp_path), store_of(tmp_path)

    class WaitedError(Exception):
        pass

    def give_up() -> None:
        raise WaitedError

    with store.lock(3), other.lock(4, give_up):  # lanes do not wait for each other
        with pytest.raises(WaitedError), store_of(tmp_path).lock(3, give_up):
            pass
        with pytest.raises(WaitedError), store_of(tmp_path).lock(0, give_up):
            pass
    with store.lock(0), pytest.raises(WaitedError), other.lock(3, give_up):
        pass


def test_a_file_system_without_locks_is_said_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("osler.data.shards.fcntl.flock", refuse)
    store = store_of(tmp_path)
    add(store, np.arange(3), pixels()[:3])
    assert "knows no locks" in store.notes[0]
    assert len(store.records()) == 3


def test_shards_are_numbered_apart() -> None:
    one = Geometry(Path("x"), (1,), "uint8", 1000)
    assert one.path(one.first_slot(9999 * 256) // 1000).name == "image-2559744-00000.bin"
    assert one.first_slot(9999 * 256) < 2**62
    assert geometry.LANE_SHARDS > 4096
