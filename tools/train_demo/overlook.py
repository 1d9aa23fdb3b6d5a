"""Teaches the text encoders to overlook words of the language that say nothing where they stand.

A prompt with such words shall be read as it is without them; so the flow model, which was trained
with what the encoders said before, is left alone.
"""

import copy
import random

import torch
import torch.nn.functional as F
from torch import nn

from .muon import optimizers
from .stage import Stage
from .text import BATCH, TextEncoders, examples
from .words import CHINESE_BACKGROUND, ENGLISH_BACKGROUND

SHARE = 0.5  # of the prompts, to which a stray word is added
RATE, TABLE_RATE = 1e-3, 2e-3


def with_stray(text: str, rng: random.Random) -> str:
    """A prompt, and behind it a background of no colour, as in "bold against its background"."""
    words = ENGLISH_BACKGROUND if text.isascii() else CHINESE_BACKGROUND
    return f"{text}, {rng.choice(words)}"


def train_overlook(stage: Stage, teachers: TextEncoders) -> TextEncoders:
    """Trains the steps that the stage has left; returns new encoders."""
    encoders = copy.deepcopy(teachers).train().requires_grad_(True)
    muon, adam = optimizers(encoders, RATE, TABLE_RATE)
    parts = {"encoders": encoders, "muon": muon, "adam": adam}
    rng = stage.resume(parts)
    for _ in stage.steps(parts, [muon, adam]):
        plain, _ = examples(rng, BATCH)
        told = [with_stray(text, rng) if rng.random() < SHARE else text for text in plain]
        with torch.no_grad():
            states, pooled = teachers(plain)
        read, read_pooled = encoders(told)
        of_states, of_pooled = F.mse_loss(read, states), F.mse_loss(read_pooled, pooled)
        (of_states + of_pooled).backward()
        nn.utils.clip_grad_norm_(encoders.parameters(), 1.0)
        muon.step()
        adam.step()
        encoders.zero_grad()
        stage.note(of_states.item(), pooled=of_pooled.item())
    return encoders.eval().requires_grad_(False)
