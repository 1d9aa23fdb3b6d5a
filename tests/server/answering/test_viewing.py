"""Pictures that are looked at: decoded as those of edits are, and no larger than they need be."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.questions import Seen
from server.answering.viewing import LONGEST_SIDE, view
from server.errors import InvalidImageFile, InvalidValue
from server.reading.references import Reference, Url
from server.reading.spool import Scratch
from tests.server.pictures import file_of, left_half_clear, noise, upload, with_alpha


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Any]:
    with ThreadPoolExecutor(1) as threads, ThreadPoolExecutor(1) as one:
        config = SimpleNamespace(allow_image_urls=False)
        scratch = Scratch(tmp_path, threads)
        yield SimpleNamespace(
            threads=threads, viewing=one, config=config, scratch=scratch, files=None
        )


def seen(services: Any, *references: Reference) -> list[Seen]:
    with ExitStack() as opened:
        return asyncio.run(view(references, opened, services, "alice"))


def test_a_small_picture_is_seen_as_it_is(services: Any) -> None:
    rgb = noise(96, 64)
    (it,) = seen(services, upload(file_of(rgb)))
    assert it == Seen(96, 64, rgb.tobytes())


@pytest.mark.parametrize("size", [(3000, 1500), (1500, 3000), (8000, 3)])
def test_a_large_one_is_made_smaller_as_a_whole(services: Any, size: tuple[int, int]) -> None:
    rgb = np.zeros((size[1], size[0], 3), np.uint8)
    rgb[:, : size[0] // 2] = 255, 0, 0
    (it,) = seen(services, upload(file_of(rgb)))
    assert max(it.width, it.height) == LONGEST_SIDE
    assert (it.width / it.height == size[0] / size[1]) or it.height == 1
    pixels = np.frombuffer(it.pixels, np.uint8).reshape(it.height, it.width, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0] and pixels[0, -1].tolist() == [0, 0, 0]


def test_what_cannot_be_seen_does_not_count(services: Any) -> None:
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[:, :48] = 255, 0, 0
    (it,) = seen(services, upload(file_of(with_alpha(rgb, left_half_clear()))))
    pixels = np.frombuffer(it.pixels, np.uint8).reshape(64, 96, 3)
    assert (pixels[:, :48] == 255).all() and (pixels[:, 48:] == 0).all()


def test_what_is_no_picture_is_refused(services: Any) -> None:
    with pytest.raises(InvalidImageFile):
        seen(services, upload(b"nonsense", "input[0].image_url.url", declared=None))
    with pytest.raises(InvalidValue, match="does not fetch images"):
        seen(services, Url("https://example.org/a.png", "input[0].image_url.url"))
