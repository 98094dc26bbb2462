"""The segmentation task's own parts: stages of the loss, probabilities, counts and means, against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from osler.config import LossConfig
from osler.data.batches import Batch
from osler.data.samples import IGNORED
from osler.losses import LossTerms
from osler.metrics.cases import CaseTable
from osler.metrics.mask_loss import MaskCounts, resolve_mask_loss
from osler.tasks.mask_outputs import CaseOutputs, CountOutputs, mask_probabilities, pixel_counts
from osler.tasks.segmentation import StagedLoss, stages


def batch_of(masks: torch.Tensor) -> Batch:
    rows = np.arange(len(masks))
    return Batch(torch.zeros(len(masks), 1, *masks.shape[2:]), torch.zeros(len(masks), 1), rows, rows, 0, masks)


def test_exclusive_probabilities_leave_room_for_the_background() -> None:
    logits = torch.tensor([2.0, 3.0]).log().reshape(1, 2, 1, 1)
    assert mask_probabilities(logits, exclusive=True).flatten().tolist() == pytest.approx([2 / 6, 3 / 6])
    assert mask_probabilities(logits, exclusive=False).flatten().tolist() == pytest.approx([2 / 3, 3 / 4])
    assert mask_probabilities(logits[:, :1], exclusive=True).item() == pytest.approx(2 / 3)


def test_counts_leave_ignored_pixels_out() -> None:
    masks = torch.tensor([[[[1, 1, 0, 0, IGNORED, IGNORED]]]], dtype=torch.uint8)
    logits = torch.tensor([[[[9.0, -9.0, 9.0, -9.0, 9.0, -9.0]]]])
    outputs = CountOutputs(exclusive=True)
    outputs.add(logits, batch_of(masks), LossTerms(torch.ones(1), torch.ones(1), {"dice": torch.tensor(0.25)}))
    arrays = outputs.gathered()
    counts = pixel_counts(arrays)
    assert counts.counts.tolist() == [[[1, 1, 1, 1]]]
    assert counts.probabilities[0, 0] == pytest.approx(2.0, abs=1e-3)
    assert arrays["part.dice"].tolist() == [0.25]
    again = CountOutputs(exclusive=True)
    again.load(outputs.state(), torch.device("cpu"))
    assert all(np.array_equal(again.arrays()[name], array) for name, array in arrays.items())


def test_cases_keep_the_order_however_many_wait() -> None:
    masks = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
    masks[1:, 0, 2:5, 2:5] = 1
    logits = torch.where(masks == 1, 4.0, -4.0)
    logits[2] = -4.0
    outputs = CaseOutputs(True, np.array([128], np.uint8), lambda row: None)
    outputs.add(logits, batch_of(masks), LossTerms(torch.ones(40), torch.ones(40)))
    table = CaseTable.of(outputs.gathered()["cases"].tolist(), [128])
    assert table.at_thresholds.counts[:4, 0, 0].tolist() == [0, 9, 0, 9]
    assert table.lesions is not None
    assert table.lesions[:3, [0, 3]].tolist() == [[1, 9], [2, 0], [3, 9]]


def test_stages_take_turns_at_their_epochs() -> None:
    config = LossConfig.model_validate(
        {"schedule": [{"type": "dice", "epochs": 2}, {"type": "bce", "epochs": 1}, {"type": "combined"}]}
    )
    counts = MaskCounts(True, np.array([[0.1]]), np.array([100.0]))
    loss = StagedLoss([(resolve_mask_loss(config, counts, name), epochs) for name, epochs in stages(config)])
    kinds = []
    for epoch in range(1, 6):
        loss.begin_epoch(epoch)
        kinds.append(loss.spec.type)
    assert kinds == ["dice", "dice", "bce", "combined", "combined"]
    masks = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    assert set(loss([torch.zeros(1, 1, 4, 4)], masks).parts or {}) == {"bce", "dice", "focal"}
