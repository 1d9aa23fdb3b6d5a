"""A lane's present estimate of its final image, while it is still being denoised.

Knows how noise schedulers move from noise to an image, and how latents become pixels. When an
estimate is wanted, and what becomes of it, is decided elsewhere.
"""

import functools
from typing import Any

import torch


class Estimator:
    """Watches the steps of one fork's noise scheduler; `latents` is what they are heading for."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._noise_scheduler = pipe.scheduler
        self._last: tuple[torch.Tensor, Any, torch.Tensor, torch.Tensor | None] | None = None
        self._step = pipe.scheduler.step
        pipe.scheduler.step = self._watched()

    def _watched(self) -> Any:
        @functools.wraps(self._step)  # pipelines look at the signature for what else to pass
        def step(
            model_output: torch.Tensor, timestep: Any, sample: torch.Tensor,
            *args: Any, return_dict: bool = True, **kwargs: Any,
        ) -> Any:  # fmt: skip
            result = self._step(model_output, timestep, sample, *args, return_dict=True, **kwargs)
            told = result.get("pred_original_sample")
            self._last = model_output, timestep, sample, told
            return result if return_dict else (result.prev_sample,)

        return step

    def latents(self) -> torch.Tensor | None:
        """The predicted x0 of the last step; None where this noise scheduler tells none."""
        if self._last is None:
            return None
        output, timestep, sample, told = self._last
        if told is not None:
            return told
        if "FlowMatch" in type(self._noise_scheduler).__name__:
            return sample - self._sigma() * output  # x_t = (1 - sigma) x0 + sigma n; v = n - x0
        return self._variance_preserving(output, timestep, sample)

    def _sigma(self) -> torch.Tensor:
        """The noise level that the last step began with."""
        sigma: torch.Tensor = self._noise_scheduler.sigmas[self._noise_scheduler.step_index - 1]
        return sigma

    def _variance_preserving(
        self, output: torch.Tensor, timestep: Any, sample: torch.Tensor
    ) -> torch.Tensor | None:
        """x_t = sqrt(a) x0 + sqrt(1-a) n; v = sqrt(a) n - sqrt(1-a) x0 (Ho 2020, Salimans 2022)."""
        config, levels = self._noise_scheduler.config, self._noise_scheduler.alphas_cumprod
        if self._noise_scheduler.init_noise_sigma != 1:
            return None
        level: torch.Tensor = levels[int(timestep)]
        if config.prediction_type == "epsilon":
            return (sample - (1 - level).sqrt() * output) / level.sqrt()
        if config.prediction_type == "v_prediction":
            return level.sqrt() * sample - (1 - level).sqrt() * output
        return None

    def image(self, width: int, height: int) -> torch.Tensor | None:
        """The estimate as (1, 3, height, width) in [0, 1]; decoding meets that of other lanes."""
        latents = self.latents()
        return None if latents is None else decode(self._pipe, latents, width, height)


def decode(pipe: Any, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Latents as a pipeline's denoising loop has them -> (1, 3, height, width) in [0, 1]."""
    latents = _unpacked(pipe, latents, width, height).to(pipe.vae.dtype)
    image: torch.Tensor = pipe.vae.decode(_denormalized(pipe, latents), return_dict=False)[0]
    if image.ndim == 5:  # an autoencoder of videos, here of one frame
        image = image[:, :, 0]
    return (image / 2 + 0.5).clamp(0, 1)


def _unpacked(pipe: Any, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Tokens -> a grid, where the pipeline's latents are tokens."""
    if hasattr(pipe, "_unpatchify_latents"):
        side = 2 * pipe.vae_scale_factor
        return latents.transpose(1, 2).reshape(len(latents), -1, height // side, width // side)
    if hasattr(pipe, "_unpack_latents"):
        grid: torch.Tensor = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
        return grid
    return latents


def _denormalized(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """From the scale of the denoiser to that of the autoencoder: of all, or of each channel."""
    config, norm = pipe.vae.config, getattr(pipe.vae, "bn", None)
    if norm is not None:
        spread = (norm.running_var + config.batch_norm_eps).sqrt()
        patches = latents * _by_channel(spread, latents) + _by_channel(norm.running_mean, latents)
        grid: torch.Tensor = pipe._unpatchify_latents(patches)
        return grid
    latents = latents / config.get("scaling_factor", 1)
    if config.get("latents_mean"):
        latents = latents * _by_channel(config.latents_std, latents)
        return latents + _by_channel(config.latents_mean, latents)
    return latents + (config.get("shift_factor") or 0)


def _by_channel(values: Any, latents: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values).to(latents).view(1, -1, *(1,) * (latents.ndim - 2))


def due(step: int, steps: int, previews: int) -> bool:
    """Is one of so many previews, evenly spread over the steps, due after step `step` (from 0)?"""
    return step + 1 in {round(steps * (n + 1) / (previews + 1)) for n in range(previews)} - {steps}
