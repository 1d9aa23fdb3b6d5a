"""Other ways to serve a diffusers pipeline over HTTP, as small as they can honestly be.

    python -m bench.rivals lock|scoped|window FOLDER PORT

`lock`: one pipeline behind a lock, first come first served. `scoped`: every request gets a shallow
copy of the pipeline with a noise scheduler of its own and runs in a thread, as the asynchronous
server among diffusers' examples does. `window`: requests are collected for 50 ms, and those of
equal size and steps run as one batch to its end. All make what `ours` makes, from the same weights.
"""

import asyncio
import base64
import copy
import io
import sys
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import torch
import uvicorn
from diffusers import DiffusionPipeline
from fastapi import FastAPI
from pydantic import BaseModel

WINDOW_S = 0.05
MOST_ROWS = 16


class Wanted(BaseModel):
    """What a request asks for."""

    prompt: str
    seed: int
    steps: int
    size: str
    guidance_scale: float


Make = Callable[[Wanted], Awaitable[Any]]


def make_images(pipe: Any, asked: list[Wanted]) -> list[Any]:
    """Requests of equal size and steps, in one call of the pipeline."""
    width, height = map(int, asked[0].size.split("x"))
    return list(
        pipe(
            prompt=[wanted.prompt for wanted in asked],
            width=width,
            height=height,
            num_inference_steps=asked[0].steps,
            guidance_scale=asked[0].guidance_scale,
            generator=[torch.Generator().manual_seed(wanted.seed) for wanted in asked],
            max_sequence_length=pipe.tokenizer_2.model_max_length,
        ).images
    )


def locked(pipe: Any) -> Make:
    """One request at a time, in the order of their arrival."""
    lock = asyncio.Lock()

    async def make(wanted: Wanted) -> Any:
        async with lock:
            return (await asyncio.to_thread(make_images, pipe, [wanted]))[0]

    return make


def scoped(pipe: Any) -> Make:
    """Every request at once, each on its own copy; tokenizers are not safe for threads."""
    tokenizing = threading.Lock()

    class Guarded:
        def __init__(self, tokenizer: Any) -> None:
            self._tokenizer = tokenizer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tokenizer, name)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with tokenizing:
                return self._tokenizer(*args, **kwargs)

    def own() -> Any:
        mine = copy.copy(pipe)
        vars(mine)["scheduler"] = pipe.scheduler.from_config(pipe.scheduler.config)
        for name in ("tokenizer", "tokenizer_2"):
            vars(mine)[name] = Guarded(getattr(pipe, name))
        return mine

    async def make(wanted: Wanted) -> Any:
        return (await asyncio.to_thread(make_images, own(), [wanted]))[0]

    return make


class Window:
    """Collects requests for a while, and runs those that fit together, one batch after another."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._arrived: asyncio.Queue[tuple[Wanted, asyncio.Future[Any]]] = asyncio.Queue()

    async def make(self, wanted: Wanted) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._arrived.put_nowait((wanted, future))
        return await future

    async def run(self) -> None:
        while True:
            first = await self._arrived.get()
            await asyncio.sleep(WINDOW_S)
            groups = defaultdict(list)
            for one in [first, *(self._arrived.get_nowait() for _ in range(self._arrived.qsize()))]:
                groups[one[0].size, one[0].steps].append(one)
            for group in groups.values():
                for start in range(0, len(group), MOST_ROWS):
                    await self._batch(group[start : start + MOST_ROWS])

    async def _batch(self, batch: list[tuple[Wanted, asyncio.Future[Any]]]) -> None:
        asked = [wanted for wanted, _ in batch]
        images = await asyncio.to_thread(make_images, self._pipe, asked)
        for (_, future), image in zip(batch, images, strict=True):
            if not future.done():
                future.set_result(image)


def app(way: str, folder: str) -> FastAPI:
    """The whole server of one way."""
    torch.set_grad_enabled(False)
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    window = Window(pipe)
    make = {"lock": lambda: locked(pipe), "scoped": lambda: scoped(pipe)}.get(
        way, lambda: window.make
    )()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        batching = asyncio.create_task(window.run())
        yield
        batching.cancel()

    server = FastAPI(lifespan=lifespan)

    @server.get("/readyz")
    async def ready() -> None:
        return None

    @server.post("/v1/images/generations")
    async def generate(wanted: Wanted) -> dict[str, Any]:
        image = await make(wanted)
        file = io.BytesIO()
        await asyncio.to_thread(image.save, file, "PNG")
        return {"data": [{"b64_json": base64.b64encode(file.getvalue()).decode()}]}

    return server


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1], sys.argv[2]), port=int(sys.argv[3]), log_level="error")
