"""Tiny, real classifiers, whose weights are set by hand so that what they say can be told."""

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessorPil,
)

RED, FINE = "too red", "fine"
_SIDE = 32


@torch.no_grad()
def redness(folder: Path) -> Path:
    """Save an image classifier that takes offence at red, and return its folder."""
    config = ResNetConfig(
        num_channels=3,
        embedding_size=4,
        hidden_sizes=[4],
        depths=[1],
        layer_type="basic",
        id2label={0: FINE, 1: RED},
        label2id={FINE: 0, RED: 1},
    )
    model = ResNetForImageClassification(config).eval()
    for weights in model.parameters():
        if weights.ndim > 1:
            weights.zero_()
    first = model.resnet.embedder.embedder.convolution.weight
    first[0, :, 3, 3] = torch.tensor([1.0, -1.0, -1.0])
    model.classifier[1].weight[1, 0] = 40
    model.classifier[1].bias.copy_(torch.tensor([0.0, -10.0]))
    model.save_pretrained(folder)
    size = {"height": _SIDE, "width": _SIDE}
    ViTImageProcessorPil(size=size, do_normalize=False).save_pretrained(folder)
    return folder


@torch.no_grad()
def safety_checker(folder: Path, forbidden: torch.Tensor, allowed: torch.Tensor) -> Path:
    """Save a safety checker to which one of two pictures, (3, height, width) in [0, 1], is bad."""
    torch.manual_seed(0)
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    vision = {**tower, "image_size": _SIDE, "patch_size": 8, "projection_dim": 16}
    config = CLIPConfig(text_config=tower, vision_config=vision, projection_dim=16)
    checker = StableDiffusionSafetyChecker(config).eval()
    size, crop = {"shortest_edge": _SIDE}, {"height": _SIDE, "width": _SIDE}
    processor = CLIPImageProcessorPil(size=size, crop_size=crop)
    seen = processor(
        images=[(it * 255).round().to(torch.uint8) for it in (forbidden, allowed)],
        return_tensors="pt",
    )
    pooled = checker.vision_model(seen["pixel_values"])[1]
    bad, good = torch.nn.functional.normalize(checker.visual_projection(pooled))
    checker.concept_embeds.copy_(bad.expand(17, -1))
    checker.concept_embeds_weights.fill_(2)
    checker.special_care_embeds_weights.fill_(2)
    checker.concept_embeds_weights[0] = (1 + bad @ good) / 2
    checker.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
