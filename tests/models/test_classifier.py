from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from osler.config import ModelConfig
from osler.errors import ModelError
from osler.models.classifier import Classifier, ModelSpec, build_model


def build(architecture: str = "timm:resnet18", classes: int = 2, channels: int = 3, **options: Any) -> Classifier:
    return build_model(ModelConfig(architecture=architecture, **options), ModelSpec("multilabel", classes, channels, 32))


@pytest.fixture
def model() -> Classifier:
    return build()


def learning(model: Classifier) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_normalisation_is_inside_and_bytes_equal_floats(model: Classifier) -> None:
    model.eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    outside = (images / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(model(images), model.head(model.backbone(outside)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(images), model(images.float()))


def test_output_bias_is_set_from_any_floats(model: Classifier) -> None:
    model.set_output_bias(np.array([-2.5, 1.25]))
    assert model.head.output.bias.tolist() == [-2.5, 1.25]
    assert model.head.output.bias.requires_grad


@pytest.mark.parametrize("wrong", [[0.0], [0.0, np.inf], [np.nan, 0.0]])
def test_a_wrong_output_bias_is_our_own_bug(model: Classifier, wrong: list[float]) -> None:
    with pytest.raises(AssertionError):
        model.set_output_bias(wrong)


def test_blocks_are_in_order_of_definition_and_hold_every_parameter_once(model: Classifier) -> None:
    names = [name for name, _ in model.blocks()]
    assert names[:3] == ["conv1", "bn1", "layer1.0.conv1"]
    held = [parameter for _, module in model.blocks() for parameter in module.parameters(recurse=False)]
    assert [id(parameter) for parameter in held] == [id(parameter) for parameter in model.backbone.parameters()]


def test_parameters_that_stand_in_no_leaf_module_are_blocks_too() -> None:
    model = build("timm:convnext_atto")
    scales = {name for name, _ in model.backbone.named_parameters() if name.endswith("gamma")}
    model.train_part("head")
    assert scales
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())


def test_head_alone_then_from_a_name_then_all(model: Classifier) -> None:
    heads = {"head.output.weight", "head.output.bias"}
    model.train_part("head")
    assert learning(model) == heads
    model.train_part("from:layer4")
    assert learning(model) == heads | {name for name in dict(model.named_parameters()) if name.startswith("backbone.layer4.")}
    model.train_part("from:layer4.1.bn2")
    assert learning(model) == heads | {"backbone.layer4.1.bn2.weight", "backbone.layer4.1.bn2.bias"}
    model.train_part("all")
    assert learning(model) == set(dict(model.named_parameters()))


def test_a_number_counts_blocks_from_zero(model: Classifier) -> None:
    model.train_part("from:0")
    assert learning(model) == set(dict(model.named_parameters()))
    number = [name for name, _ in model.blocks()].index("layer3.0.conv1")
    model.train_part(f"from:{number}")
    by_number = learning(model)
    model.train_part("from:layer3")
    assert learning(model) == by_number


@pytest.mark.parametrize("part", ["tail", "from:", "from:1000", "from:layr4", "from:-1"])
def test_an_unknown_part_lists_what_there_is(model: Classifier, part: str) -> None:
    with pytest.raises(ModelError, match=r"Allowed: head; all; from:N with N from 0 to 39; from:NAME.*layer1, layer1.0"):
        model.train_part(part)


def test_a_misspelt_part_gets_the_nearest(model: Classifier) -> None:
    with pytest.raises(ModelError, match="Did you mean 'from:layer4'"):
        model.train_part("from:layr4")


def frozen_norms(model: Classifier) -> dict[str, bool]:
    return {name: module.training for name, module in model.blocks() if isinstance(module, nn.BatchNorm2d)}


def test_batchnorm_of_frozen_layers_stays_in_evaluation_after_a_later_train(model: Classifier) -> None:
    model.train_part("from:layer3")
    model.eval()
    model.train()
    for name, training in frozen_norms(model).items():
        assert training == name.startswith(("layer3", "layer4")), name
    before = model.backbone.bn1.running_mean.clone()
    model(torch.randint(0, 256, (4, 3, 32, 32)))
    assert torch.equal(model.backbone.bn1.running_mean, before)
    assert int(model.backbone.layer3[0].bn1.num_batches_tracked) == 1
    model.train_part("all")
    assert all(frozen_norms(model).values())


def test_batchnorm_of_frozen_layers_goes_on_where_the_configuration_says_so() -> None:
    model = build(frozen_norm="train")
    model.train_part("head")
    model.train()
    assert all(frozen_norms(model).values())


def test_eval_is_eval_and_a_copy_keeps_what_is_frozen(model: Classifier) -> None:
    model.train_part("head")
    twin = copy.deepcopy(model).train()
    assert not any(frozen_norms(twin).values())
    model.train_part("all")
    assert not any(module.training for module in model.eval().modules())


def test_frozen_layers_get_no_gradient_and_do_not_move(model: Classifier) -> None:
    model.train_part("from:layer4")
    before = model.backbone.layer3[0].conv1.weight.clone()
    optimiser = torch.optim.SGD(model.parameter_groups(0.1), lr=0.1)
    model(torch.randint(0, 256, (4, 3, 32, 32))).sum().backward()
    optimiser.step()
    assert model.backbone.layer3[0].conv1.weight.grad is None
    assert torch.equal(model.backbone.layer3[0].conv1.weight, before)


def test_biases_and_norms_have_no_weight_decay(model: Classifier) -> None:
    decayed, plain = model.parameter_groups(1e-2)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert decayed["weight_decay"] == 1e-2
    assert plain["weight_decay"] == 0.0
    assert {names[id(parameter)].rpartition(".")[2] for parameter in decayed["params"]} == {"weight"}
    assert all("bn" in names[id(p)] or "downsample.1" in names[id(p)] or names[id(p)].endswith("bias") for p in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_position_tables_have_no_weight_decay_and_frozen_layers_no_group() -> None:
    model = build("timm:vit_tiny_patch16_224")
    _, plain = model.parameter_groups(1e-2)
    assert any(parameter is model.backbone.pos_embed for parameter in plain["params"])
    model.train_part("head")
    assert sum(len(group["params"]) for group in model.parameter_groups(1e-2)) == 2


def test_embedded_weights_ask_for_their_own_architecture() -> None:
    with pytest.raises(ModelError, match=r"those of efficientnet_lite0, and model.architecture is 'resnet50'"):
        build("resnet50", pretrained="embedded")


def test_the_same_seed_builds_the_same_model() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(7)
        models.append(build("small", channels=1))
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
