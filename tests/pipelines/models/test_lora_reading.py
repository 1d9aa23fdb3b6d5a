"""Reading beside the lanes: once, elsewhere, and what comes of it is told where it is asked for."""

import threading
import time
from collections.abc import Callable

import pytest

from pipelines.models.lora_reading import Reader


def test_it_is_read_once_in_a_thread_that_says_so() -> None:
    told, began, go_on = threading.Event(), threading.Event(), threading.Event()
    threads: list[int] = []

    def read() -> None:
        threads.append(threading.get_ident())
        began.set()
        go_on.wait(60)

    reader = Reader(told.set)
    assert not reader.has_read("a", read)
    assert began.wait(60)
    assert not reader.has_read("a", read), "it does not wait for it"
    assert not told.is_set()
    go_on.set()
    assert told.wait(60)
    assert reader.has_read("a", read)
    assert len(threads) == 1 and threads != [threading.get_ident()]
    assert reader.take("a")
    assert not reader.take("a")


def ended(reader: Reader, read: Callable[[], None]) -> bool:
    for _ in range(10_000):
        if reader.has_read("a", read):
            return True
        time.sleep(0.001)
    return False


def test_an_error_is_told_once_and_then_it_is_read_again() -> None:
    attempts: list[int] = []

    def read() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("the disk is gone")

    reader = Reader(lambda: None)
    with pytest.raises(OSError, match="the disk is gone"):
        ended(reader, read)
    assert ended(reader, read)
    assert len(attempts) == 2
