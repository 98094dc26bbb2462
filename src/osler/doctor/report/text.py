"""Text: a diagnosis for a terminal, plain, no wider than it needs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence

from osler.doctor.findings import Diagnosis, Finding, figure, joined
from osler.doctor.prescribe import yaml_text
from osler.doctor.report.outlook import all_actions, all_changes

__all__ = ["overview_text", "run_text", "verdict_text"]

WIDTH = 100
MOST_EVIDENCE = 8


def verdict_text(diagnosis: Diagnosis) -> str:
    """The verdict in a sentence."""
    if diagnosis.verdict == "refused":
        return f"Refused: {diagnosis.error}"
    if diagnosis.verdict == "healthy":
        alone = diagnosis.chart is not None and not any(name.startswith(("val.", "test.")) for name in diagnosis.chart.series)
        blind = " No figure of validation is logged: how it does there nobody can say." if alone else ""
        return f"Healthy: {len(diagnosis.checked)} faults were looked for and none was found that matters.{blind}"
    if diagnosis.verdict == "undecided":
        return f"Undecided: {diagnosis.reason}."
    counts = Counter(finding.severity for finding in diagnosis.findings)
    return (
        "Findings: "
        + joined([f"{counts[severity]} {severity}" for severity in ("critical", "warning", "note") if counts[severity]])
        + "."
    )


def run_text(diagnosis: Diagnosis) -> str:
    """One run's diagnosis: verdict, findings with evidence and differential, the YAML to change, what was not assessed."""
    lines = [diagnosis.source, f"  {verdict_text(diagnosis)}"]
    for rank, finding in enumerate(diagnosis.findings, 1):
        lines += ["", *_finding_lines(rank, finding)]
    changes = all_changes(diagnosis)
    if changes:
        lines += ["", "  Change:", *(f"    {line}" for line in yaml_text(changes).splitlines())]
    actions = all_actions(diagnosis)
    if actions:
        lines += ["", "  Do:", *_wrapped([f"- {action}" for action in actions], 4)]
    if diagnosis.verdict != "refused" and diagnosis.not_assessed:
        needs = list(dict.fromkeys(each.needs for each in diagnosis.not_assessed))
        lines += [
            "",
            f"  {len(diagnosis.not_assessed)} faults could not be looked for; --json lists what each needs. First of all:",
        ]
        lines += _wrapped([f"- {need}" for need in needs[:4]], 4)
    return "\n".join(lines)


def _finding_lines(rank: int, finding: Finding) -> list[str]:
    signs = finding.signs
    lines = [f"  {rank}. {finding.name}  [{finding.severity}, confidence {signs.confidence:.2f}, {finding.id}]"]
    lines += _wrapped([signs.summary], 5)
    for item in signs.evidence[:MOST_EVIDENCE]:
        lines += _wrapped([f"· {item.text()}"], 7)
    for symptom in finding.symptoms:
        lines += _wrapped([f"with it: {symptom.name.lower()}. {symptom.signs.summary}"], 5)
    still = [each for each in finding.alternatives if each.state == "open"]
    if still:
        lines += _wrapped([f"looks the same: {each.id}; {each.separates}" for each in still], 5)
    lines += _wrapped(
        [f"{change.key}: {figure_of(change.before)} → {figure_of(change.after)}; {change.why}" for change in signs.changes], 5
    )
    lines += _wrapped([f"would harm: {text}" for text in finding.harmful], 5)
    return lines


def figure_of(value: object) -> str:
    """A configured value as text."""
    return (
        figure(float(value))
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else "not set"
        if value is None
        else str(value)
    )


def _wrapped(texts: Sequence[str], indent: int) -> list[str]:
    space = " " * indent
    return [line for text in texts for line in textwrap.wrap(text, WIDTH, initial_indent=space, subsequent_indent=space + "  ")]


def overview_text(runs: Sequence[Diagnosis]) -> str:
    """A line a run, and the counts."""
    lines = []
    for run in runs:
        first = run.findings[0].id if run.flagged else ""
        lines.append(f"{run.verdict:<10} {first:<28} {run.source}")
    counts = Counter(run.verdict for run in runs)
    lines.append(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return "\n".join(lines)
