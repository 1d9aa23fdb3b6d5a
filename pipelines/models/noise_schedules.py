"""Overrides of a pipeline's noise scheduler: prediction type and zero terminal SNR."""

import inspect
from typing import Any

from pipelines.models.checkpoint_keys import NoiseSettings
from pipelines.weights.manifest import WeightsError

_PREDICTION_TYPES = {"epsilon": "epsilon", "v": "v_prediction", "flow": "flow_prediction"}


def configure_noise(pipe: Any, entry: NoiseSettings, file: NoiseSettings) -> None:
    """Give a pipeline the noise scheduler that its weights were trained for.

    `entry`: settings of weights.yaml, which count for more than those of the `file`. Raises
    WeightsError for a combination that has no noise scheduler.
    """
    current = getattr(pipe, "scheduler", None)
    if current is None:
        return
    if is_flow(current):
        _require_flow(current, entry)
        return
    wanted = entry.over(file)
    changes: dict[str, Any] = {}
    if wanted.prediction is not None:
        changes["prediction_type"] = _PREDICTION_TYPES[wanted.prediction]
    if wanted.zero_terminal_snr is not None:
        changes["rescale_betas_zero_snr"] = wanted.zero_terminal_snr
        changes |= {"timestep_spacing": "trailing"} if wanted.zero_terminal_snr else {}
    if changes:
        pipe.register_modules(scheduler=_with(current, changes))


def is_flow(noise_scheduler: Any) -> bool:
    """Whether a noise scheduler is one of flow matching."""
    config = noise_scheduler.config
    return "FlowMatch" in type(noise_scheduler).__name__ or bool(config.get("use_flow_sigmas"))


def _require_flow(noise_scheduler: Any, entry: NoiseSettings) -> None:
    name = type(noise_scheduler).__name__
    if entry.prediction not in (None, "flow"):
        raise WeightsError(f"prediction: {entry.prediction}: {name} is for flows; take flow")
    if entry.zero_terminal_snr is False:
        raise WeightsError(f"zero_terminal_snr: false: {name} always begins with pure noise")


def _with(current: Any, changes: dict[str, Any]) -> Any:
    import diffusers

    prediction = changes.get("prediction_type", current.config.get("prediction_type"))
    if changes.get("rescale_betas_zero_snr") and prediction == "epsilon":
        raise WeightsError(
            "zero terminal SNR with epsilon prediction: pure noise says nothing of the noise to "
            "remove; set prediction: v"
        )
    kind = type(current)
    if prediction == "flow_prediction":
        changes = {**changes, "use_flow_sigmas": True}
        changes.pop("rescale_betas_zero_snr", None)
        if "use_flow_sigmas" not in inspect.signature(kind.__init__).parameters:
            kind = diffusers.DPMSolverMultistepScheduler
    elif changes.get("rescale_betas_zero_snr") and not _can_rescale(kind):
        kind = (
            diffusers.DDIMScheduler
            if current.init_noise_sigma == 1
            else diffusers.EulerDiscreteScheduler
        )
    return kind.from_config(current.config, **changes)


def _can_rescale(kind: type) -> bool:
    return "rescale_betas_zero_snr" in inspect.signature(kind.__init__).parameters  # type: ignore[misc]
