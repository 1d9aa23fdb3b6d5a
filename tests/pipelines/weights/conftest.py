"""A model as a repository holds it: small, in the layout of a real one."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

Repository = dict[str, bytes]


def tensors(size: int = 64, seed: int = 0) -> bytes:
    """A safetensors file with one tensor of so many bytes."""
    data = bytes((seed + 7 * i * i) % 251 for i in range(size))
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    return struct.pack("<Q", len(header)) + header.encode() + data


@pytest.fixture
def repository() -> Repository:
    """A pipeline of three components, among what a hub's repository has beside one."""
    index = {
        "_class_name": "TinyPipeline",
        "_diffusers_version": "0.42.0",
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "safety_checker": [None, None],
        "force_zeros": True,
    }
    parts = "diffusion_pytorch_model-0000{}-of-00002.safetensors"
    weight_map = {"a": parts.format(1), "b": parts.format(2)}
    needed = {
        "model_index.json": json.dumps(index).encode(),
        "scheduler/scheduler_config.json": b"{}",
        "text_encoder/config.json": b'{"model_type": "clip_text_model"}',
        "text_encoder/model.safetensors": tensors(100, 1),
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.safetensors.index.json": json.dumps(
            {"weight_map": weight_map}
        ).encode(),
        f"unet/{parts.format(1)}": tensors(300_000, 2),
        f"unet/{parts.format(2)}": tensors(200_000, 3),
    }
    beside = {
        "README.md": b"# Tiny",
        "tiny.safetensors": tensors(5_000),
        "text_encoder/pytorch_model.bin": b"\x80\x04pickled",
        "text_encoder/model.fp16.safetensors": tensors(50),
        "text_encoder/model.onnx": b"onnx",
        "unet/diffusion_pytorch_model.fp16.safetensors": tensors(50),
        "unet/diffusion_pytorch_model.bin.index.json": b"{}",
        "unet/image.png": b"png",
        "vae/model.safetensors": tensors(10),
    }
    return needed | beside


@pytest.fixture
def needed(repository: Repository) -> list[str]:
    """What of it the pipeline needs."""
    return sorted(list(repository)[:8])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Repository, str], Path]:
    """Put files into a folder."""

    def write(files: Repository, where: str) -> Path:
        for path, data in files.items():
            file = tmp_path / where / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return tmp_path / where

    return write
