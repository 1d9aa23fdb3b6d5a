"""Makes the demo model from nothing: python -m tools.train_demo --out weights/demo --seed 0."""

import argparse
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from .autoencoder import train_autoencoder
from .export import assemble, export
from .flow import Pairs, train_flow
from .latents import encode_all
from .overlook import train_overlook
from .stage import Stage
from .text import train_text

COMPOSITES = 0.25  # composites made for every scene
STEPS = {"autoencoder": 2_000, "text": 1_100, "flow": 8_000, "overlook": 600}


@dataclass(frozen=True)
class Plan:
    """What to make, where, and how much of it."""

    out: Path
    work: Path
    seed: int
    scale: float
    scenes: int
    device: torch.device

    def stage(self, name: str) -> Stage:
        """A stage with its number of steps."""
        steps = max(1, round(STEPS[name] * self.scale))
        return Stage(name, self.work, steps, self.device, self.seed)


def arguments() -> Plan:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("weights/demo"))
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("/tmp/train_demo"),
        help="checkpoints, kept to resume from",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scale", type=float, default=1, help="on every stage's number of steps; 0.01 for a trial"
    )
    parser.add_argument("--scenes", type=int, default=24_000, help="in the training set")
    found = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Plan(**vars(found), device=device)


def make(plan: Plan) -> None:
    """Every stage in turn; those that are finished load their checkpoint and pass."""
    plan.work.mkdir(parents=True, exist_ok=True)
    random.seed(plan.seed)
    torch.manual_seed(plan.seed)
    vae = train_autoencoder(plan.stage("autoencoder"))
    encoders = train_text(plan.stage("text"))
    scenes, latents, mixed = encode_all(vae, plan.scenes, COMPOSITES, plan.seed, plan.work)
    pairs = Pairs(scenes, latents, encoders, mixed)
    flow = train_flow(plan.stage("flow"), pairs)
    encoders = train_overlook(plan.stage("overlook"), encoders)
    export(assemble(vae, encoders, flow), plan.out)
    shutil.copy(plan.work / "training_log.jsonl", plan.out.with_name("training_log.jsonl"))


if __name__ == "__main__":
    make(arguments())
