"""nnU-Net's own logs, both versions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from osler.doctor.chart import Chart

Read = Callable[..., list[Chart]]

SECOND = "This is the configuration used by this training:\n {'batch_size': 12, 'patch_size': [512, 512]}\n" + "".join(
    f"2026-01-0{epoch + 1} 10:00:00.123456: \n2026-01-0{epoch + 1} 10:00:00.123456: Epoch {epoch} \n"
    f"2026-01-0{epoch + 1} 10:00:00.123456: Current learning rate: {0.01 * (1 - epoch / 1000) ** 0.9:.5f} \n"
    f"2026-01-0{epoch + 1} 10:00:00.123456: train_loss {-0.1 * epoch:.4f} \n"
    f"2026-01-0{epoch + 1} 10:00:00.123456: val_loss {-0.05 * epoch:.4f} \n"
    f"2026-01-0{epoch + 1} 10:00:00.123456: Pseudo dice [np.float32(0.{epoch}), nan, 0.5] \n"
    f"2026-01-0{epoch + 1} 10:00:00.123456: Epoch time: 61.5 s \n"
    f"2026-01-0{epoch + 1} 10:00:00.123456: Yayy! New best EMA pseudo Dice: 0.9 \n"
    for epoch in range(3)
)
FIRST = "".join(
    f"\n2020-01-01 10:00:00.1: epoch:  {epoch} \n2020-01-01 10:00:00.1: train loss : {-0.1 * epoch:.4f} \n"
    f"2020-01-01 10:00:00.1: validation loss: {-0.05 * epoch:.4f} \n"
    f"2020-01-01 10:00:00.1: Average global foreground Dice: [0.{epoch}, 0.5] \n"
    "2020-01-01 10:00:00.1: (interpret this as an estimate for the Dice of the different classes. This is not exact.) \n"
    f"2020-01-01 10:00:00.1: lr: {0.01 - epoch / 1000:.5f} \n2020-01-01 10:00:00.1: This epoch took 61.5 s\n"
    for epoch in range(3)
)


@pytest.mark.parametrize("text", [FIRST, SECOND])
def test_both_versions(read: Read, text: str) -> None:
    (chart,) = read(text, "training_log.txt")
    assert chart.reader == "nnunet"
    assert chart.epochs.tolist() == [0.0, 1.0, 2.0]
    assert chart.values("train.loss").tolist() == pytest.approx([0.0, -0.1, -0.2])
    assert chart.values("val.loss").tolist() == pytest.approx([0.0, -0.05, -0.1])
    assert chart.values("val.dice[1]").tolist() == [0.0, 0.1, 0.2]
    assert chart.values("learning_rate")[0] == 0.01
    assert chart.values("seconds.epoch").tolist() == [61.5] * 3
    assert "pseudo Dice" in chart.notes[0]


def test_facts(read: Read) -> None:
    (chart,) = read(SECOND)
    assert chart.facts["training.batch_size"] == 12
    assert chart.facts["training.epochs"] == 1000
    origin = chart.facts.origin("training.epochs")
    assert origin is not None
    assert origin.assumed
    assert chart.nonfinite_epochs("val.dice[2]").tolist() == [0.0, 1.0, 2.0]


def test_a_record_is_no_figure_of_the_epoch(read: Read) -> None:
    """The moving average that is printed where it is the best so far is another figure than the epoch's Dice."""
    (chart,) = read(SECOND)
    assert chart.values("val.dice").tolist() == [0.25, 0.3, 0.35]
    one = SECOND.replace("[np.float32(0.", "[0.").replace("), nan, 0.5]", "]")
    (chart,) = read(one)
    assert chart.values("val.dice").tolist() == [0.0, 0.1, 0.2]


@pytest.mark.parametrize("planned", [50, 250, 300, 1000])
def test_the_rates_tell_the_plan(read: Read, planned: int) -> None:
    text = "".join(
        f"2026-01-01 10:00:00.1: Epoch {epoch} \n"
        f"2026-01-01 10:00:00.1: Current learning rate: {round(0.01 * (1 - epoch / planned) ** 0.9, 5)} \n"
        f"2026-01-01 10:00:00.1: train_loss {-0.01 * epoch:.4f} \n2026-01-01 10:00:00.1: Pseudo dice [0.5] \n"
        for epoch in range(45)
    )
    (chart,) = read(text, "training_log.txt")
    assert chart.facts["training.epochs"] == planned


def test_rates_of_another_schedule_tell_none(read: Read) -> None:
    text = "".join(
        f"2026-01-01 10:00:00.1: Epoch {epoch} \n2026-01-01 10:00:00.1: Current learning rate: {0.01 * 0.5 ** (epoch // 10)} \n"
        f"2026-01-01 10:00:00.1: train_loss {-0.01 * epoch:.4f} \n2026-01-01 10:00:00.1: Pseudo dice [0.5] \n"
        for epoch in range(45)
    )
    (chart,) = read(text, "training_log.txt")
    assert chart.facts["training.epochs"] == 1000
