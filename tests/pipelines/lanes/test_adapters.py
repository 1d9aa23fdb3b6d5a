"""What a module wears, on a small one that peft wraps."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from pipelines.lanes import adapters


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
        self.peft_config: dict[str, LoraConfig] = {}
        self._hf_peft_config_loaded = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu())


X = torch.linspace(-1, 1, 8)


@pytest.fixture
def module() -> Module:
    torch.manual_seed(0)
    module = Module()
    for name, layer in (("a", "first"), ("b", "second"), ("c", "first")):
        config = LoraConfig(r=2, target_modules=[layer], init_lora_weights=False)
        inject_adapter_in_model(config, module, adapter_name=name)
    adapters.changed(module)
    return module


def plain(module: Module) -> torch.Tensor:
    first, second = (getattr(it, "base_layer", it) for it in (module.first, module.second))
    return second(first(X).relu())


def worn(module: Module, *wanted: tuple[str, float]) -> torch.Tensor:
    adapters.wear(module, wanted)
    return module(X)


def test_nothing_is_the_plain_module_to_the_bit(module: Module) -> None:
    assert torch.equal(worn(module), plain(module))
    assert not torch.equal(worn(module, ("a", 1.0)), plain(module))
    assert torch.equal(worn(module), plain(module))


def test_exactly_those_and_at_their_scales(module: Module) -> None:
    alone = worn(module, ("a", 1.0))
    for other in ((("b", 1.0),), (("a", 0.5),), (("a", 1.0), ("c", 1.0)), (("a", 1.0), ("b", 2.0))):
        assert not torch.equal(worn(module, *other), alone)
        assert torch.equal(worn(module, ("a", 1.0)), alone)


def test_what_was_put_on_by_half_is_taken_off(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = worn(module)
    with monkeypatch.context() as patched:
        patched.setattr(module.second, "set_scale", None)
        with pytest.raises(TypeError):
            worn(module, ("a", 1.0))
    assert torch.equal(worn(module), plainly)


def test_those_that_have_weights_for_a_module(module: Module) -> None:
    wanted = (("a", 1.0), ("elsewhere", 1.0), ("c", 0.5))
    assert adapters.of(module, wanted) == (("a", 1.0), ("c", 0.5))
    assert adapters.of(torch.nn.Linear(1, 1), wanted) == ()


def test_removing(module: Module) -> None:
    alone, bare = worn(module, ("a", 1.0)), plain(module)
    adapters.remove([module], "c")
    assert torch.equal(worn(module, ("a", 1.0)), alone)
    for name in ("a", "b"):
        adapters.remove([module], name)
    assert type(module.first) is type(module.second) is torch.nn.Linear
    assert torch.equal(worn(module), bare)
    adapters.remove([module], "never there")
