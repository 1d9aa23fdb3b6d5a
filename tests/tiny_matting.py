"""A tiny, real segmentation model with random weights that tell pixels apart."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
)


def segmentation(folder: Path, labels: Sequence[str] = ("Background", "cat", "dog")) -> Path:
    """Save one with these labels in a folder, and return it."""
    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = SegformerForSemanticSegmentation(config).eval()
    _add_contrast(model)
    model.save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@torch.no_grad()
def _add_contrast(model: torch.nn.Module) -> None:
    """Scale the last layer until logits of noise have a spread of 1."""
    logits = model(torch.randn(1, 3, 64, 64)).logits
    model.decode_head.classifier.weight.mul_(1 / logits.std(dim=(2, 3)).mean())
