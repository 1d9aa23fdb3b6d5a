"""One simulated device: lanes, passes that take the time they take, models that have to be loaded.

Who goes next is the policy's choice, as in the product. Between two events the same passes follow
one another, and are run at once.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bench.simulation.clock import Clock
from bench.simulation.lanes import Lane
from pipelines.lanes.joins import Stage
from pipelines.scheduling.shares import PROMOTED_AFTER_S
from server.fleet.dispatch import Load


class PassPolicy(Protocol):
    """Who goes in the next pass; told of what ran, of many equal passes at once."""

    def choose(self, waiting: Sequence[Lane], now: float) -> list[Lane]: ...

    def ran_often(self, calls: Sequence[Lane], seconds: float, passes: int) -> None:
        """So many passes of so many seconds each."""
        ...

    def standing(self, waiting: Sequence[Lane], now: float) -> list[Lane]:
        """An order that, while it lasts, means equal passes."""
        ...

    def as_it_is(self) -> Callable[[], None]:
        """Returns what takes back all that it is told from now on."""
        ...

    def knows(self, calls: Sequence[Lane]) -> bool:
        """Whether another pass like this one would teach it nothing."""
        ...


@dataclass(slots=True, eq=False)
class Passes:
    """Equal passes in a row that are under way."""

    chosen: list[Lane]
    began: float
    seconds: float
    """Of one."""
    number: int

    @property
    def ends(self) -> float:
        return self.began + self.number * self.seconds


class Device:
    """What the choice between devices sees (`dispatch.Place`), and what happens inside."""

    open = True

    def __init__(
        self, index: int, clock: Clock, policy: PassPolicy, resident: Sequence[str],
        models_kept: int, stepping: bool = False,
    ) -> None:  # fmt: skip
        """`stepping`: pass by pass, never many at once."""
        self.index = index
        self.policy = policy
        self.tickets: dict[str, Lane] = {}
        self.load = Load()
        self.busy_s = 0.0
        self.done: Callable[[list[Lane], Device], None]
        """Told of lanes that have ended, all that do at one moment."""
        self.loaded: Callable[[str, float], None]
        """Told of every model that was loaded, and in how many seconds."""
        self._clock = clock
        self._stepping = stepping
        self._models_kept = models_kept
        self._resident: OrderedDict[str, None] = OrderedDict.fromkeys(resident)
        self._pending: OrderedDict[str, list[Lane]] = OrderedDict()
        self._loading: str | None = None
        self._lanes: list[Lane] = []
        self._passes: Passes | None = None

    @property
    def resident(self) -> Sequence[str]:
        """The models in memory, the one that was not asked for for longest first."""
        return list(self._resident)

    def suits(self, model: str) -> bool:
        """Every model fits."""
        return True

    def may_suit_later(self, model: str) -> bool:
        """No device is ever disabled."""
        return False

    def has(self, model: str) -> bool:
        """It is in memory."""
        return model in self._resident

    def expects(self, model: str) -> bool:
        """It has a model, or will."""
        return model in self._resident or model in self._pending

    def give(self, lane: Lane) -> None:
        """One more job, for when `go` is called; it has a lane once its model is there."""
        self.tickets[lane.job.id] = lane
        model = lane.job.model
        if model in self._resident:
            self._resident.move_to_end(model)
            self._lanes.append(lane)
        else:
            self._pending.setdefault(model, []).append(lane)
            self._load_next()

    def go(self) -> None:
        """Something has changed: begin, or choose anew after the pass that is running."""
        if self._passes is not None:
            self._cut_short(self._passes)
        elif self._lanes:
            self._begin()

    def _begin(self) -> None:
        chosen = self.policy.choose(self._lanes, self._clock.now)
        seconds = chosen[0].pass_time.at(sum(lane.rows for lane in chosen))
        self._passes = Passes(chosen, self._clock.now, seconds, self._alike(chosen, seconds))
        self._clock.at(self._passes.ends, partial(self._end, self._passes, self._passes.number))

    def _cut_short(self, passes: Passes) -> None:
        number = int((self._clock.now - passes.began) / passes.seconds) + 1
        if number < passes.number:
            passes.number = number
            self._clock.at(passes.ends, partial(self._end, passes, number))

    def _end(self, passes: Passes, number: int) -> None:
        if self._passes is not passes or passes.number != number:
            return
        self._passes = None
        self.busy_s += number * passes.seconds
        self.policy.ran_often(passes.chosen, passes.seconds, number)
        share = number * passes.seconds / sum(lane.rows for lane in passes.chosen)
        for lane in passes.chosen:
            lane.device_seconds += share * lane.rows
            lane.move(number)
            lane.settle()
        if ended := [lane for lane in passes.chosen if lane.ended]:
            self._finish(ended)
        if self._passes is None:
            self.go()

    def _finish(self, ended: list[Lane]) -> None:
        for lane in ended:
            self._lanes.remove(lane)
            del self.tickets[lane.job.id]
        self._load_next()
        self.done(ended, self)

    def _alike(self, chosen: list[Lane], seconds: float) -> int:
        """How many passes from now on will have the same lanes, if nobody comes."""
        first = chosen[0]
        if self._stepping or first.stage is not Stage.DENOISE or not self.policy.knows(chosen):
            return 1
        if any(lane.awaited for lane in chosen):
            return 1
        most = min(lane.steps_left for lane in chosen)
        most = min(most, 1 + int(self._until_promoted() / seconds))
        if len({lane.caller for lane in self._lanes}) == 1:
            return most  # only those who go gain on the others
        return self._alike_among_callers(chosen, seconds, most)

    def _until_promoted(self) -> float:
        now = self._clock.now
        return min(
            PROMOTED_AFTER_S - (now - lane.arrived) % PROMOTED_AFTER_S for lane in self._lanes
        )

    def _alike_among_callers(self, chosen: list[Lane], seconds: float, most: int) -> int:
        """The order follows lines in time: alike now and then means alike in between."""
        if most == 1 or self._would_choose(chosen, seconds, most - 1):
            return most
        alike, other = 1, most
        while other - alike > 1:
            middle = (alike + other) // 2
            if self._would_choose(chosen, seconds, middle - 1):
                alike = middle
            else:
                other = middle
        return alike

    def _would_choose(self, chosen: list[Lane], seconds: float, passes: int) -> bool:
        """Whether all stands as it did, after so many passes of them; then the same go again."""
        before = self.policy.standing(self._lanes, self._clock.now)
        take_back = self.policy.as_it_is()
        self.policy.ran_often(chosen, seconds, passes)
        for lane in chosen:
            lane.move(passes)
        then = self.policy.standing(self._lanes, self._clock.now + passes * seconds)
        take_back()
        for lane in chosen:
            lane.move(-passes)
        return then == before

    def _load_next(self) -> None:
        """Begin to load what is asked for, once there is room; one at a time."""
        if self._loading is not None or not self._pending or not self._make_room():
            return
        model, lanes = next(iter(self._pending.items()))
        self._loading = model
        seconds = lanes[0].kind.shape.load_s
        self._clock.at(self._clock.now + seconds, partial(self._have_loaded, model, seconds))

    def _make_room(self) -> bool:
        while len(self._resident) >= self._models_kept:
            used = {lane.job.model for lane in self._lanes}
            idle = next((model for model in self._resident if model not in used), None)
            if idle is None:
                return False
            del self._resident[idle]
        return True

    def _have_loaded(self, model: str, seconds: float) -> None:
        self._loading = None
        self._resident[model] = None
        self.loaded(model, seconds)
        self._lanes += self._pending.pop(model)
        self._load_next()
        self.go()
