"""Trains the text encoders alone, by classification: each attribute of each shape."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from .language import ATTRIBUTES, CLASSES, forget, labels, prompt
from .muon import optimizers
from .scenes import Scene, training_scene
from .stage import Stage
from .tokenizers import CLIP_LENGTH, clip_tokenizer, t5_tokenizer

WIDTH = 128
BATCH = 192
PAIR_SHARE = 0.65  # pairs are harder to read
NOISE = 0.4  # on the outputs, of about unit scale: it drives the classes apart
RATE, TABLE_RATE = 3e-3, 6e-3


def clip_model(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    """A fresh CLIP text encoder of two layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CLIP_LENGTH,
        hidden_act="gelu",
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return CLIPTextModel(config)


def t5_model(tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    """A fresh T5 encoder of three layers."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=16,
        d_ff=2 * WIDTH,
        num_layers=3,
        num_heads=8,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=64,  # exact to the maximal distance: words have places
        relative_attention_max_distance=32,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    model = T5EncoderModel(config)
    nn.init.normal_(
        model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight, std=1.5
    )
    return model


def token_ids(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Padded as FluxPipeline pads them, [B, L]."""
    length = tokenizer.model_max_length
    ids: Tensor = tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids


class TextEncoders(nn.Module):
    """Both encoders and their tokenizers, as the pipeline uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer, self.tokenizer_2 = clip_tokenizer(), t5_tokenizer()
        self.clip, self.t5 = clip_model(self.tokenizer), t5_model(self.tokenizer_2)

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """The prompts' T5 states [B, L, WIDTH] and pooled CLIP states [B, WIDTH]."""
        device = self.clip.device
        pooled = self.clip(token_ids(self.tokenizer, texts).to(device)).pooler_output
        return self.t5(token_ids(self.tokenizer_2, texts).to(device)).last_hidden_state, pooled


class Reader(nn.Module):
    """Linear heads that read each attribute, from its T5 register and from CLIP's pooled state."""

    def __init__(self) -> None:
        super().__init__()
        self.registers = nn.ModuleList(nn.Linear(WIDTH, count) for count in CLASSES)
        self.pooled = nn.ModuleList(nn.Linear(WIDTH, count) for count in CLASSES)

    def forward(self, states: Tensor, pooled: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits by register and by pooled state, each a list over ATTRIBUTES of [B, classes]."""
        by_register = [head(states[:, index]) for index, head in enumerate(self.registers)]
        return by_register, [head(pooled) for head in self.pooled]


def examples(rng: random.Random, count: int) -> tuple[list[str], Tensor]:
    """Prompts, some of them empty, and the classes [count, attributes] that they ask for."""
    said = [forget(training_scene(rng, PAIR_SHARE), rng) for _ in range(count)]
    texts = [prompt(scene, rng) for scene in said]
    said[0], texts[0] = Scene(None, ()), ""
    return texts, torch.tensor([labels(scene) for scene in said])


def jitter(states: Tensor, amount: float) -> Tensor:
    """States with gaussian noise added."""
    return states + amount * torch.randn_like(states)


def cross_entropy(logits: list[Tensor], classes: Tensor) -> Tensor:
    """Mean over the attributes; classes [B, attributes]."""
    losses = [F.cross_entropy(logit, classes[:, index]) for index, logit in enumerate(logits)]
    return torch.stack(losses).mean()


def accuracy(logits: list[Tensor], classes: Tensor) -> float:
    """The share of prompts of which every attribute is read right."""
    read = torch.stack([logit.argmax(-1) for logit in logits], dim=1)
    return (read == classes).all(dim=1).float().mean().item()


def train_text(stage: Stage) -> TextEncoders:
    """Trains the steps that the stage has left."""
    assert len(CLASSES) == len(ATTRIBUTES)
    encoders, reader = TextEncoders().to(stage.device), Reader().to(stage.device)
    model = nn.ModuleDict({"encoders": encoders, "reader": reader})
    muon, adam = optimizers(model, RATE, TABLE_RATE)
    parts = {"model": model, "muon": muon, "adam": adam}
    rng = stage.resume(parts)
    for _ in stage.steps(parts, [muon, adam]):
        texts, classes = examples(rng, BATCH)
        classes = classes.to(stage.device)
        with torch.autocast(stage.device.type, torch.bfloat16):
            states, pooled = encoders(texts)
        by_register, by_pooled = reader(
            jitter(states.float(), NOISE), jitter(pooled.float(), NOISE)
        )
        loss = cross_entropy(by_register, classes) + cross_entropy(by_pooled, classes)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        model.zero_grad()
        stage.note(
            loss.item(), t5=accuracy(by_register, classes), clip=accuracy(by_pooled, classes)
        )
    return encoders.eval().requires_grad_(False)
