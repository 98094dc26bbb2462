from __future__ import annotations

import pytest

from osler.config import ARCHITECTURES, SEGMENTERS
from osler.models.describe import describe_models


def test_every_name_of_the_configuration_has_a_line_with_its_size() -> None:
    images, masks = (table.splitlines() for table in describe_models().split("\n\n"))
    assert [line.split()[0] for line in images] == ["architecture", *ARCHITECTURES, "timm:NAME"]
    assert [line.split()[0] for line in masks] == ["for", *SEGMENTERS]
    sizes = {line.split()[0]: float(line.split()[1]) for line in (*images[1:-1], *masks[1:])}
    assert sizes["resnet50"] == pytest.approx(23.5)  # 25.6 with its classifier of 1000 classes
    assert sizes["small"] == pytest.approx(0.7)
    assert sizes["compact"] == pytest.approx(0.5)
    assert sizes["unet"] == pytest.approx(5.2)
