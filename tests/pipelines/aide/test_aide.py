"""The aide's process by itself: its one tie is the connection that it was started with."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from pipelines.questions import Answered, Ask, Drop, Equip, Ready, Turn, Unanswered, Write, Written
from tests.tiny_reader import reader
from tests.tiny_writer import writer

GO_ON = (Turn("user", "go on"),)


@contextmanager
def aide(equip: Equip) -> Iterator[tuple[Connection, "subprocess.Popen[bytes]"]]:
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        command = [sys.executable, "-m", "pipelines.aide.aide", str(fd)]
        process = subprocess.Popen(command, pass_fds=[fd])
    connection = Connection(ours.detach())
    try:
        connection.send(equip)
        yield connection, process
    finally:
        process.kill()
        process.wait(60)


def test_it_answers_in_order_and_ends_with_its_server(tmp_path: Path) -> None:
    equip = Equip("cpu", writer=writer(tmp_path, endless=True))
    with aide(equip) as (connection, process):
        connection.send(Ask("late", Write(GO_ON, 1_000_000), 0.0))
        connection.send(Ask("dropped", Write(GO_ON, 1_000_000), 600))
        connection.send(Ask("kept", Write(GO_ON, 2), 600))
        connection.send(Drop("dropped"))
        assert connection.recv() == Ready("writer")
        assert connection.recv() == Unanswered("late", "too late", late=True)
        assert connection.recv() == Unanswered("dropped", "too late", late=True)
        assert connection.recv() == Answered("kept", Written("A large"))
        connection.send(Ask("forever", Write(GO_ON, 1_000_000), 600))
        connection.close()
        assert process.wait(60) == 0


def test_two_models_are_read_one_after_the_other_the_judge_first(tmp_path: Path) -> None:
    judges = {"prompts": reader(tmp_path / "reader")}
    with aide(Equip("cpu", writer=writer(tmp_path / "writer"), judges=judges)) as (connection, _):
        assert connection.recv() == Ready("judge prompts")
        assert connection.recv() == Ready("writer")
