"""The process around an engine, without a process: what it hears, and how it ends."""

import os
import socket
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pipelines import worker
from pipelines.messages import Begin, Hello
from pipelines.registry import Registry
from pipelines.scheduling.pulse import Pulse
from tests.support.devices import DEVICE


class _Exit(BaseException):
    """In the place of the end of the process."""


def test_what_it_cannot_go_on_from_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception alone would have it wait for a thread that loads a model."""

    def fails(self: worker.Worker) -> None:
        raise RuntimeError("the device is lost")

    def ends(code: int) -> None:
        raise _Exit(code)

    monkeypatch.setattr(worker.Worker, "run", fails)
    monkeypatch.setattr(os, "_exit", ends)
    pulse = Pulse()
    ours, theirs = socket.socketpair()
    server = Connection(ours.detach())
    server.send(Begin(DEVICE, {}, [], None))
    with pytest.raises(_Exit, match="1"):
        worker.main(theirs.detach(), os.dup(pulse.descriptor))
    assert server.recv() == Hello(DEVICE, [])
    assert not pulse.resting, "what hangs before its first step is found out, too"


@pytest.mark.parametrize("index", ["", "[]", "3", "null", '{"unet": 3}', '{"unet": [null]}'])
def test_a_broken_model_does_not_keep_it_from_starting(
    index: str, tiny_registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "model_index.json").write_text(index)
    broken = tiny_registry.models["sd"], tmp_path
    _, theirs = socket.socketpair()
    begin = Begin(DEVICE, {"broken": broken}, ["broken"], None)
    it = worker.Worker(Connection(theirs.detach()), begin, Pulse())
    assert it._too_large == []


def test_nor_does_a_broken_companion(tmp_path: Path) -> None:
    header = b'{"a": 3}'
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    _, theirs = socket.socketpair()
    begin = Begin(DEVICE, {}, [], None, matting=tmp_path)
    worker.Worker(Connection(theirs.detach()), begin, Pulse())


def test_a_first_look_at_every_model_of_which_nothing_is_known(tiny_registry: Registry) -> None:
    """And at no other: all of the second one's modules are the first one's."""
    one = tiny_registry.models["sd"], tiny_registry.path("sd")
    ours, theirs = socket.socketpair()
    begin = Begin(DEVICE, {"one": one, "two": one}, ["one", "two"], None)
    it = worker.Worker(Connection(theirs.detach()), begin, Pulse())
    it._probing = True
    looked_at: list[str] = []
    it._engine.submit = lambda job: looked_at.append(job.model)  # type: ignore[method-assign]
    while it._pool.resident != ["one", "two"]:
        it._preload()
        it._engine.step()
        it._say_state()
    assert {*looked_at} == {"one"}
    ours.close()
