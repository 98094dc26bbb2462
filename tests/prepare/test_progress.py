"""The line that shows how far it is: rate, time left, a terminal and a log."""

from __future__ import annotations

import io

from osler.prepare.progress import Meter, duration


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_are_those_of_late() -> None:
    clock = Clock()
    meter = Meter(io.StringIO(), clock)
    for second in range(60):
        clock.now = 100.0 + second
        meter(10 * second if second < 30 else 300 + 100 * (second - 30), 100_000)
    assert 90 < meter.rate <= 101
    assert meter.line(3200, 100_000).startswith("3,200 of 100,000 images · ")
    left = (100_000 - 3200) / meter.rate
    assert meter.line(3200, 100_000).endswith(f"· {duration(left)} left")


def test_nothing_is_claimed_before_it_can_be_told() -> None:
    meter = Meter(io.StringIO(), Clock())
    meter(3, 10)
    assert meter.line(3, 10) == "3 of 10 images"


def test_a_log_gets_a_line_now_and_then_and_the_last() -> None:
    clock, log = Clock(), io.StringIO()
    with Meter(log, clock) as meter:
        for tenth in range(301):
            clock.now = 100 + tenth / 10
            meter(tenth, 300)
    lines = log.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith("300 of 300 images · 10/s")
    assert "\r" not in log.getvalue()
    assert "left" not in lines[-1]


def test_a_terminal_gets_one_line_that_is_cleared() -> None:
    clock, screen = Clock(), Screen()
    with Meter(screen, clock) as meter:
        for tenth in range(101):
            clock.now = 100 + tenth / 10
            meter(tenth, 100)
    said = screen.getvalue()
    assert "\n" not in said
    assert said.endswith("\r")
    assert said.split("\r")[-2].strip() == ""


def test_another_round_begins_a_new_rate() -> None:
    clock = Clock()
    meter = Meter(io.StringIO(), clock)
    meter(50, 100)
    clock.now += 1
    meter(100, 100)
    clock.now += 1
    meter(1, 100)
    assert meter.rate == 0
