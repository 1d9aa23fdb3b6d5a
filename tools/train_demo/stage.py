"""One resumable stage of training: its steps, its log and its checkpoints.

A stage lasts a number of steps, not of minutes: the same seed makes the same model on a slow
machine as on a fast one. It does not know what is trained.
"""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

WARM_UP = 100  # steps
DECAY = 0.35  # a share of the stage's steps
SAVE_EVERY = 120.0  # seconds
LOG_EVERY = 15.0


@dataclass
class Stage:
    """A stage's count of steps and wall clock (seconds), and its files under a work directory."""

    name: str
    work: Path
    last: int  # how many steps it has
    device: torch.device
    seed: int = 0
    spent: float = 0.0
    step: int = 0
    _losses: list[float] = field(default_factory=list)
    _saved: float = 0.0
    _logged: float = 0.0

    @property
    def path(self) -> Path:
        """Where the stage's checkpoint lies."""
        return self.work / f"{self.name}.pt"

    @property
    def progress(self) -> float:
        """The share of the stage's steps that were made, 0 to 1."""
        return min(self.step / self.last, 1.0)

    @property
    def rate(self) -> float:
        """The factor on the learning rate: warm-up, plateau, linear decay to zero."""
        return max(min(1.0, (self.step + 1) / WARM_UP, (1 - self.progress) / DECAY), 1e-3)

    def resume(self, parts: dict[str, Any]) -> random.Random:
        """Loads the last checkpoint, if any, into parts that have load_state_dict.

        Seeds torch's generator, and returns one, for the steps from there on.
        """
        if self.path.exists():
            self._load(parts)
        torch.manual_seed(self.seed + self.step)
        return random.Random(self.seed + self.step)

    def _load(self, parts: dict[str, Any]) -> None:
        saved = torch.load(self.path, map_location=self.device, weights_only=True)
        self.spent, self.step = saved.pop("spent"), saved.pop("step")
        self._saved = self._logged = self.spent
        for name, part in parts.items():
            groups = getattr(part, "param_groups", [])
            rates = [group["base_lr"] for group in groups]
            part.load_state_dict(saved[name])
            for group, rate in zip(getattr(part, "param_groups", []), rates, strict=True):
                group["base_lr"] = rate

    def save(self, parts: dict[str, Any]) -> None:
        """Writes a checkpoint in the place of the last one."""
        state = {name: part.state_dict() for name, part in parts.items()}
        draft = self.path.with_suffix(".draft")
        torch.save({"spent": self.spent, "step": self.step, **state}, draft)
        draft.replace(self.path)
        self._saved = self.spent

    def steps(
        self, parts: dict[str, Any], optimizers: list[torch.optim.Optimizer]
    ) -> Iterator[int]:
        """Counts the steps that are left; sets the learning rates; saves parts now and then."""
        first, last = self.step, time.monotonic()
        while self.progress < 1:
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = group["base_lr"] * self.rate
            yield self.step
            self.step += 1
            self.spent, last = self.spent + time.monotonic() - last, time.monotonic()
            if self.spent - self._saved > SAVE_EVERY:
                self.save(parts)
        if self.step > first:
            self.save(parts)
            self.log(finished=True)

    def note(self, loss: float, **extra: float) -> None:
        """Keeps a step's loss and, every LOG_EVERY seconds, logs the mean of those since."""
        self._losses.append(loss)
        if self.spent - self._logged < LOG_EVERY:
            return
        mean = sum(self._losses) / len(self._losses)
        self.log(loss=round(mean, 5), **{key: round(value, 5) for key, value in extra.items()})
        self._losses.clear()
        self._logged = self.spent

    def log(self, **values: Any) -> None:
        """Adds a line to the work directory's training log."""
        line = {"stage": self.name, "step": self.step, "seconds": round(self.spent), **values}
        with (self.work / "training_log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


def with_rates(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameter groups whose lr is also kept as base_lr, for Stage.steps to scale."""
    return [{**group, "base_lr": group["lr"]} for group in groups]
