"""Which models are resident on this device: loaded when first asked for, beside the running lanes.

Knows what is loaded and what is on its way; not how a model is loaded, nor who runs on it.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from pipelines.core import ModelUnavailable

R = TypeVar("R")
log = logging.getLogger(__name__)


class Pool(Generic[R]):
    """The resident models, by id. `load` runs in a thread of its own, `changed` after each load."""

    def __init__(self, load: Callable[[str], R], changed: Callable[[], None]) -> None:
        self._load = load
        self._changed = changed
        self._models: dict[str, Future[R]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")

    def get(self, model: str) -> R | None:
        """The model, or None while it is being loaded; the first call begins that.

        Raises ModelUnavailable when loading failed; the next call tries again.
        """
        future = self._models.get(model) or self._begin(model)
        if not future.done():
            return None
        if (error := future.exception()) is not None:
            del self._models[model]
            raise ModelUnavailable(f"model '{model}' could not be loaded: {error}") from error
        return future.result()

    @property
    def resident(self) -> list[str]:
        return [id for id, f in self._models.items() if f.done() and not f.exception()]

    @property
    def loading(self) -> list[str]:
        return [id for id, f in self._models.items() if not f.done()]

    def _begin(self, model: str) -> Future[R]:
        log.info("loading %s", model)
        future = self._models[model] = self._thread.submit(self._load, model)
        future.add_done_callback(lambda _: self._changed())
        return future
