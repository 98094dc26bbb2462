"""What came of a story."""

from __future__ import annotations

from dataclasses import dataclass

from osler.demo.stories import Story
from osler.doctor.findings import Diagnosis
from osler.evaluate.figures import Evaluation
from osler.evaluate.masks import MaskEvaluation
from osler.runs.folder import RunFolder
from osler.treat import Treatment

__all__ = ["Told"]


@dataclass(frozen=True)
class Told:
    """What came of a story.

    Attributes:
        story: itself.
        sick: the run that learned nothing.
        diagnosis: of it.
        treatment: of it.
        healthy: the run of the proven configuration, on all of train; None where nothing was proved.
        evaluation: of that run.
        after: the diagnosis of that run.
    """

    story: Story
    sick: RunFolder
    diagnosis: Diagnosis
    treatment: Treatment
    healthy: RunFolder | None = None
    evaluation: Evaluation | MaskEvaluation | None = None
    after: Diagnosis | None = None
