"""The Ray engine: parts as tasks run them, and the whole of it on a local cluster of two nodes."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osler.config import load_config
from osler.data.cache import PackedCache, open_cache
from osler.data.load import load_data
from osler.errors import DataError
from osler.imaging.preparation import Preparation
from osler.prepare import prepare_config, ray_engine
from osler.prepare.ray_engine import _part, _take
from osler.train.resolve import resolve

COUNT = 40


def make(folder: Path, bad: tuple[int, ...] = ()) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    for name in ("healthy", "sick"):
        (folder / "films" / name).mkdir(parents=True)
        for number in range(COUNT // 2):
            cv2.imwrite(str(folder / "films" / name / f"{number:02}.png"), rng.integers(0, 256, (24, 24)).astype(np.uint8))
    for number in bad:
        (folder / "films" / "sick" / f"{number:02}.png").write_bytes(b"no image")
    return {"data": {"source": "folder", "path": str(folder / "films"), "cache": str(folder / "cache"), "workers": 1}}


def opened(values: dict[str, Any]) -> PackedCache:
    data = load_data(load_config(values).data)
    config = resolve(load_config(values), data)
    return open_cache(data.source, Preparation(config.preparation), Path(values["data"]["cache"]))


def truth(cache: PackedCache, rows: Any) -> Any:
    return np.stack([cache.preparation.apply(cache.samples.images.read(int(row))) for row in rows])


def test_parts_carry_their_own_rows_and_write_their_own_lanes(tmp_path: Path) -> None:
    cache = opened(make(tmp_path, bad=(1,)))
    rows = np.arange(COUNT)
    cache.find_missing(rows)
    parts = [_part(cache, rows[start::3], lane) for start, lane in ((0, 1), (1, 2), (2, 3))]
    for part in parts:
        _take(cache, pickle.loads(pickle.dumps(part)).run())
    assert list(cache.unreadable) == [21]
    assert len(pickle.dumps(parts[0].job.images)) < len(pickle.dumps(cache.job.images))
    assert sorted(path.name for path in cache.store.folder.glob("index*.bin")) == [f"index-{lane}.bin" for lane in (1, 2, 3)]
    assert len(cache.find_missing(rows)) == 0
    good = np.delete(rows, 21)
    np.testing.assert_array_equal(cache.gather(good), truth(cache, good))


def test_a_part_that_is_run_again_does_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(make(tmp_path))
    rows = np.arange(COUNT)
    cache.find_missing(rows)
    part = _part(cache, rows, 1)
    cache.ensure(rows[:30], lane=1)
    read: list[int] = []
    images = type(cache.samples.images)
    original = images.read
    monkeypatch.setattr(images, "read", lambda self, row: (read.append(row), original(self, row))[1])
    assert part.run().error is None
    assert read == list(range(30, COUNT))


def test_a_file_that_changed_since_the_driver_looked_is_reported(tmp_path: Path) -> None:
    cache = opened(make(tmp_path))
    rows = np.arange(COUNT)
    cache.find_missing(rows)
    part = _part(cache, rows, 1)
    cv2.imwrite(str(tmp_path / "films" / "healthy" / "04.png"), np.full((24, 24), 9, np.uint8))
    done = part.run()
    assert done.moving == (4,)
    _take(cache, done)
    ray_engine._settle(cache, rows)
    assert (cache.gather([4]) == 9).all()


def test_a_node_that_does_not_share_the_folder_says_so_and_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "_PATIENCE", 0.1)
    cache = opened(make(tmp_path))
    part = _part(cache, np.arange(4), 1)
    for path in cache.store.folder.iterdir():
        path.unlink()
    done = part.run()
    assert done.error is not None
    assert "does not see this cache. Set data.cache to a folder that all nodes" in done.error
    assert list(cache.store.folder.iterdir()) == []
    with pytest.raises(DataError, match="does not see"):
        _take(cache, done)


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"pip install 'osler\[ray\]'"):
        prepare_config(load_config(make(tmp_path)), engine="ray")


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield
    cluster.shutdown()


@pytest.mark.long
# Ray leaves files of its own open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_nodes_prepare_one_set(two_nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = make(tmp_path, bad=(5,))
    found = prepare_config(load_config(values), engine="ray")
    assert (found.made, found.ready, len(found.unreadable)) == (COUNT - 1, COUNT - 1, 1)
    assert "not a PNG" in found.unreadable[0]
    lanes = [path for path in found.folder.glob("index-*.bin") if path.stat().st_size]
    assert len(lanes) == 2  # parts of 16 rows at least
    cache = opened(values)
    good = np.delete(np.arange(COUNT), 25)
    assert len(cache.find_missing(good)) == 0
    np.testing.assert_array_equal(cache.gather(good), truth(cache, good))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    with pytest.raises(DataError, match=r"more than the 0 of 40"):
        prepare_config(load_config(values, ["data.unreadable_limit=0"]), engine="ray")
