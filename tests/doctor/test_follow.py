"""A run under way: what is said once, and what is said again."""

from __future__ import annotations

from dataclasses import replace

from osler.doctor.facts import Facts
from osler.doctor.findings import Diagnosis, Finding, Severity, Signs
from osler.doctor.follow import FollowUp


def diagnosis(**found: Severity) -> Diagnosis:
    findings = tuple(Finding(id, id, "any", Signs("seen", (), severity, 0.9)) for id, severity in found.items())
    return Diagnosis("run", "osler", "findings", findings)


def ids(findings: list[Finding]) -> list[str]:
    return [finding.id for finding in findings]


def test_a_finding_is_news_once_and_again_if_it_worsens() -> None:
    run = FollowUp("run")
    assert ids(run.news(diagnosis(a="warning", b="note"))) == ["a"]
    assert ids(run.news(diagnosis(a="warning", b="warning"))) == ["b"]
    assert ids(run.news(diagnosis(a="critical", b="note"))) == ["a"]
    assert ids(run.news(diagnosis())) == []
    assert ids(run.news(diagnosis(a="critical", b="warning"))) == []


def test_a_symptom_that_is_graver_counts() -> None:
    run = FollowUp("run")
    (mild,) = diagnosis(a="note").findings
    (grave,) = diagnosis(b="critical").findings
    found = Diagnosis("run", "osler", "findings", (replace(mild, symptoms=(grave,)),))
    assert ids(run.news(found)) == ["a"]


def test_epochs_before_are_gone_on_from() -> None:
    lines = [{"epoch": number, "train": {"loss": {"value": 1.0 / number}}} for number in range(1, 8)]
    one, other = FollowUp("run", lines[:5]), FollowUp("run")
    for line in lines[5:]:
        one.add(line)
    for line in lines:
        other.add(line)
    charts = [each.diagnosis(Facts()).chart for each in (one, other)]
    assert charts[0] is not None
    assert charts[1] is not None
    assert charts[0].to_json() == charts[1].to_json()
    assert charts[0].epochs.tolist() == [1, 2, 3, 4, 5, 6, 7]
