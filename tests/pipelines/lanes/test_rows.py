"""Joining and splitting, on the shapes that diffusers and transformers really pass."""

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from pipelines.lanes.rows import (
    copy_of,
    is_nothing,
    kind_of,
    kind_of_list,
    merge,
    merge_lists,
    size_of,
    split,
)


def sdxl_call(rows: int, value: float) -> dict[str, object]:
    return {
        "sample": torch.full((rows, 4, 8, 8), value),
        "added": {"text_embeds": torch.full((rows, 5), value), "time_ids": torch.ones(rows, 6)},
        "features": [torch.full((rows, 2), value), torch.full((rows, 3), value)],
        "return_dict": False,
    }


def test_what_was_merged_comes_apart_again() -> None:
    calls = [sdxl_call(2, 0.5), sdxl_call(1, 1.5), sdxl_call(3, 2.5)]
    merged = merge(calls)
    assert merged["sample"].shape == (6, 4, 8, 8)
    assert merged["added"]["text_embeds"].shape == (6, 5)
    for call, part in zip(calls, split(merged, [2, 1, 3]), strict=True):
        assert torch.equal(part["sample"], call["sample"])
        assert torch.equal(part["added"]["text_embeds"], call["added"]["text_embeds"])
        assert torch.equal(part["features"][1], call["features"][1])


def test_model_outputs_keep_their_class_and_their_holes() -> None:
    answer = BaseModelOutputWithPooling(
        last_hidden_state=torch.arange(6.0).view(3, 2),
        pooler_output=torch.arange(3.0).view(3, 1),
        hidden_states=(torch.zeros(3, 1), torch.ones(3, 1)),
    )
    first, second = split(answer, [1, 2])
    assert isinstance(second, BaseModelOutputWithPooling)
    assert second[0].tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert second.hidden_states[-1].shape == (2, 1)
    assert first.attentions is None


def test_kind_tells_apart_what_must_not_be_joined() -> None:
    base = kind_of(torch.zeros(2, 4, 8, 8), 2)
    assert base == kind_of(torch.zeros(3, 4, 8, 8), 3)
    assert base != kind_of(torch.zeros(2, 4, 8, 16), 2)
    assert base != kind_of(torch.zeros(2, 4, 8, 8, dtype=torch.bfloat16), 2)
    assert kind_of({"scale": 0.5}, 1) != kind_of({"scale": 1.0}, 1)
    assert kind_of([torch.zeros(1, 2)], 1) != kind_of([torch.zeros(1, 3)], 1)


def test_a_tensor_without_a_row_for_each_row_is_never_joined() -> None:
    odd, other = torch.zeros(5, 2), torch.zeros(5, 2)
    assert kind_of(odd, 1) != kind_of(other, 1)
    assert kind_of(odd, 1) == kind_of(odd, 1)


def test_lists_with_an_entry_a_row_are_joined_end_to_end() -> None:
    first, second = [torch.zeros(3, 2), torch.ones(4, 2)], [torch.full((5, 2), 2.0)]
    merged = merge_lists([first, second])
    assert [len(entry) for entry in merged] == [3, 4, 5]
    mine, yours = split((merged,), [2, 1], listed=True)
    assert [len(entry) for entry in mine[0]] == [3, 4]
    assert torch.equal(yours[0][0], second[0])


def test_entries_are_alike_up_to_the_length_to_which_they_are_padded() -> None:
    def kind(*lengths: int, multiple: int = 32) -> object:
        return kind_of_list([torch.zeros(length, 2) for length in lengths], multiple)

    assert kind(3) == kind(32) == kind(7, 20)
    assert kind(3) != kind(33)
    assert kind(3, 40) == kind(50, 5)
    assert kind(3, multiple=1) != kind(4, multiple=1)
    assert kind_of_list([torch.zeros(3, 2)], 32) != kind_of_list([torch.zeros(3, 4)], 32)
    assert kind_of_list([[(1, 4, 4)]], 1) == kind_of_list([[(1, 4, 4)]] * 2, 1)
    assert kind_of_list([[(1, 4, 4)]], 1) != kind_of_list([[(1, 4, 4), (1, 4, 4)]], 1)


def test_copies_share_no_memory() -> None:
    answer = (torch.zeros(2, 2), [torch.zeros(1)])
    copy = copy_of(answer)
    copy[0].add_(1)
    copy[1][0].add_(1)
    assert answer[0].sum() == 0
    assert answer[1][0].sum() == 0


def test_size_counts_every_tensor() -> None:
    answer = {"a": torch.zeros(2, 2), "b": (torch.zeros(3, dtype=torch.float16), None), "c": "x"}
    assert size_of(answer) == 16 + 6


def test_nothing_has_several_spellings() -> None:
    assert all(is_nothing(value) for value in (None, {}, [], ()))
    assert not any(is_nothing(value) for value in (0, False, "", torch.zeros(0)))
