"""How many bytes a model will take on its device, told by the headers of its files.

Reads no weight, and needs no torch. Two models have a part in common when its files look alike;
whether they are alike is for `components` to say.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

from pipelines.definitions import SINGLE
from pipelines.lanes.joins import DENOISERS
from pipelines.models.headers import tensors
from pipelines.models.insides import denoiser_of, inside, is_whole
from pipelines.models.precision import dtype_of_weight, stored_dtype
from pipelines.models.quantizations import QUANTIZATIONS, quantized_size
from pipelines.registry import ModelSpec
from pipelines.weights.layout import INDEX, components, needed, needed_of_one, variant_of

Parts = Mapping[str, int]
"""Bytes of a device by part. A part that two models have is in its memory once."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_STORED = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1},
    **{"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1},
}
_NEVER_LACKING = frozenset({*DENOISERS, "vae", "safety_checker"})
"""What is in a whole checkpoint, or that diffusers does without."""
_WIDE = ".wo.weight"
"""What overflows in a T5 in float16, and is in float32 then."""
_SPLIT = 4
_WHOLE = 1 << 20
_SAMPLES, _SAMPLE = 16, 1 << 16


@dataclass(frozen=True, slots=True)
class Component:
    """One of the modules of a pipeline, as its files say."""

    name: str
    """What its content and the way in which it is loaded look like."""
    files: tuple[Path, ...]
    size: int
    """Bytes of the device, once it is loaded."""
    largest: int = 0
    """Bytes of its largest tensor."""
    quantized: Mapping[str, int] = field(default_factory=dict)
    """Its bytes in fewer bits, by quantization; of those that may be stored so."""
    quantization: str = "none"
    """How it is stored."""
    streamed: bool = False
    """It lies in the host's memory, and comes to the device layer by layer, for each use."""


def components_of(spec: ModelSpec, place: Path) -> dict[str, Component]:
    """What there are weights for in a pipeline's folder, or its only file, by component.

    Raises OSError, and ValueError or KeyError for files that are not what they should be.
    """
    return _of_file(spec, place) if place.is_file() else _of_folder(spec, place)


def _of_file(spec: ModelSpec, file: Path) -> dict[str, Component]:
    config = Path(spec.config) if spec.config else None
    if config is not None and is_whole(file):
        return _of_whole(spec, file, config)
    mine = _component(str(file), [file], spec.dtype, may=False)
    if config is None:
        return {"": mine}
    denoiser = denoiser_of(config)
    label, files = _in_a_file(spec, file, config, denoiser)
    return _of_folder(spec, config) | {denoiser: replace(mine, name=label, files=files)}


def _of_whole(spec: ModelSpec, file: Path, config: Path) -> dict[str, Component]:
    """What is in a checkpoint, and of a folder what the checkpoint has not: often a T5."""
    found = {}
    for name, there in inside(file, config).items():
        dtype = stored_dtype(config / name, spec.dtype, _pipeline(spec, config))
        sizes = [_tensor(*it, dtype) for it in there]
        label, files = _in_a_file(spec, file, config, name)
        found[name] = Component(label, files, sum(sizes), max(sizes))
    lacking = {
        name: replace(it, quantized={})
        for name, it in _of_folder(spec, config).items()
        if name not in {*found, *_NEVER_LACKING}
    }
    return found | lacking


def _in_a_file(
    spec: ModelSpec, file: Path, config: Path, name: str
) -> tuple[str, tuple[Path, ...]]:
    """What a component of a single file is called, and the files that it is read from."""
    kinds = components(json.loads((config / INDEX).read_bytes()))
    files = (file, config / name / "config.json")
    dtype = stored_dtype(config / name, spec.dtype, _pipeline(spec, config))
    return _label(kinds[name], (name, spec.dtype, dtype), files), files


def _label(kind: tuple[str, str], told: Iterable[str], files: Iterable[Path]) -> str:
    """Of a component, by its library and class, how it is read, and what its files look like."""
    looks = repr((*kind, *told, *(_look(file) for file in files)))
    digest = hashlib.blake2b(looks.encode(), digest_size=12).hexdigest()
    return f"{kind[1]}@{digest}"


def _of_folder(spec: ModelSpec, folder: Path) -> dict[str, Component]:
    kinds = components(json.loads((folder / INDEX).read_bytes()))
    found = {}
    for name, files in _files(folder).items():
        if any(file.suffix == ".safetensors" for file in files):
            dtype = stored_dtype(folder / name, spec.dtype, _pipeline(spec, folder))
            label = _label(kinds[name], (spec.dtype, dtype), files)
            found[name] = _component(label, files, dtype, _may_be_quantized(name, kinds[name][1]))
    return found


