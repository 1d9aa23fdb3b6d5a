"""Models beside the others: read once, and what is wrong with them is told to who asks."""

import gc
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.content import Classifier
from pipelines.core import ModelUnavailable
from pipelines.models import companions
from pipelines.models.companions import Companion
from pipelines.models.inspection import Inspector
from pipelines.models.matting import Matting
from tests.tiny_judges import RED, redness
from tests.tiny_matting import segmentation

PIXELS = torch.rand(3, 40, 56)


def matting(folder: Path) -> Companion:
    return Matting(folder, "cpu")


def inspector(folder: Path) -> Companion:
    return Inspector(Classifier("it", folder, {RED: "violence"}), "cpu")


Kind = Callable[[Path], Companion]
Build = Callable[[Path], Path]
KINDS = [(matting, segmentation), (inspector, redness)]


@pytest.mark.parametrize(("kind", "build"), KINDS)
def test_it_is_read_once(
    kind: Kind, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read = companions.read_checkpoint

    def counted(model: object, helper: object, folder: Path, *more: object) -> object:
        reads.append(folder)
        return read(model, helper, folder, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(companions, "read_checkpoint", counted)
    it = kind(build(tmp_path / "it"))
    assert it.size > 0 and reads == []
    it.prepare()
    it.prepare()
    first, second = (it.look(PIXELS) for _ in range(2))
    assert reads == [tmp_path / "it"] and first[1] == second[1] != []


@pytest.mark.parametrize(("kind", "build"), KINDS)
def test_what_is_wrong_is_told_by_its_key(
    kind: Kind, build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    it = kind(tmp_path / "gone")
    with caplog.at_level(logging.ERROR):
        it.prepare()
    assert it.size == 0
    assert f"{it.key}: {tmp_path / 'gone'} could not be loaded" in caplog.text
    with pytest.raises(ModelUnavailable, match=it.key):
        it.look(PIXELS)


@pytest.mark.parametrize(("kind", "build"), KINDS)
def test_code_and_pickles_are_refused(kind: Kind, build: Build, tmp_path: Path) -> None:
    it = kind(build(tmp_path / "it"))
    config = tmp_path / "it" / "config.json"
    config.write_text(config.read_text().replace("{", '{"auto_map": {"AutoConfig": "m.C"},', 1))
    with pytest.raises(ModelUnavailable, match="asks for code"):
        it.look(PIXELS)


def test_nothing_stays_of_what_was_read_in_vain(tmp_path: Path) -> None:
    def there() -> int:
        gc.collect()
        return sum(type(it).__name__ == "SegformerDecodeHead" for it in gc.get_objects())

    it = matting(segmentation(tmp_path / "it", labels=["cat", "dog"]))
    before = there()
    it.prepare()
    assert isinstance(it._parts, ValueError)
    assert there() == before
