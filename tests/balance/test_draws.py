"""The draws that are counted are those that training makes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from osler.balance.draws import take_draws
from osler.config import Config
from osler.data.cache import cache_folder, open_cache
from osler.data.load import load_data
from osler.data.unaugmented import plain_batches
from osler.imaging.preparation import Preparation
from osler.train.machine import Machine, pick_device, ranks
from osler.train.resolve import resolve
from osler.train.setup import build_batches


@pytest.mark.parametrize("sampler", ["none", "balanced"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_are_those_of_a_run_batch_by_batch(tiny: Callable[..., Config], sampler: str, accumulate: int) -> None:
    config = tiny(data={"sampler": sampler}, training={"accumulate": accumulate})
    data = load_data(config.data)
    config = resolve(config, data)
    cache = open_cache(data.source, Preparation(config.preparation), cache_folder(config.data.cache))
    cache.ensure(np.concatenate(list(data.rows.values())))
    machine = Machine(pick_device("cpu", ranks()), "fp32", ranks())
    run = build_batches(config, data, cache, machine).train
    seen = [batch.rows for epoch in range(3) for batch in run.epoch(epoch)]
    draws = take_draws(plain_batches(config, data), config, data, len(seen) - 1)
    counted = np.split(data.rows["train"][draws.samples], draws.starts[1:])
    assert len(counted) == len(seen) - 1
    for mine, theirs in zip(counted, seen, strict=False):
        np.testing.assert_array_equal(mine, theirs)


def test_whole_epochs_without_weights_leave_nothing_to_chance(tiny: Callable[..., Config]) -> None:
    config = tiny()
    data = load_data(config.data)
    loader = plain_batches(config, data)
    assert take_draws(loader, config, data, 2 * len(loader)).effective > 1e9
    some = take_draws(loader, config, data, len(loader) - 1)
    assert len(some) < some.effective < 1e9


def test_draws_with_replacement_count_one_each(tiny: Callable[..., Config]) -> None:
    config = tiny(data={"sampler": "balanced"})
    data = load_data(config.data)
    draws = take_draws(plain_batches(config, data), config, data, 4)
    assert draws.effective == len(draws) == 32
    assert draws.batch_sizes.tolist() == [8, 8, 8, 8]


def test_the_effective_size_is_that_of_draws_without_replacement() -> None:
    from osler.balance.draws import Draws

    rng = np.random.default_rng(0)
    has = np.arange(100) < 30
    shares = [has[rng.permutation(100)[:60]].mean() for _ in range(4000)]
    draws = Draws(np.arange(60), np.array([0]), 100, np.array([60]), 1, weighted=False)
    assert np.var(shares) == pytest.approx(0.3 * 0.7 / draws.effective, rel=0.1)
