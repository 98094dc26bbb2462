"""What a treatment came to: `Treatment`, its JSON (schema osler.treatment/1), and the configuration that it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from osler.config import config_to_yaml
from osler.files import strict_json, write_json, write_text
from osler.treat.cures import Cure
from osler.treat.found import Found, Outcome
from osler.treat.page import treatment_page
from osler.treat.proof import Proof, Verdict
from osler.treat.record import Attempt
from osler.treat.text import treatment_text

__all__ = ["SCHEMA", "Treatment", "overall"]

SCHEMA = "osler.treatment/1"


class Treatment(Found):
    """What was found of a run, done about it, and proved; see `Found` for its parts."""

    def text(self) -> str:
        """For a terminal."""
        return treatment_text(self)

    def data(self) -> dict[str, Any]:
        """Strict JSON, schema `osler.treatment/1`; what is undefined is null, with its reason."""
        plan, record = self.plan, self.record
        found = {
            "schema": SCHEMA,
            "run": str(self.run.path),
            "outcome": self.outcome,
            "reason": self.reason,
            "ended": record.why_ended,
            "diagnosis": {"verdict": self.diagnosis.verdict, "findings": [finding.id for finding in self.diagnosis.findings]},
            "plan": {
                "patch": None if plan.patch is None else plan.patch.to_json(),
                "measure": plan.measure,
                "refused": [*dict.fromkeys((*plan.refused, *record.refused))],
                "budget": plan.budget.to_json(),
                "trial": vars(record.trial),
                "proving": plan.proving.to_json(),
                "seconds_an_arm": plan.seconds,
                "notes": list(plan.notes),
            },
            "cures": [cure.to_json() for cure in self.cures],
            "attempts": [self._attempt(number) for number in range(len(record.attempts))],
            "arms": [arm.to_json() for group in record.groups.values() for arm in group.arms],
            "seconds": record.spent,
            "test": record.test,
            "treated_config": str(self.folder.treated) if self.winner is not None else None,
        }
        return cast(dict[str, Any], strict_json(found))

    def _attempt(self, place: int) -> dict[str, Any]:
        attempt = self.record.attempts[place]
        proof = self.proofs[place] if place < len(self.proofs) else None
        before = self.before[place] if place < len(self.before) else None
        return {
            "number": attempt.number,
            "patch": attempt.patch.to_json(),
            "onto": attempt.onto,
            "measure": attempt.measure,
            "group": attempt.group,
            "ended": attempt.ended,
            "proof": None if proof is None else proof.to_json(),
            "as_it_was": None if before is None else before.to_json(),
        }

    def json_text(self) -> str:
        """The same as a text of JSON."""
        return json.dumps(self.data(), indent=1, ensure_ascii=False, allow_nan=False)

    def write(self) -> Path:
        """Writes treatment.json, report.html, report.md and, where something was proved, treated.yaml; where the page is."""
        folder = self.folder
        folder.make()
        page = treatment_page(self)
        write_json(folder.path / "treatment.json", self.data())
        write_text(folder.page, page.html())
        write_text(folder.path / "report.md", page.markdown())
        config = self.treated_config
        if config is not None:
            write_text(folder.treated, self.history() + config_to_yaml(config))
        return folder.page

    def history(self) -> str:
        """What was tried and what came of it, as comments of YAML."""
        trial = self.record.trial
        lines = [f"Treated from {self.run.path.name}. Proved on {self.plan.proving.prove} samples of val that chose nothing,"]
        how = f"{100 * trial.train:.0f} % of train, {100 * trial.epochs:.0f} % of the epochs, {trial.seeds} seed"
        lines.append(f"with {how}{'s' if trial.seeds != 1 else ''}; here are all of both.")
        for attempt, proof in zip(self.record.attempts, self.proofs, strict=False):
            lines.append(f"{attempt.number}. {attempt.patch.name} ({attempt.patch.finding}), over {attempt.onto}:")
            lines += [f"   {edit.key}: {edit.before} -> {edit.after} ({edit.why})" for edit in attempt.patch.edits]
            lines.append(f"   {attempt.ended or 'no comparison'}" if proof is None else f"   {proof.verdict}. {proof.reason}")
        return "".join(f"# {' '.join(line.split()) if not line.startswith('   ') else line}\n" for line in lines)


def overall(treatment_proofs: tuple[Proof | None, ...], winner: Attempt | None, cures: tuple[Cure, ...]) -> tuple[Outcome, str]:
    """What all attempts together come to, and why.

    Args:
        treatment_proofs: of every attempt.
        winner: the best proven.
        cures: without training.
    """
    known = [proof for proof in treatment_proofs if proof is not None]
    if winner is not None:
        proof = treatment_proofs[winner.number - 1]
        assert proof is not None, "a proven attempt has a proof"
        return "helped", proof.reason
    if known:
        verdicts: set[Verdict] = {proof.verdict for proof in known}
        verdict: Verdict = known[-1].verdict if len(verdicts) > 1 else next(iter(verdicts))
        return ("not shown" if verdict == "harmed" and len(verdicts) > 1 else verdict), known[-1].reason
    helped = [cure for cure in cures if cure.verdict == "helped"]
    if helped:
        return "cured without training", helped[0].done
    return "nothing to treat", ""
