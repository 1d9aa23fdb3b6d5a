"""Which models are resident on this device: loaded when first asked for, beside the running lanes.

Knows what is loaded, what is on its way and what would be in its way; not how a model is loaded,
nor who runs on it.
"""

import gc
import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from traceback import format_exception
from typing import Generic, Protocol, TypeVar

from pipelines.core import ModelUnavailable
from pipelines.models.footprints import Parts, size_of
from pipelines.models.room import Room
from pipelines.scheduling.trouble import forget_frames, is_out_of_memory, require_device

log = logging.getLogger(__name__)


class Weighed(Protocol):
    """A loaded model, and the bytes that its parts turned out to take."""

    @property
    def parts(self) -> Parts: ...


R = TypeVar("R", bound=Weighed)
Tell = Callable[[float], None]
"""Called with the fraction that is done, from any thread."""

Load = Callable[[str, list[R], Tell], R]
"""(model, those given up for it, progress): drops what is in the list before it takes memory."""


def _unknown(model: str) -> Parts:
    return {}


def _nothing(model: object) -> None:
    pass


@dataclass(slots=True)
class _Coming(Generic[R]):
    """The one model that is being loaded."""

    model: str
    future: Future[R]
    fraction: float = 0.0


class Pool(Generic[R]):
    """The resident models, by id. All but `load` and `changed` belongs to the engine's thread.

    `load` runs in a thread of its own, one at a time; `changed` is called from there whenever
    there is something new. `footprint(model)` predicts the bytes of its parts; `leave` is told of a
    model that is given up.
    """

    def __init__(
        self,
        load: Load[R],
        changed: Callable[[], None],
        room: Room | None = None,
        footprint: Callable[[str], Parts] = _unknown,
        leave: Callable[[R], None] = _nothing,
    ) -> None:
        self._load = load
        self._leave = leave
        self._changed = changed
        self._room = room or Room()
        self._footprint = footprint
        self._models: dict[str, R] = {}
        self._measured: dict[str, tuple[Parts, Parts]] = {}
        """What was predicted of a model, and what came of it."""
        self._failed: dict[str, str] = {}
        """Why."""
        self._wanted: dict[str, Parts] = {}
        self._asked: set[str] = set()
        """Those of them that were asked for since the last `make_way`: somebody waits for them."""
        self._leaving: frozenset[str] = frozenset()
        self._cramped: set[str] = set()
        """Those for which there was less memory than there should be: all others give way."""
        self._hopeless: set[str] = set()
        """Those for which there was too little even so."""
        self._coming: _Coming[R] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self.evictions = 0

    def get(self, model: str) -> R | None:
        """The model, or None while it waits for its turn, or is being loaded, or shall give way.

        Raises ModelUnavailable if it cannot fit, or if loading it failed since the last `land`;
        asked again after that, it is tried again.
        """
        if model in self._failed:
            raise ModelUnavailable(self._failed[model])
        if self._serves(model):
            self._room.use(model)
            return self._models[model]
        coming = self._coming is not None and self._coming.model == model
        if not coming and model not in self._wanted:
            self._wanted[model] = self._fitting(model)
        self._asked.add(model)
        return None

    def spare(self, model: str, needs: Callable[[], Parts]) -> bool:
        """Whether there is room for what a resident model needs beside it, or else there will be.

        Others give way for that as for a model. Raises ModelUnavailable if it can never fit.
        """
        self._room.shrink(needs())
        parts = {**self._parts(model), **needs()}  # which grow by what has just been given up
        self._require_fitting(model, parts, " with what lies beside it")
        if self._room.has_room(parts):
            return True
        self._wanted.setdefault(model, parts)
        self._asked.add(model)
        return False

    def land(self) -> None:
        """What was loaded meanwhile is resident from now on. Raises DeviceLost."""
        self._failed.clear()
        if self._coming is None or not self._coming.future.done():
            return
        model, future = self._coming.model, self._coming.future
        self._coming = None
        self._room.remove(model)
        if (error := future.exception()) is not None:
            if not self._tried_again(model, error):
                self._failed[model] = _why(model, error)
            return
        self._cramped.discard(model)
        self._hopeless.discard(model)
        try:
            self._take_in(model, future.result())
        except ModelUnavailable as unfit:
            self._failed[model] = str(unfit)

    def make_way(self, busy: Collection[str]) -> None:
        """Have what has waited longest, once nothing `busy` is in its way: begin to load a model.

        What was not asked for since the last time, nobody waits for any more. The least recently
        used models give way. While one of them has lanes, none of them gets new ones; those who ask
        for it wait behind the model that it gives way to.
        """
        self._leaving = frozenset()
        self._wanted = {m: parts for m, parts in self._wanted.items() if m in self._asked}
        self._asked.clear()
        self._cramped &= {*self._wanted, *self.loading}
        if self._coming is not None:
            return
        model = next((each for each in self._wanted if not self._has(each)), None)
        parts = self._wanted[model] if model else {}
        leaving = self._in_the_way(model, parts)
        self._leaving = frozenset(leaving)
        waiting = {m: parts for m, parts in self._wanted.items() if not self._has(m)}
        if len(waiting) < len(self._wanted):
            self._changed()  # who was told to wait need not any more
        self._wanted = waiting
        if not self._leaving.isdisjoint(busy):
            return
        given_up = self._give_up(leaving)
        if model is not None:
            del self._wanted[model]
            if model in self._models:
                if given_up:
                    given_up.clear()
                    gc.collect()  # the parts of a pipeline refer to each other
                self._changed()
            else:
                self._begin(model, parts, given_up)

    def evict(self, keep: Collection[str]) -> list[str]:
        """Give up every resident model but those to keep, and what lies idle beside them; returns
        their ids."""
        idle = [model for model in self._models if model not in keep]
        self._give_up(idle)
        self._room.clear()
        gc.collect()  # the parts of a pipeline refer to each other
        return idle

    def fits(self, *models: str) -> bool:
        """Whether models would fit together if there were no other."""
        return self._room.fits_alone(*map(self._parts, models))

    @property
    def resident(self) -> list[str]:
        """The models in memory, those that shall give way included."""
        return list(self._models)

    @property
    def loading(self) -> dict[str, float]:
        """How far the model is that is being loaded, from 0 to 1."""
        return {self._coming.model: self._coming.fraction} if self._coming else {}

    @property
    def used(self) -> int:
        """Bytes of all resident models, and of the one that is being loaded."""
        return self._room.used

    def _serves(self, model: str) -> bool:
        return model in self._models and model not in self._leaving

    def _has(self, model: str) -> bool:
        """Whether a model that is wanted serves, with room for what it needs beside it."""
        return self._serves(model) and self._room.has_room(self._wanted[model])

    def _parts(self, model: str) -> Parts:
        """The bytes of a model: as they were measured, for as long as its files are the same."""
        predicted = self._footprint(model)
        before, measured = self._measured.get(model, (None, {}))
        return measured if before == predicted else predicted

    def _fitting(self, model: str) -> Parts:
        parts = self._parts(model)
        self._require_fitting(model, parts)
        return parts

    def _require_fitting(self, model: str, parts: Parts, whole: str = "") -> None:
        if not self._room.fits_alone(parts):
            needed, there = size_of(parts) / 1e9, self._room.budget / 1e9
            raise ModelUnavailable(
                f"model '{model}'{whole} needs {needed:.3g} GB, "
                f"and there are {there:.3g} GB for models here"
            )

    def _take_in(self, model: str, loaded: R) -> None:
        self._measured[model] = (self._footprint(model), loaded.parts)
        self._require_fitting(model, loaded.parts)
        self._models[model] = loaded
        self._room.add(model, loaded.parts)

    def _in_the_way(self, model: str | None, parts: Parts) -> list[str]:
        if model in self._cramped:
            return self.resident
        return self._room.in_the_way(parts, keep={model} if model else ())

    def _tried_again(self, model: str, error: BaseException) -> bool:
        """Whether a model that could not be loaded will be again, when it has the device for
        itself: others than these models may use it."""
        require_device(error)
        if not is_out_of_memory(error):
            return False
        if model in self._cramped:
            self._hopeless.add(model)
        if model in self._hopeless or not self._models:
            return False
        log.warning("loading %s ran out of memory: all others give way", model)
        self._cramped.add(model)
        forget_frames(error)
        return True

    def _give_up(self, models: Iterable[str]) -> list[R]:
        given_up = []
        for model in models:
            log.info("evicting %s", model)
            self._leave(self._models[model])
            given_up.append(self._models.pop(model))
            self._room.remove(model)
            self.evictions += 1
        return given_up

    def _begin(self, model: str, parts: Parts, given_up: list[R]) -> None:
        log.info("loading %s", model)
        self._room.add(model, parts)
        coming = self._coming = _Coming(model, Future())

        def tell(fraction: float) -> None:
            if int(100 * fraction) > int(100 * coming.fraction):
                coming.fraction = fraction
                self._changed()

        coming.future = self._thread.submit(self._load, model, given_up, tell)
        coming.future.add_done_callback(lambda _: self._changed())


def _why(model: str, error: BaseException) -> str:
    """What is told of a failure, without the memory that it holds. Raises DeviceLost."""
    require_device(error)
    told = "".join(format_exception(error))
    forget_frames(error)
    if isinstance(error, ModelUnavailable):
        return str(error)
    log.error("loading %s failed:\n%s", model, told)
    return f"model '{model}' could not be loaded: {error}"
