"""Which calls may share a pass, on a real Flux transformer called as its pipeline calls it."""

from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel

from pipelines.core import Job
from pipelines.lanes.joins import ALONE, JOINS
from pipelines.lanes.lanes import Lane
from pipelines.lanes.memory import Memory
from pipelines.lanes.rendezvous import Call, Rendezvous

JOB = Job(id="1", model="m", prompt="p", width=8, height=8, seed=0, steps=3, guidance_scale=1.0)


@pytest.fixture(scope="module")
def transformer() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )


@pytest.fixture
def parked(transformer: FluxTransformer2DModel) -> Any:
    """A function that calls the transformer in a lane of its own and returns the parked call."""
    vars(transformer).pop("forward", None)
    meeting = Rendezvous("transformer", transformer, JOINS["FluxTransformer2DModel"], Memory(0))
    lanes = []

    def park(**changes: Any) -> Call:
        lane = Lane(JOB, lambda lane: transformer(**flux_call(**changes)), arrived=0.0)
        lane.resume()
        lanes.append(lane)
        assert lane.parked is not None, lane.failure
        assert lane.parked.at is meeting
        return lane.parked

    return park


def flux_call(seed: int = 0, tokens: int = 4, **changes: Any) -> dict[str, Any]:
    noise = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(1, tokens, 4, generator=noise),
        "encoder_hidden_states": torch.randn(1, 3, 8, generator=noise),
        "pooled_projections": torch.randn(1, 8, generator=noise),
        "timestep": torch.tensor([0.5]),
        "img_ids": torch.arange(tokens * 3.0).view(tokens, 3),
        "txt_ids": torch.zeros(3, 3),
        "joint_attention_kwargs": {},
        "return_dict": False,
    } | changes


def test_calls_that_fit_are_answered_as_if_alone(
    parked: Any, transformer: FluxTransformer2DModel
) -> None:
    calls = [parked(seed=n, timestep=torch.tensor([n / 4])) for n in range(3)]
    assert len({call.key for call in calls}) == 1
    merged = calls[0].at.run(calls)
    for call, (answer,) in zip(calls, merged, strict=True):
        (alone,) = transformer(**call.arguments)
        torch.testing.assert_close(answer, alone, atol=1e-5, rtol=1e-4)


def test_no_keyword_arguments_are_none_or_empty(parked: Any) -> None:
    none, empty = parked(joint_attention_kwargs=None), parked(joint_attention_kwargs={})
    assert none.key == empty.key
    assert len(none.at.run([none, empty])) == 2
    assert len(none.at.run([empty, none])) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 9},
        {"encoder_hidden_states": torch.zeros(1, 4, 8), "txt_ids": torch.zeros(4, 3)},
        {"hidden_states": torch.zeros(1, 4, 4, dtype=torch.bfloat16)},
        {"joint_attention_kwargs": {"scale": 0.5}},
        {"img_ids": torch.ones(4, 3)},
        {"return_dict": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_calls_that_do_not_fit_stay_apart(parked: Any, change: dict[str, Any]) -> None:
    assert parked().key != parked(**change).key


def test_shared_tensors_are_equal_by_value_not_by_identity(parked: Any) -> None:
    assert parked(txt_ids=torch.zeros(3, 3)).key == parked(txt_ids=torch.zeros(3, 3)).key


def test_a_scalar_stands_for_every_row() -> None:
    class Unet(torch.nn.Module):
        def forward(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
            return sample + timestep.view(-1, 1)

    unet = Unet()
    Rendezvous("unet", unet, JOINS["UNet2DConditionModel"], Memory(0))
    lanes = [
        Lane(JOB, lambda lane, t=t: unet(torch.zeros(2, 1), t), arrived=0.0)
        for t in (torch.tensor(3), 5)
    ]
    for lane in lanes:
        lane.resume()
    calls = [lane.parked for lane in lanes]
    assert calls[0].key == calls[1].key
    assert [a.tolist() for a in calls[0].at.run(calls)] == [[[3], [3]], [[5], [5]]]


def test_an_unknown_denoiser_parks_and_is_never_merged() -> None:
    module = torch.nn.Linear(2, 2)
    Rendezvous("module", module, ALONE, Memory(0))
    lanes = [Lane(JOB, lambda lane: module(torch.zeros(1, 2)), arrived=0.0) for _ in range(2)]
    for lane in lanes:
        lane.resume()
    first, second = (lane.parked for lane in lanes)
    assert first.alone
    assert second.alone
    assert first.at.run([first])[0].shape == (1, 2)


def test_a_call_from_no_lane_goes_straight_through(
    parked: Any, transformer: FluxTransformer2DModel
) -> None:
    parked()
    assert transformer(**flux_call())[0].shape == (1, 4, 4)
