"""Models come into memory beside the running lanes, once, and a failure is told and tried again."""

import threading
from pathlib import Path

import pytest

from pipelines.core import ModelUnavailable
from pipelines.pool import Pool


def test_loading_runs_beside_and_once() -> None:
    may_finish, changed, loads = threading.Event(), threading.Event(), []

    def load(model: str) -> str:
        loads.append(model)
        may_finish.wait(5)
        return model.upper()

    pool = Pool(load, changed.set)
    assert pool.get("a") is None
    assert pool.get("a") is None
    assert (pool.loading, pool.resident) == (["a"], [])
    may_finish.set()
    assert changed.wait(5)
    assert pool.get("a") == "A"
    assert (pool.loading, pool.resident, loads) == ([], ["a"], ["a"])


def test_a_failure_is_told_and_the_next_call_tries_again(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    called, changed = threading.Event(), threading.Event()

    def load(model: str) -> str:
        called.wait(5)
        return file.read_text()

    pool = Pool(load, changed.set)
    assert pool.get("a") is None
    called.set()
    assert changed.wait(5)
    with pytest.raises(ModelUnavailable, match="'a' could not be loaded: .*No such file"):
        pool.get("a")
    assert pool.resident == []
    file.write_text("here now")
    changed.clear()
    pool.get("a")
    assert changed.wait(5)
    assert pool.get("a") == "here now"
