from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from osler.errors import ModelError

CALLBACKS = {
    "for_lightning": ("pytorch_lightning", "LightningDoctor", "pytorch-lightning"),
    "for_keras": ("keras.callbacks", "KerasDoctor", "keras"),
    "for_transformers": ("transformers", "TransformersDoctor", "transformers"),
}


@pytest.mark.parametrize("adapter", CALLBACKS)
def test_a_callback_is_imported_without_its_framework_and_names_what_it_lacks(
    adapter: str, over: Callable[..., ModuleType]
) -> None:
    framework, name, package = CALLBACKS[adapter]
    module = over(adapter, framework)
    with pytest.raises(ModelError, match=f"needs the package {package}, .*pip install {package}"):
        getattr(module, name)("runs/mine", "binary")


@pytest.mark.parametrize("adapter", CALLBACKS)
def test_a_callback_is_one_of_its_framework(adapter: str, over: Callable[..., ModuleType]) -> None:
    framework, name, _ = CALLBACKS[adapter]

    class Base:
        pass

    module = over(adapter, framework, Callback=Base, TrainerCallback=Base)
    assert isinstance(getattr(module, name)("runs/mine", "binary"), Base)
