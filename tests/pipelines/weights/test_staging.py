"""A model's place: whatever moment a process is killed at, it holds a whole model or none."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from pipelines.weights.manifest import WeightsError, make_manifest
from pipelines.weights.staging import finish, install, remove, settle, staging
from pipelines.weights.verify import verify

_DIES = """
import os, signal, sys
from pathlib import Path
from pipelines.weights.staging import install, remove

models, deed, deaths = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
seen = 0

def watch(event, arguments):
    global seen
    if event in ("os.rename", "os.remove", "os.rmdir"):
        if seen == deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

sys.addaudithook(watch)
install(models / ".tiny.partial", models / "tiny") if deed == "install" else remove(models, "tiny")
"""


def model(folder: Path, text: str) -> Path:
    """A finished one, of two files."""
    (folder / "unet").mkdir(parents=True)
    for path in ("unet/config.json", "model_index.json"):
        (folder / path).write_text(text)
    finish(folder, make_manifest(folder))
    return folder


def killed(tmp_path: Path, deed: str) -> Iterator[Path]:
    """The folder of models, after that deed was killed before each of its steps."""
    for deaths in count():
        models = tmp_path / str(deaths)
        model(models / "tiny", "old")
        model(models / ".tiny.partial", "new")
        command = [sys.executable, "-c", _DIES, str(models), deed, str(deaths)]
        code = subprocess.run(command).returncode
        assert code in (0, -SIGKILL)
        yield models
        if code == 0:
            assert deaths > 3
            return


def says(models: Path) -> str:
    assert verify(models / "tiny").intact
    return (models / "tiny" / "model_index.json").read_text()


def names(models: Path) -> list[str]:
    return sorted(it.name for it in models.iterdir())


def test_an_installation_that_was_killed_leaves_the_old_model_or_the_new_one(
    tmp_path: Path,
) -> None:
    found = []
    for models in killed(tmp_path, "install"):
        settle(models)
        found.append(says(models))
        assert names(models) == ([".tiny.partial"] if found[-1] == "old" else []) + ["tiny"]
    assert found == sorted(found, reverse=True) and set(found) == {"old", "new"}


def test_the_next_installation_clears_up_after_one_that_was_killed(tmp_path: Path) -> None:
    for models in killed(tmp_path, "install"):
        if not (models / ".tiny.partial").is_dir():
            model(models / ".tiny.partial", "new")
        install(models / ".tiny.partial", models / "tiny")
        assert (says(models), names(models)) == ("new", ["tiny"])


def test_what_was_being_removed_does_not_come_back_in_part(tmp_path: Path) -> None:
    left = []
    for models in killed(tmp_path, "remove"):
        settle(models)
        left.append("tiny" in names(models))
        assert set(names(models)) <= {"tiny", ".tiny.partial"}
        if left[-1]:
            assert says(models) == "old"
            assert remove(models, "tiny") > 0
            assert names(models) == []
    assert left == sorted(left, reverse=True) and True in left and False in left


def test_an_old_model_that_was_half_deleted_does_not_come_back(tmp_path: Path) -> None:
    for models in killed(tmp_path, "install"):
        if (models / "tiny").is_dir() and says(models) == "new":
            shutil.rmtree(models / "tiny")
            settle(models)
            if (models / "tiny").is_dir():
                assert says(models) == "old"


def test_others_need_not_wait_until_an_old_model_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(tmp_path / "tiny", "old")
    model(tmp_path / ".tiny.partial", "new")
    seen = []

    def delete(folder: Path, ignore_errors: bool) -> None:
        handle = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
        seen.append(folder.name)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", delete)
        install(tmp_path / ".tiny.partial", tmp_path / "tiny")
        model(tmp_path / ".tiny.partial", "newer")
        install(tmp_path / ".tiny.partial", tmp_path / "tiny")
    assert len(set(seen)) == 2, "both old ones, of which the first is not gone yet"
    settle(tmp_path)
    assert (says(tmp_path), names(tmp_path)) == ("newer", ["tiny"])


def test_an_installation_that_fails_gives_the_place_back(tmp_path: Path) -> None:
    models = tmp_path / "disk" / "models"
    model(models / "tiny", "old")
    with pytest.raises(OSError, match="Invalid argument"):
        install(tmp_path / "disk", models / "tiny")  # no folder can be moved into itself
    assert (says(models), names(models)) == ("old", ["tiny"])


def test_what_another_process_is_moving_is_left_alone(tmp_path: Path) -> None:
    model(tmp_path / ".tiny.aside", "old")
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    thread = threading.Thread(target=settle, args=(tmp_path,))
    thread.start()
    thread.join(0.2)
    assert (thread.is_alive(), names(tmp_path)) == (True, [".tiny.aside"])
    os.close(handle)
    thread.join(30)
    assert says(tmp_path) == "old"


def test_what_another_process_gathers_is_not_removed(tmp_path: Path) -> None:
    model(tmp_path / "tiny", "old")
    with staging(tmp_path, "tiny") as partial:
        (partial / "half").touch()
        with pytest.raises(WeightsError, match="another darkroom is writing"):
            remove(tmp_path, "tiny")
        assert (says(tmp_path), (partial / "half").is_file()) == ("old", True)


@pytest.mark.parametrize(
    ("before", "comes_anew"), [("os.open", False), ("fcntl.flock", False), ("fcntl.flock", True)]
)
def test_a_folder_that_another_process_just_took_away_is_not_gathered_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, comes_anew: bool
) -> None:
    partial = tmp_path / ".tiny.partial"
    partial.mkdir()
    module, name = before.split(".")
    call = getattr(sys.modules[module], name)

    def taken_away(*arguments: Any) -> Any:
        patch.undo()
        partial.rename(tmp_path / "tiny")
        if comes_anew:
            partial.mkdir()
        return call(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(before, taken_away)
        with pytest.raises(WeightsError, match="another darkroom is writing"):
            with staging(tmp_path, "tiny"):
                pass
    with staging(tmp_path, "tiny") as again:
        assert again.is_dir(), "nothing keeps the lock"


def test_a_folder_that_goes_away_while_it_is_made_is_not_gathered_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, mkdir = tmp_path / ".tiny.partial", os.mkdir
    partial.mkdir()

    def taken_away(*arguments: Any) -> None:
        try:
            mkdir(*arguments)
        except FileExistsError:
            partial.rename(tmp_path / "tiny")
            raise

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", taken_away)
        with pytest.raises(WeightsError, match="another darkroom is writing"):
            with staging(tmp_path, "tiny"):
                pass


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".tiny.partial").touch()
    with pytest.raises(WeightsError, match=".tiny.partial is in the way"):
        with staging(tmp_path, "tiny"):
            pass


def test_nothing_to_settle(tmp_path: Path) -> None:
    settle(tmp_path / "nowhere")
    assert names(tmp_path) == []
    (tmp_path / ".profile").touch()
    (tmp_path / ".tiny.partial").mkdir()
    settle(tmp_path)
    assert names(tmp_path) == [".profile", ".tiny.partial"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    model(tmp_path / ".tiny.aside", "old")
    tmp_path.chmod(0o500)
    try:
        settle(tmp_path)
        assert names(tmp_path) == [".tiny.aside"]
    finally:
        tmp_path.chmod(0o700)
