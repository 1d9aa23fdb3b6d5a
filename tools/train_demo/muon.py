"""Muon: momentum whose update is made orthogonal, for matrices and convolutions."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .stage import with_rates

QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """Return the nearest (semi-)orthogonal matrices, roughly, by Newton-Schulz; [N, R, C]."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    if x.is_cuda:  # bfloat16 is ten times slower than float32 on a CPU without its instructions
        x = x.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = (x if wide else x.mT).to(matrices.dtype)
    return found


class Muon(torch.optim.Optimizer):
    """Orthogonal updates of root mean square lr * 0.2, so that AdamW's learning rates serve."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update; weights of equal shape are made orthogonal together."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    update = self._momentum(weight, group["momentum"])
                    alike[update.shape[0], update.shape[1]].append((weight, update))
            for (rows, columns), pairs in alike.items():
                scale = 0.2 * max(rows, columns) ** 0.5 * group["lr"]
                updates = orthogonal(torch.stack([update for _, update in pairs])) * scale
                for (weight, _), update in zip(pairs, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(
                        update.view_as(weight)
                    )

    def _momentum(self, weight: nn.Parameter, momentum: float) -> Tensor:
        gradient = weight.grad
        assert gradient is not None
        state = self.state[weight]
        average = state.setdefault("average", torch.zeros_like(gradient))
        average.lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum).reshape(len(weight), -1)


TABLES = ("embed", "shared", "relative_attention_bias")  # looked up, not multiplied with


def optimizers(
    model: nn.Module, rate: float, small_rate: float, decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """Muon for the model's matrices and convolutions, AdamW for its vectors and tables."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    small = [
        weight
        for name, weight in named
        if weight.ndim < 2 or any(table in name for table in TABLES)
    ]
    kept = {id(weight) for weight in small}
    matrices = [weight for _, weight in named if id(weight) not in kept]
    return [
        Muon(with_rates([{"params": matrices, "lr": rate}]), weight_decay=decay),
        torch.optim.AdamW(
            with_rates([{"params": small, "lr": small_rate}]), betas=(0.9, 0.99), weight_decay=0.0
        ),
    ]
