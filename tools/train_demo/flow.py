"""Trains the flow model: a FluxTransformer2DModel from noise to latents, given prompts."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from . import autoencoder, language, text
from .muon import optimizers
from .raster import SIDE
from .scenes import Scene
from .stage import Stage
from .tokenizers import T5_LENGTH

HEADS, HEAD_WIDTH, AXES = 6, 32, (8, 12, 12)
DOUBLE_BLOCKS, SINGLE_BLOCKS = 3, 6
BATCH = 64
RATE, SMALL_RATE = 3.5e-3, 1e-3
AVERAGE = 0.998
FOCUS = 3.0  # the further weight of what is not background
SHARES = {
    "any": 0.67,
    "groundless": 0.1,  # prompts that name no background, over the one to be expected
    "usual": 0.1,  # prompts of a shape in the middle that name neither place nor size
    "plainest": 0.05,  # the same over the background to be expected, mostly without naming it
    "composite": 0.08,
}
HIDDEN = 0.2  # composites are seen below this much less noise: from pure noise comes a plain scene
DROP = 0.1  # prompts replaced by the empty one
TIME_MEAN = 0.4  # of the logit of the noise level: shapes and places are decided high up
TOKENS_A_SIDE = SIDE // (2 * 2 ** (autoencoder.STAGES - 1))


def flux_model() -> FluxTransformer2DModel:
    """A fresh transformer whose blocks begin as identities."""
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * autoencoder.CHANNELS,
        num_layers=DOUBLE_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=text.WIDTH,
        pooled_projection_dim=text.WIDTH,
        guidance_embeds=False,
        axes_dims_rope=AXES,
    )
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and ("norm" in name or name == "proj_out"):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


Say = Callable[[Scene, random.Random], Scene]


@dataclass
class Pairs:
    """Scenes with their latents [N, tokens, channels], and the encoders that read prompts."""

    scenes: list[Scene]
    latents: Tensor
    encoders: text.TextEncoders
    composites: int = 0  # how many, at the end

    def __post_init__(self) -> None:
        self.plain = len(self.scenes) - self.composites
        indices = range(self.plain)
        usual = [index for index in indices if language.is_usual(self.scenes[index])]
        groups: dict[str, tuple[Sequence[int], Say]] = {
            "any": (indices, partial(language.forget, unsaid=0)),
            "groundless": (self._expected(indices), partial(language.forget, unsaid=1)),
            "usual": (usual, language.forget_most),
            "plainest": (self._expected(usual), language.forget_most),
            "composite": (range(self.plain, len(self.scenes)), language.forget),
        }
        self.groups = {name: group for name, group in groups.items() if group[0]}

    def _expected(self, indices: Sequence[int]) -> Sequence[int]:
        return [index for index in indices if self.scenes[index].expected]

    def choose(self, rng: random.Random) -> tuple[int, Scene]:
        """The index of a scene or, now and then, of a composite, and what is said of it."""
        [name] = rng.choices(list(self.groups), [SHARES[name] for name in self.groups])
        indices, say = self.groups[name]
        index = rng.choice(indices)
        return index, say(self.scenes[index], rng)

    @torch.no_grad()
    def draw(self, rng: random.Random, device: torch.device) -> tuple[Tensor, ...]:
        """Latents, T5 states, pooled CLIP states and whether it is a composite, of BATCH scenes."""
        chosen, scenes = zip(*(self.choose(rng) for _ in range(BATCH)), strict=True)
        said = [language.prompt(scene, rng) for scene in scenes]
        states, pooled = self.encoders(["" if rng.random() < DROP else words for words in said])
        composite = torch.tensor(chosen, device=device) >= self.plain
        return self.latents[list(chosen)].to(device).float(), states, pooled, composite


def focus(latents: Tensor, composite: Tensor) -> Tensor:
    """More weight for tokens unlike most of their image, a scene's shapes; [B, tokens]."""
    ground = latents.median(dim=1, keepdim=True).values
    unlike = (latents - ground).square().mean(dim=-1).clamp(max=1)
    return 1 + FOCUS * unlike * ~composite[:, None]


def noise_levels(count: int, device: torch.device) -> Tensor:
    """Noise levels, logit-normal, one from each of count equal slices of the distribution."""
    quantiles = torch.arange(count, device=device) + torch.rand(count, device=device)
    return torch.sigmoid(torch.special.ndtri((quantiles / count).clamp(1e-4, 1 - 1e-4)) + TIME_MEAN)


class Velocity(nn.Module):
    """The model's loss at random noise levels."""

    def __init__(self, model: FluxTransformer2DModel, device: torch.device) -> None:
        super().__init__()
        self.model = model
        ids = FluxPipeline._prepare_latent_image_ids(
            1, TOKENS_A_SIDE, TOKENS_A_SIDE, device, torch.float32
        )
        self.places = {"img_ids": ids, "txt_ids": torch.zeros(T5_LENGTH, 3, device=device)}

    def forward(
        self, latents: Tensor, states: Tensor, pooled: Tensor, composite: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The velocity's squared error, focused and plain; latents and noise [B, tokens, 4C]."""
        level = noise_levels(len(latents), latents.device) * (1 - HIDDEN * composite)
        mixed = latents.lerp(noise, level[:, None, None])
        with sdpa_kernel(SDPBackend.MATH):  # thrice as fast as the CPU's flash attention, backward
            made = self.model(
                hidden_states=mixed, timestep=level, pooled_projections=pooled,
                encoder_hidden_states=states, return_dict=False, **self.places,
            )[0]  # fmt: skip
        errors = (made.float() - (noise - latents)).square().mean(dim=-1)
        weights = focus(latents, composite)
        return (errors * weights).sum() / weights.sum(), errors.mean().detach()


def train_flow(stage: Stage, pairs: Pairs) -> FluxTransformer2DModel:
    """Trains the steps that the stage has left; returns the averaged weights."""
    model = flux_model().to(stage.device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    muon, adam = optimizers(model, RATE, SMALL_RATE)
    parts = {"model": model, "average": average, "muon": muon, "adam": adam}
    rng = stage.resume(parts)
    measure = torch.compile(Velocity(model, stage.device))
    for _ in stage.steps(parts, [muon, adam]):
        with torch.autocast(stage.device.type, torch.bfloat16):
            latents, *condition = pairs.draw(rng, stage.device)
            loss, plain = measure(latents, *condition, torch.randn_like(latents))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        model.zero_grad()
        average.update_parameters(model)
        stage.note(plain.item(), focused=loss.item(), rate=stage.rate)
    averaged: FluxTransformer2DModel = average.module
    return averaged
