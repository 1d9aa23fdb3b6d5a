"""What loading costs the lanes beside it: the steps of a tiny model while a large one is read.

The large one has the shape of Stable Diffusion 1.5: 3.4 GB in float32, made bfloat16 on the way, on
the CPU. Files are in the page cache.

    python -m bench.loading [--loads 3]
"""

import argparse
import gc
import os
import platform
import statistics
import tempfile
import threading
import time
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel

from pipelines.lanes import constructing
from pipelines.messages import Begin
from pipelines.models.residence import Residence
from pipelines.registry import ModelSpec
from tests import tiny
from tests.conftest import entry


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--loads", type=int, default=3)
    loads = arguments.parse_args().loads
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print(f"{platform.machine()}, {os.cpu_count()} cores; milliseconds a step")
    with tempfile.TemporaryDirectory() as folder:
        small, large = tiny.build("flux", Path(folder)), build_large(Path(folder))
        spec = ModelSpec.model_validate(entry("x"))
        models = {"small": (spec, small), "large": (spec.model_copy(update=BF16), large)}
        residence = Residence(Begin("cpu", models, [], 1))
        pipe = residence.load("small", [], lambda _: None).pipe
        pipe.set_progress_bar_config(disable=True)
        tell("alone", steps(pipe, threading.Event()))
        for _ in range(loads):
            done = threading.Event()
            loading = threading.Thread(target=load_then, args=(residence, done))
            loading.start()
            tell("beside a load", steps(pipe, done))
            loading.join()
            gc.collect()  # or the next load would find the modules of this one


BF16 = {"dtype": "bfloat16"}


def build_large(folder: Path) -> Path:
    """The UNet of Stable Diffusion 1.5 in a pipeline that is otherwise tiny."""
    path = tiny.build("sd", folder)
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    unet.to_empty(device="cpu").save_pretrained(path / "unet")
    return path


def load_then(residence: Residence, done: threading.Event) -> None:
    began = time.perf_counter()
    residence.load("large", [], lambda _: None)
    print(f"loaded in {time.perf_counter() - began:.2f} s")
    done.set()


def steps(pipe: DiffusionPipeline, done: threading.Event) -> list[float]:
    """Seconds of each step until `done`, or of 300."""
    found: list[float] = []
    while not done.is_set() and len(found) < 300:
        began = time.perf_counter()
        with constructing.undisturbed():
            pipe("a fox", width=64, height=64, num_inference_steps=1, output_type="latent")
        found.append(time.perf_counter() - began)
    return found


def tell(what: str, seconds: list[float]) -> None:
    found = sorted(1000 * each for each in seconds)
    p99 = found[int(0.99 * (len(found) - 1))]
    print(
        f"{what:14} {len(found):4} steps: median {statistics.median(found):7.1f}, "
        f"p99 {p99:7.1f}, longest {found[-1]:7.1f}"
    )


if __name__ == "__main__":
    main()
