"""What an aide takes of its device is known before it has read anything, and left to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipelines.content import Classifier
from pipelines.messages import Begin
from pipelines.models.equipment import BESIDE, bytes_taken
from pipelines.models.residence import Residence
from pipelines.questions import Equip
from pipelines.worker import _own_device
from tests.tiny_writer import writer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer(tmp_path_factory.mktemp("writer"))


@pytest.fixture
def grad_mode() -> Iterator[None]:
    """A worker switches it off for good."""
    yield
    torch.set_grad_enabled(True)


def weights(folder: Path) -> int:
    from transformers import AutoModelForCausalLM

    return int(AutoModelForCausalLM.from_pretrained(folder).num_parameters())


def test_all_of_its_models_in_the_width_of_the_device(folder: Path) -> None:
    one = Equip("cpu", writer=folder)
    assert bytes_taken(one, "cpu") == 4 * weights(folder)
    two = Equip("cuda:0", writer=folder, judges={"it": folder})
    assert bytes_taken(two, "cuda:0") == BESIDE + 2 * 2 * weights(folder)


def test_a_viewer_in_full_width(folder: Path) -> None:
    equip = Equip("cuda:0", viewer=Classifier("it", folder, {}))
    assert bytes_taken(equip, "cuda:0") == BESIDE + 4 * weights(folder)
    assert bytes_taken(equip, "cuda:1") == 0


def test_nothing_of_another_device_or_without_models(folder: Path, tmp_path: Path) -> None:
    assert bytes_taken(Equip("cuda:1", writer=folder), "cuda:0") == 0
    assert bytes_taken(Equip("cuda:0"), "cuda:0") == 0
    assert bytes_taken(Equip("cpu", writer=tmp_path / "nothing"), "cpu") == 0


@pytest.mark.usefixtures("grad_mode")
@pytest.mark.parametrize("address", ["cpu", "auto"])
def test_a_worker_leaves_it_to_the_aide_of_its_device(
    folder: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    aide = Equip(address, writer=folder)
    begin = Begin("cpu", models={}, preload=[], threads=None, aide=aide)
    settled, _ = _own_device(begin)
    assert settled.aside == 4 * weights(folder)
    assert Residence(settled, budget=10**6).budget == 10**6 - settled.aside
    elsewhere = Begin("cpu", models={}, preload=[], threads=None, aide=Equip("cuda:0", folder))
    assert _own_device(elsewhere)[0].aside == 0
