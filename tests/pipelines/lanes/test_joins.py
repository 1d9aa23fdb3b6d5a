"""The rows of the table that are not like the others, on the real denoisers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipelines.core import Job
from pipelines.lanes.lanes import Lane
from pipelines.lanes.rendezvous import Call
from pipelines.models.loader import Resident
from tests.tiny_language import WIDTH

JOB = Job(id="1", model="m", prompt="p", width=8, height=8, seed=0, steps=3, guidance_scale=1.0)
Park = Callable[..., Call]


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parked(transformer: Any, arguments: dict[str, Any]) -> Call:
    lane = Lane(JOB, lambda lane: transformer(**arguments), arrived=0.0)
    lane.resume()
    assert lane.parked is not None, lane.failure
    return lane.parked


def z_call(seed: int, *texts: int, height: int = 8) -> dict[str, Any]:
    """A call with as many rows as there are lengths of texts."""
    return {
        "x": [noise(seed + n, 4, 1, height, 8) for n in range(len(texts))],
        "t": torch.tensor([0.1 * (seed + 1)] * len(texts)),
        "cap_feats": [noise(seed + 9 + n, length, WIDTH) for n, length in enumerate(texts)],
        "return_dict": False,
    }


def qwen_call(seed: int, text: int = 5, pictures: int = 1, rows: int = 1) -> dict[str, Any]:
    return {
        "hidden_states": noise(seed, rows, 16 * pictures, 16),
        "encoder_hidden_states": noise(seed + 9, rows, text, WIDTH),
        "encoder_hidden_states_mask": None,
        "timestep": torch.tensor([0.1 * (seed + 1)] * rows),
        "img_shapes": [[(1, 4, 4)] * pictures] * rows,
        "return_dict": False,
    }


def flux2_call(seed: int, start: int = 0) -> dict[str, Any]:
    return {
        "hidden_states": noise(seed, 1, 4, 16),
        "encoder_hidden_states": noise(seed + 9, 1, 5, 3 * WIDTH),
        "timestep": torch.tensor([0.1 * (seed + 1)]),
        "guidance": torch.tensor([float(seed)]),
        "img_ids": torch.arange(start, start + 16.0).view(1, 4, 4),
        "txt_ids": torch.zeros(1, 5, 4),
        "return_dict": False,
    }


def flat(answer: Any) -> list[torch.Tensor]:
    (sample,) = answer
    return list(sample)


@pytest.mark.parametrize(
    ("family", "calls"),
    [
        ("zimage", [z_call(0, 5), z_call(1, 32), z_call(2, 17)]),
        ("zimage", [z_call(0, 5, 40), z_call(3, 50, 31)]),
        ("qwen", [qwen_call(0), qwen_call(1), qwen_call(2)]),
        ("qwen", [qwen_call(0, pictures=2), qwen_call(1, pictures=2)]),
        ("qwen", [qwen_call(0, rows=2), qwen_call(1)]),
        ("flux2", [flux2_call(0), flux2_call(1)]),
    ],
    ids=["z-image", "z-image, guided", "qwen", "qwen, edits", "qwen, rows", "flux.2"],
)
def test_calls_that_fit_are_answered_as_if_alone(
    family: str, calls: list[dict[str, Any]], residents: dict[str, Resident]
) -> None:
    transformer = residents[family].pipe.transformer
    parks = [parked(transformer, arguments) for arguments in calls]
    assert len({park.key for park in parks}) == 1
    merged = parks[0].at.run(parks)
    for arguments, answer in zip(calls, merged, strict=True):
        for row, alone in zip(flat(answer), flat(transformer(**arguments)), strict=True):
            torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "one", "other"),
    [
        ("zimage", z_call(0, 5), z_call(1, 33)),
        ("zimage", z_call(0, 5), z_call(1, 5, 40)),
        ("zimage", z_call(0, 5), z_call(1, 5, height=12)),
        ("qwen", qwen_call(0), qwen_call(1, text=6)),
        ("qwen", qwen_call(0, pictures=2), qwen_call(1) | {"img_shapes": [[(1, 4, 4)] * 2]}),
        ("qwen", qwen_call(0), qwen_call(1) | {"img_shapes": [[(1, 2, 8)]]}),
        ("flux2", flux2_call(0), flux2_call(1, start=2)),
        ("flux2", flux2_call(0), flux2_call(1) | {"guidance": None}),
    ],
)  # fmt: skip
def test_calls_that_do_not_fit_stay_apart(
    family: str, one: dict[str, Any], other: dict[str, Any], residents: dict[str, Resident]
) -> None:
    transformer = residents[family].pipe.transformer
    assert parked(transformer, one).key != parked(transformer, other).key
