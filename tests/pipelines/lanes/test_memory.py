"""The memory of text embeddings: bounded, least recently used first out, unspoilt by its users."""

import torch

from pipelines.lanes.memory import Memory


def kilobyte(value: float) -> torch.Tensor:
    return torch.full((256,), value, dtype=torch.float32)


def test_it_stays_within_its_bytes_and_forgets_the_least_recently_used() -> None:
    memory = Memory(3 * 1024)
    for name in "abc":
        memory.put(name, kilobyte(1))
    memory.get("a")
    memory.put("d", kilobyte(1))
    assert memory.size == 3 * 1024
    assert memory.get("b") is None
    assert all(memory.get(name) is not None for name in "acd")


def test_putting_again_replaces_and_is_counted_once() -> None:
    memory = Memory(4096)
    memory.put("a", kilobyte(1))
    memory.put("a", kilobyte(2))
    assert memory.size == 1024
    assert memory.get("a")[0] == 2


def test_what_does_not_fit_is_not_kept() -> None:
    memory = Memory(2000)
    memory.put("small", kilobyte(1)[:16])
    memory.put("a", kilobyte(1))
    assert memory.get("a") is None
    assert memory.get("small") is not None, "the others need not go for it"
    assert memory.size == 64


def test_a_lane_that_writes_into_its_answer_spoils_it_for_itself_only() -> None:
    memory = Memory(4096)
    original = kilobyte(1)
    memory.put("a", original)
    original.add_(1)
    memory.get("a").add_(1)
    assert memory.get("a")[0] == 1


def test_forgetting_by_key() -> None:
    memory = Memory(4096)
    memory.put(("x", 1), kilobyte(1))
    memory.put(("y", 1), kilobyte(1))
    memory.forget(lambda key: key[0] == "x")
    assert memory.get(("x", 1)) is None
    assert memory.get(("y", 1)) is not None
    assert memory.size == 1024
