from __future__ import annotations

import pytest
import torch
from torch import nn

from osler.models.heads import Head


def test_plain_head_is_dropout_and_a_dense_layer() -> None:
    head = Head(8, 3, dropout=0.2).eval()
    features = torch.randn(4, 8)
    torch.testing.assert_close(head(features), features @ head.output.weight.T + head.output.bias)
    assert [layer.p for layer in head.layers if isinstance(layer, nn.Dropout)] == [0.2]


def test_the_gate_multiplies_features_by_a_sigmoid_of_themselves() -> None:
    head = Head(6, 2, attention=True).eval()
    assert head.gate is not None
    features = torch.randn(5, 6)
    gated = features / (1 + torch.exp(-(features @ head.gate.weight.T + head.gate.bias)))
    torch.testing.assert_close(head(features), gated @ head.output.weight.T + head.output.bias)


def test_the_pneumonia_head_of_the_records_can_be_built() -> None:
    """Attention → 512 → BN → dropout 0.5 → 256 → dropout 0.3 → 128 → dropout 0.2 → 1."""
    head = Head(2048, 1, hidden=(512, 256, 128), attention=True, dropout=(0.5, 0.3, 0.2))
    assert [type(layer).__name__ for layer in head.layers] == [
        *("Linear", "BatchNorm1d", "ReLU", "Dropout"),
        *("Linear", "ReLU", "Dropout"),
        *("Linear", "ReLU", "Dropout"),
    ]
    assert [layer.out_features for layer in head.layers if isinstance(layer, nn.Linear)] == [512, 256, 128]
    assert [layer.p for layer in head.layers if isinstance(layer, nn.Dropout)] == [0.5, 0.3, 0.2]
    assert head(torch.randn(2, 2048)).shape == (2, 1)


@pytest.mark.parametrize("hidden", [(), (64, 32)])
def test_first_logits_stay_near_the_bias_for_features_of_unit_size(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = Head(1280, 14, hidden=hidden, dropout=0.2)
    with torch.no_grad():
        head.output.bias.fill_(-2.0)
        logits = head(torch.randn(64, 1280))
    assert (logits + 2).abs().max() < 0.06
    assert (logits + 2).abs().max() > 0, "weights of zero would let no gradient through"
