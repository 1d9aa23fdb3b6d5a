"""Patches torch so that pretended CUDA devices exist in this process."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import torch
import torch.utils._device

from tests.support.pretend_cuda import devices as state
from tests.support.pretend_cuda import tensors
from tests.support.pretend_cuda.surface import SURFACE

aten = torch.ops.aten
_plain_device = torch.device
_SOURCE = Path(__file__).parent / "guard.cpp"
_library: torch.library.Library | None = None


def missing() -> str | None:
    """Why devices cannot be pretended here; None if they can."""
    if torch.version.cuda is not None or torch.version.hip is not None:
        return "pretending a CUDA device requires a CPU build of torch"
    if not _built().exists() and shutil.which("g++") is None:
        return "pretending a CUDA device requires g++ once, to build 30 lines of C++"
    return None


def install(devices: int = 1, memory: int = 2**31) -> None:
    """Add devices of so many bytes each to this process. Has no effect the second time."""
    global _library
    if _library is not None:
        return
    state.Native.library = _build()
    state.Native.library.pretend_install(devices)
    state.cards[:] = [state.Card(index, memory) for index in range(devices)]
    if os.environ.get("PRETEND_CUDA_PACE"):
        state.settings.pace = float(os.environ["PRETEND_CUDA_PACE"])
        state.paced_threads.add(threading.main_thread().ident or 0)
    _library = torch.library.Library("aten", "IMPL")
    _register_kernels(_library)
    torch.utils._device._device_constructors()  # caches the factory functions as they are now
    _patch_devices()
    _patch_cuda()
    _patch_tensors()


def _built() -> Path:
    """The path of the built C++ part, which names its source and the version of torch."""
    told = _SOURCE.read_bytes() + torch.__version__.encode()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not os.access(cache if cache.exists() else cache.parent, os.W_OK):
        cache = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    name = f"pretend_cuda_{hashlib.blake2b(told, digest_size=8).hexdigest()}.so"
    return cache / "darkroom-tests" / name


def _build() -> ctypes.CDLL:
    built = _built()
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(torch.__file__).parent
        draft = built.with_suffix(f".{os.getpid()}")
        options = ["-shared", "-fPIC", "-O1", "-std=c++20", "-w", f"-I{folder}/include"]
        options.append(f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}")
        link = [f"-L{folder}/lib", "-lc10", "-o", str(draft)]
        subprocess.run(["g++", str(_SOURCE), *options, *link], check=True)
        draft.replace(built)
    return ctypes.CDLL(str(built))


def _register_kernels(library):
    """Kernels of factory functions, for all threads: a dispatch mode would be of one thread."""
    for packet in (getattr(aten, name) for name in dir(aten)):
        for op in [getattr(packet, name) for name in getattr(packet, "overloads", list)()]:
            kinds = {arg.name: str(arg.type) for arg in op._schema.arguments}
            makes = {"device", "pin_memory"} <= kinds.keys()
            if makes and not any("Tensor" in kind for kind in kinds.values()):
                library.impl(op, _factory(op), "CUDA")
    # torch.tensor calls these past __torch_dispatch__.
    copy, item = aten.copy_.default, aten._local_scalar_dense.default
    library.impl("copy_", lambda *args, **kw: tensors.dispatch(copy, args, kw), "CUDA")
    library.impl(
        "_local_scalar_dense", lambda tensor: tensors.dispatch(item, (tensor,), {}), "CUDA"
    )


def _factory(op):
    def make(*args, **kwargs):
        index = state.index_of(kwargs.get("device"))
        state.require_working(index)
        tensors.require_generator(kwargs)
        tensors.allocate_on_host(kwargs, index)
        return tensors.wrap(op(*args, **kwargs), index)

    return make


def _numbered(value):
    """A bare number names a CUDA device."""
    return _plain_device("cuda", value) if type(value) is int else value


class _DeviceKind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, _plain_device)

    def __call__(cls, *args, **kwargs):
        if len(args) == 1:
            return _plain_device(*map(_numbered, args))
        return _plain_device(*args, **kwargs)


class _Device(metaclass=_DeviceKind):
    """torch.device, where a bare number names a CUDA device."""


_plain_to = torch.Tensor.to
_plain_parse = torch._C._nn._parse_to


def _parse_to(*args, **kwargs):
    if "device" in kwargs:
        kwargs["device"] = _numbered(kwargs["device"])
    return _plain_parse(*map(_numbered, args[:1]), *args[1:], **kwargs)


def _tensor_to(self, *args, **kwargs):
    if "device" in kwargs:
        kwargs["device"] = _numbered(kwargs["device"])
    return _plain_to(self, *map(_numbered, args[:1]), *args[1:], **kwargs)


def _patch_devices():
    torch._C._nn._parse_to, torch.Tensor.to, torch.device = _parse_to, _tensor_to, _Device


def _patch_cuda():
    torch._C._cuda_getCurrentRawStream = lambda index: 0
    for name, stand_in in SURFACE.items():
        for place in (torch.cuda, torch.cuda.memory):
            if place is torch.cuda or hasattr(place, name):
                setattr(place, name, stand_in)
    accelerator = {
        "current_accelerator": lambda check_available=False: _plain_device("cuda"),
        "is_available": lambda: True,
        "device_count": torch.cuda.device_count,
        "synchronize": torch.cuda.synchronize,
        "current_stream": state.current_stream,
    }
    for name, stand_in in accelerator.items():
        setattr(torch.accelerator, name, stand_in)


def _cuda(self, device=None, non_blocking=False, memory_format=torch.preserve_format):
    return self.to(_plain_device("cuda", state.index_of(device)), non_blocking=non_blocking)


def _pin_memory(self, device=None):
    return self if tensors.is_pinned(self) else tensors.pin(self.clone())


def _patch_tensors():
    torch.Generator = tensors.Generator
    torch.Tensor.data = property(tensors.plain_data.__get__, tensors.set_data)
    torch.Tensor._make_subclass = staticmethod(tensors.make_subclass)
    torch.Tensor.cuda = _cuda
    torch.Tensor.pin_memory = _pin_memory
    torch.Tensor.is_pinned = tensors.is_pinned
    torch._has_compatible_shallow_copy_type = tensors.is_compatible
    torch.utils.swap_tensors = lambda one, other: tensors.become(one, other, keep=False)
    torch.nn.functional.scaled_dot_product_attention = tensors.attention
    for name in ("empty", "zeros", "ones", "full", "empty_strided"):
        setattr(torch, name, tensors.pinning(getattr(torch, name)))
