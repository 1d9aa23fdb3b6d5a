"""Trains the autoencoder: 256 px images to 16 x 16 latents of zero mean and unit variance."""

import random

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import DecoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn

from .muon import optimizers
from .raster import SIDE, grid, paint, render
from .scenes import MAX_SHAPES, Layout, lay_out, training_scene
from .stage import Stage

STAGES, WIDTH, CHANNELS = 5, 32, 16
ENCODER_BLOCKS = (0, 1, 1, 2, 2)
DECODER_BLOCKS = (3, 3, 2, 1, 1)
CROP, BATCH = 96, 24
CLUTTER = 3  # images of a batch that are not scenes
NOISE = 0.35  # the strongest noise on the latents
RATE = 2e-3
FREEZE = 0.75  # the share of the time after which the statistics stay as they are


class Bottleneck(nn.Module):
    """An AutoencoderTiny with normalised latents, trained to see through noise on them."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = AutoencoderTiny(
            encoder_block_out_channels=(WIDTH,) * STAGES,
            decoder_block_out_channels=(WIDTH,) * STAGES,
            num_encoder_blocks=ENCODER_BLOCKS,
            num_decoder_blocks=DECODER_BLOCKS,
            latent_channels=CHANNELS,
        )
        self.norm = nn.BatchNorm2d(CHANNELS, affine=False, momentum=0.02)
        self.vae.apply(keep_scale)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructs images [B, 3, H, W] in -1..1."""
        latents = self.norm(self.vae.encoder(images).float())
        sigma = torch.rand(len(latents), 1, 1, 1, device=latents.device) * NOISE
        made: Tensor = self.vae.decoder(latents + sigma * torch.randn_like(latents)).float()
        return made

    @torch.no_grad()
    def folded(self) -> AutoencoderTiny:
        """The autoencoder with the normalisation moved into the encoder's last convolution."""
        last = self.vae.encoder.layers[-1]
        mean, variance, _ = self.norm.buffers()
        deviation = (variance + self.norm.eps).sqrt()
        last.bias.sub_(mean).div_(deviation)
        last.weight.div_(deviation[:, None, None, None])
        self.norm.reset_running_stats()
        return self.vae.eval()


@torch.no_grad()
def keep_scale(module: nn.Module) -> None:
    """Starts a layer so that a signal keeps its scale through the stack, which has no norms."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, AutoencoderTinyBlock):
        module.conv[-1].weight.mul_(0.1)
    if isinstance(module, DecoderTiny):
        upsampled = [
            conv for conv in module.layers if isinstance(conv, nn.Conv2d) and conv.bias is None
        ]
        for conv in upsampled:
            conv.weight.mul_(0.3).add_(nn.init.dirac_(torch.empty_like(conv.weight)))
        module.layers[-1].weight.mul_(0.2)
        module.layers[-1].bias.fill_(0.5)


def windows(layout: Layout) -> Tensor:
    """A window on each scene, around one of its shapes more or less, points [B, CROP, CROP, 2]."""
    share = CROP / SIDE
    slot = (torch.rand(len(layout.kind)) < 0.5) & (layout.radius[:, 1] > 0)
    middle = torch.where(slot[:, None], layout.centre[:, 1], layout.centre[:, 0])
    corner = middle - share / 2 + (torch.rand(len(slot), 2) - 0.5) * 1.2 * share
    return grid(CROP) + corner.clamp(0, 1 - share)[:, None, None]


def clutter(count: int) -> Tensor:
    """Gradients and blobs under randomly coloured shapes, [count, 3, CROP, CROP] in -1..1."""
    coarse = torch.rand(count, 3, *torch.randint(2, 7, (2,)).tolist())
    canvas = F.interpolate(coarse, size=(CROP, CROP), mode="bicubic").clamp(0, 1)
    shape = (count, MAX_SHAPES)
    radius = 0.04 + 0.16 * torch.rand(shape)
    kind = torch.randint(0, 8, shape)
    centre = torch.rand(*shape, 2) * CROP / SIDE
    layout = Layout(
        canvas[:, :, 0, 0], torch.rand(*shape, 3), kind, centre, radius, torch.rand(shape) * 6.3
    )
    return paint(canvas, layout, grid(CROP)) * 2 - 1


def batch(rng: random.Random) -> Tensor:
    """Crops of scenes, and some clutter so that a photograph passes too, [BATCH, 3, CROP, CROP]."""
    layout = lay_out([training_scene(rng) for _ in range(BATCH - CLUTTER)], rng)
    return torch.cat([render(layout, windows(layout)), clutter(CLUTTER)])


def edges(images: Tensor) -> Tensor:
    """Differences of neighbouring pixels, right and down, flattened."""
    return torch.cat([images.diff(dim=-1).flatten(), images.diff(dim=-2).flatten()])


def reconstruction_loss(made: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of pixels and of edges, and squared error."""
    return (
        F.l1_loss(made, images) + F.l1_loss(edges(made), edges(images)) + F.mse_loss(made, images)
    )


def train_autoencoder(stage: Stage) -> AutoencoderTiny:
    """Trains the steps that the stage has left; returns the folded model."""
    model = Bottleneck().to(stage.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    muon, adam = optimizers(model, RATE, RATE)
    parts = {"model": model, "muon": muon, "adam": adam}
    rng = stage.resume(parts)
    compiled = torch.compile(model)
    for _ in stage.steps(parts, [muon, adam]):
        if stage.progress > FREEZE:
            model.norm.eval()
        images = batch(rng).to(stage.device, memory_format=torch.channels_last)
        with torch.autocast(stage.device.type, torch.bfloat16):
            made = compiled(images)
        loss = reconstruction_loss(made, images)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        model.zero_grad()
        stage.note(loss.item(), l1=F.l1_loss(made, images).item())
    return model.folded()
