"""What diffusers and transformers must be told to store a module's weights in fewer bits.

Knows their configurations; not which modules, nor why.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from pipelines.weights.layout import components
from pipelines.weights.safety import read_index

_Config = Callable[[Any, torch.dtype], Any]


def quantized(stored: Mapping[str, str], folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """What a pipeline's `from_pretrained` must be told, by how components shall be stored.

    Nothing, if all are to be as they are.
    """
    libraries = {name: library for name, (library, _) in components(read_index(folder)).items()}
    mapping = {
        name: config_for(kind, libraries[name], dtype)
        for name, kind in stored.items()
        if kind != "none" and name in libraries
    }
    if not mapping:
        return {}
    from diffusers.quantizers import PipelineQuantizationConfig

    return {"quantization_config": PipelineQuantizationConfig(quant_mapping=mapping)}


def config_for(kind: str, library: str, dtype: torch.dtype) -> Any:
    """For `from_pretrained` of a class of diffusers or of transformers.

    `dtype` is what is computed in. Raises ImportError if the package is not there.
    """
    return _CONFIGS[kind](import_module(library), dtype)


def _float8(library: Any, dtype: torch.dtype) -> Any:
    from torchao.quantization import Float8WeightOnlyConfig

    return library.TorchAoConfig(Float8WeightOnlyConfig())


def _int8(library: Any, dtype: torch.dtype) -> Any:
    return library.BitsAndBytesConfig(load_in_8bit=True)


def _nf4(library: Any, dtype: torch.dtype) -> Any:
    return library.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


_CONFIGS: Mapping[str, _Config] = {"float8": _float8, "int8": _int8, "nf4": _nf4}


def mixes_rows(module: torch.nn.Module) -> bool:
    """Whether what a module makes of a row depends on the other rows of a pass.

    In 8 whole bits, inputs that are far out anywhere in a pass are computed apart for all of it.
    """
    return bool(getattr(module, "is_loaded_in_8bit", False))


def weigh(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers, as they are stored; what shares memory once."""
    tensors = [it for whole in (*module.parameters(), *module.buffers()) for it in _stored(whole)]
    return sum({it.data_ptr(): it.nbytes for it in tensors}.values())


def _stored(tensor: Any) -> list[torch.Tensor]:
    """What a tensor consists of: a quantized one of others, with which it is scaled."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return [it for name in names for it in _stored(getattr(tensor, name))]
    state = getattr(tensor, "quant_state", None)
    scales = [getattr(state, "absmax", None), getattr(state, "code", None)]
    scales.append(getattr(tensor, "SCB", None))
    return [tensor.data, *(it for it in scales if it is not None)]
