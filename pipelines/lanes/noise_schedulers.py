"""Keeps a lane's noise scheduler on the host: its tables, its timesteps and its decisions.

diffusers puts timesteps on the device and reads them back at every step. Each read waits for the
passes of all lanes. Images are the same: samples stay on their device, and only the numbers by
which they are multiplied come from the host.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from pipelines.lanes.transfers import AsyncCopies, to_device

Method = Callable[..., Any]


def keep_on_host(noise_scheduler: Any) -> Any:
    """Have a noise scheduler never wait for the device of its samples; returns it."""
    for name, wrap in _WRAPPERS.items():
        method = getattr(noise_scheduler, name, None)
        if method is not None:
            setattr(noise_scheduler, name, functools.wraps(method)(wrap(method)))
    return noise_scheduler


def _timesteps_on_host(set_timesteps: Method) -> Method:
    takes = inspect.signature(set_timesteps)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = takes.bind(*args, **kwargs)
        if given.arguments.get("device") is not None:
            given.arguments["device"] = "cpu"
        return set_timesteps(*given.args, **given.kwargs)

    return call


def _without_waits(step: Method) -> Method:
    """Have the noise that a step draws on the host, from the generator of a job, copied async."""

    def call(model_output: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if model_output.device.type != "cuda":
            return step(model_output, *args, **kwargs)
        with AsyncCopies():
            return step(model_output, *args, **kwargs)

    return call


def _by_coefficients(mix: Method) -> Method:
    """`add_noise` or `scale_noise` as a * samples + b * noise, with a and b computed on the host.

    Each is what the method itself makes of ones and zeros.
    """
    takes = inspect.signature(mix)
    samples_name = next(iter(takes.parameters))

    def call(*args: Any, **kwargs: Any) -> Any:
        given = takes.bind(*args, **kwargs)
        samples, noise = given.arguments[samples_name], given.arguments.get("noise")
        if samples.device.type == "cpu" or noise is None:
            return mix(*args, **kwargs)
        for name, value in given.arguments.items():
            if torch.is_tensor(value) and value is not samples and value is not noise:
                given.arguments[name] = value.cpu()

        def of(of_samples: float, of_noise: float) -> torch.Tensor:
            given.arguments[samples_name] = _rows(samples, of_samples)
            given.arguments["noise"] = _rows(noise, of_noise)
            return _factor(mix(*given.args, **given.kwargs), samples.device)

        return of(1, 0) * samples + of(0, 1) * noise

    return call


def _rows(like: torch.Tensor, value: float) -> torch.Tensor:
    return torch.full((len(like), *(1 for _ in like.shape[1:])), value, dtype=like.dtype)


def _factor(rows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A number of the host where there is one row, which needs no copy."""
    return rows.reshape(()) if rows.numel() == 1 else to_device(rows, device)


_WRAPPERS: dict[str, Callable[[Method], Method]] = {
    "set_timesteps": _timesteps_on_host,
    "step": _without_waits,
    "add_noise": _by_coefficients,
    "scale_noise": _by_coefficients,
}
