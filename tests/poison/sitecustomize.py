"""Put first on PYTHONPATH, has a worker end at the second step of a job whose prompt is poison.

`poison SIGKILL` ends the process by that signal, as would any other name of one: it stands for a
job that runs into a bug of a kernel, or takes the host's memory.
"""

import os
import signal
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class _Poisoner:
    """Finds the module of lanes as everybody does, and changes it once it is loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "pipelines.lanes.lanes":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                _poison(module.Lane)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _poison(lane_class: Any) -> None:
    resume = lane_class.resume

    def resume_or_die(lane: Any, *answer: Any) -> Any:
        word, _, name = lane.job.prompt.partition(" ")
        if word == "poison" and lane.steps_run > 1:
            os.kill(os.getpid(), signal.Signals[name])
        return resume(lane, *answer)

    lane_class.resume = resume_or_die


if "pipelines.worker" in sys.orig_argv:
    sys.meta_path.insert(0, _Poisoner())