def _pipeline(spec: ModelSpec, folder: Path) -> str:
    """The name of the class of a model's pipeline."""
    if spec.pipeline != "auto":
        return spec.pipeline
    return str(json.loads((folder / INDEX).read_bytes()).get("_class_name"))


def _may_be_quantized(component: str, kind: str) -> bool:
    """A denoiser, and a large text encoder; a CLIP is small, and all prompts go through it."""
    text = component.startswith("text_encoder") and not kind.startswith("CLIP")
    return component in DENOISERS or text


def _component(label: str, files: list[Path], dtype: str, may: bool) -> Component:
    weights = [file for file in files if file.suffix in SINGLE]
    sizes = _sizes(weights, dtype)
    whole = sum(sizes)
    saved = {kind: sum(_saved(kind, it, dtype) for it in weights) for kind in QUANTIZATIONS if may}
    quantized = {kind: whole - less for kind, less in saved.items() if less}
    return Component(label, tuple(files), whole, max(sizes, default=0), quantized)


def _saved(kind: str, file: Path, dtype: str) -> int:
    """The bytes that a file's tensors do not take when they are quantized."""
    found = ((name, it) for name, it in tensors(file) if it["dtype"][0] in "FB")
    saved = 0
    for name, it in found:
        size = _tensor(name, it, dtype)
        saved += size - quantized_size(kind, name, it["shape"], size)
    return saved


def size_of_one(folder: Path, dtype: str) -> int:
    """Bytes of a model of transformers that lies in a folder; 0 for files that cannot be read."""
    try:
        files = needed_of_one([path.name for path in folder.iterdir() if path.is_file()])
        weights = [folder / name for name in files if name.endswith(".safetensors")]
        return sum(_sizes(weights, dtype))
    except Exception:  # whatever they are like: who reads them says what is wrong
        return 0


def size_of_lora(file: Path, each: int) -> int:
    """The most bytes that a LoRA's file takes where each number takes so many.

    Where a model's layers have other bounds than the file's, their inner weights are needed anew
    for each: up to four, for query, key, value and what follows. Raises OSError, and ValueError or
    KeyError for what is no such file.
    """
    told = {name: prod(it["shape"]) for name, it in tensors(file)}
    ours = all(".lora_A." in name or ".lora_B." in name for name in told)
    return int(each * sum(told.values()) * (1 if ours else _SPLIT))


def size_of(*several: Parts) -> int:
    """Bytes of several models together, what they share counted once."""
    return sum({name: size for parts in several for name, size in parts.items()}.values())


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files that are read of each component."""
    there = (f"{path.parent.name}/{path.name}" for path in folder.glob("*/*") if path.is_file())
    index = json.loads((folder / INDEX).read_bytes())
    found: dict[str, list[Path]] = {}
    for path in needed(there, index, variant_of(folder)):
        component, _, name = path.rpartition("/")
        if component:
            found.setdefault(component, []).append(folder / component / name)
    return found


def _sizes(files: list[Path], dtype: str) -> list[int]:
    """Bytes of the tensors in files, those with a floating point in the given dtype."""
    return [size for file in files for size in _sizes_in(file, dtype)]


def _sizes_in(file: Path, dtype: str) -> list[int]:
    if file.suffix == ".safetensors":
        return [_tensor(name, told, dtype) for name, told in tensors(file)]
    return [file.stat().st_size]  # GGUF stays as it is stored


def _tensor(name: str, told: Mapping[str, Any], dtype: str) -> int:
    stored = told["dtype"]
    dtype = dtype_of_weight(name, dtype)
    if dtype == "float16" and name.endswith(_WIDE):
        dtype = "float32"
    each = BYTES[dtype] if stored[0] in "FB" and stored != "BOOL" else _STORED.get(stored, 1)
    return int(each * prod(told["shape"]))


def _look(file: Path) -> tuple[str, int, str]:
    """A file's name, size and a digest: of all of it, or of its header and samples."""
    size = file.stat().st_size
    with file.open("rb", buffering=0) as source:
        digest = hashlib.blake2b(source.read(_WHOLE), digest_size=16)
        for number in range(_SAMPLES if size > _WHOLE else 0):
            source.seek(_WHOLE + (size - _WHOLE) * number // _SAMPLES)
            digest.update(source.read(_SAMPLE))
    return file.name, size, digest.hexdigest()
