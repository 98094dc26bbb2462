"""Two counts of epochs in one console log."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from osler.doctor.chart import Chart
from osler.doctor.readers.console import NESTED
from osler.doctor.readers.nested import MOST_COUNTS, Mention, numbered_through

Read = Callable[..., list[Chart]]


def rounds(first: int, count: int, each: int, *, again: bool) -> str:
    """A log of `count` rounds of `each` epochs, which begin `again` in each round or go on."""
    lines, loss = [], 1.0
    for number in range(first, first + count):
        lines += [f"Epoch: {number}/90 | [Learning the patterns]", f"Learning rate: {0.01 / (number + 1):.6f}"]
        for epoch in range(1, each + 1):
            shown = epoch if again else epoch + (number - first) * each
            loss *= 0.9
            lines += [f"Epoch {shown}/{each}", f"9/9 [=====] - 4s - loss: {loss:.4f} - val_loss: {loss + 0.1:.4f}"]
        lines += [f"|Epoch [{number}] END|"]
    return "\n".join(lines)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("first", [0, 1])
def test_epochs_are_numbered_on_through_the_rounds(read: Read, again: bool, first: int) -> None:
    (chart,) = read(rounds(first, 3, 4, again=again).encode(), "log.txt")
    assert chart.epochs.tolist() == list(range(1, 13))
    assert chart.values("train.loss") == pytest.approx([0.9**epoch for epoch in range(1, 13)], abs=1e-4)
    assert np.all(np.diff(chart.values("val.loss")) < 0)
    assert NESTED in chart.notes
    assert chart.facts.get("training.epochs") is None  # neither 90 nor 4 are the planned epochs


def test_a_rate_set_for_a_round_stands_at_its_first_epoch(read: Read) -> None:
    text = "\n".join(
        f"Epoch: {number}\nlr to 0.0{number} set, weight decay 0\n"
        + "\n".join(f"Epoch {epoch}/2 loss: 0.{8 - number}" for epoch in (1, 2))
        for number in (1, 2, 3)
    )
    rates = read(text.encode(), "log.txt")[0].values("learning_rate")
    assert rates[[0, 2, 4]].tolist() == [0.01, 0.02, 0.03]
    assert np.isnan(rates[[1, 3, 5]]).all()


def count(*mentions: tuple[str, int]) -> list[float] | None:
    """The epochs of one row of figures behind each mention."""
    through = numbered_through([Mention(words, epoch, row) for row, (words, epoch) in enumerate(mentions)], len(mentions))
    return None if through is None else through.tolist()


@pytest.mark.parametrize(
    "mentions",
    [
        [("epoch", 1), ("epoch", 2), ("epoch", 1), ("epoch", 2)],  # one count that starts again: runs or folds
        [("train epoch", 1), ("val epoch", 1), ("train epoch", 2), ("val epoch", 2)],  # two that go together
        [("train epoch", 1), ("train epoch", 2), ("val epoch", 2), ("train epoch", 3), ("train epoch", 4), ("val epoch", 4)],
        [("epoch", 1), ("epoch", 2), ("epoch", 3), ("saved", 1), ("epoch", 4), ("saved", 5), ("epoch", 5)],  # behind, not before
        [("fold", 2), ("epoch", 1), ("epoch", 2), ("fold", 1), ("epoch", 1), ("epoch", 2)],  # the outer count falls
        [
            ("outer", 1),
            ("epoch", 1),
            ("epoch", 2),
            ("epoch", 1),
            ("outer", 2),
            ("epoch", 1),
            ("epoch", 2),
        ],  # starts within a round
    ],
)
def test_other_counts_are_left_alone(mentions: list[tuple[str, int]]) -> None:
    assert count(*mentions) is None


def test_epochs_from_zero_and_rows_at_the_head_of_a_round() -> None:
    mentions = [
        ("outer", 5),
        ("epoch", 0),
        ("epoch", 1),
        ("outer", 6),
        ("epoch", 0),
        ("epoch", 1),
        ("outer", 7),
        ("epoch", 0),
        ("epoch", 1),
    ]
    assert count(*mentions) == pytest.approx([np.nan, 0, 1, np.nan, 2, 3, np.nan, 4, 5], nan_ok=True)


def test_words_that_always_differ_count_nothing() -> None:
    nested = [("outer", 1), ("epoch", 1), ("epoch", 2), ("outer", 2), ("epoch", 1), ("epoch", 2)]
    assert count(*nested) is not None
    assert count(*nested, *((f"file-{number}", number) for number in range(MOST_COUNTS))) is None
