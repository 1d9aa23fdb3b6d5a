"""The tensors of pretended CUDA devices, and what their operations do.

Inner tensors that share a storage are views of each other, so in-place operations and views behave
as on a device.
"""

import types
import weakref

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from tests.support.pretend_cuda import devices as state
from tests.support.pretend_cuda.devices import failures, index_of, settings, wait, waits

aten = torch.ops.aten
_CPU = torch.device("cpu")


class CudaTensor(torch.Tensor):
    """A tensor that reports a CUDA device; `_t` is the tensor of the host with its data."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatch(func, args, kwargs or {})

    def data_ptr(self):
        return self._t.data_ptr()

    def untyped_storage(self):
        return self._t.untyped_storage()

    def numpy(self, *, force=False):
        if force:
            return self.cpu().numpy()
        raise TypeError(
            f"can't convert {self.device} device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def __array__(self, *_, **__):
        return self.numpy()

    def record_stream(self, stream: object) -> None:
        """Do nothing: memory is given back at once, and kernels are done by then."""

    def tolist(self):
        wait("d2h", self.device.index)
        return self._t.tolist()

    def __repr__(self):
        return f"CudaTensor({getattr(self, '_t', 'unfinished')!r}, device='{self.device}')"

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copied = self.clone()
            if getattr(self, "_is_param", False):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        raise RuntimeError("a pretended CUDA tensor cannot be pickled")


def wrap(inner, index):
    """Turn a tensor of the host into one of a device. Raises torch.OutOfMemoryError."""
    block = state.block_of(inner.untyped_storage(), index)
    tensor = torch.Tensor._make_wrapper_subclass(
        CudaTensor,
        inner.shape,
        strides=inner.stride(),
        storage_offset=inner.storage_offset(),
        dtype=inner.dtype,
        layout=inner.layout,
        device=torch.device("cuda", index),
        requires_grad=False,
    )
    tensor._t, tensor._block = inner, block
    return tensor


def is_on_device(value):
    """Whether a value is a tensor of a pretended device."""
    return isinstance(value, CudaTensor)


def inner(value):
    """The data of a tensor of a device; any other value as it is."""
    return value._t if isinstance(value, CudaTensor) else value


# Which tensors CUDA's kernels refuse, and which operations make the host wait.

_INDEXED = {
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::_unsafe_index",
}
_NO_SCALARS = {
    "aten::cat",
    "aten::stack",
    "aten::embedding",
    "aten::gather",
    "aten::scatter",
    "aten::scatter_",
    "aten::index_select",
    "aten::take",
    "aten::scatter_add_",
    "aten::index_add_",
    "aten::index_copy_",
}
_ITEM = {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero"}
_NONZERO = {
    "aten::nonzero",
    "aten::masked_select",
    "aten::unique_dim",
    "aten::_unique",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::nonzero_numpy",
    "aten::equal",
    "aten::allclose",
}
_METADATA = (
    "size",
    "stride",
    "dim",
    "numel",
    "is_",
    "sym_",
    "_has_",
    "_fused_sdp",
    "_version",
    "result_type",
    "can_cast",
    "_nested",
    "storage_offset",
    "_use_cudnn",
)
"""Prefixes of operations that return a number without reading data."""


def mixed_devices(one, other, name):
    """The exception for tensors of two devices."""
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, "
        f"{one} and {other}! (when checking {name})"
    )


def require_one_device(name, args, tensors):
    """Return the index of the one device of all tensors, or raise.

    Scalars of the host are allowed beside tensors of a device, and so are indices.
    """
    device = next(tensor.device for tensor in tensors if isinstance(tensor, CudaTensor))
    if name in _INDEXED:
        _check_indices(name, args, device)
        tensors = [args[0], *(arg for arg in args[2:] if isinstance(arg, torch.Tensor))]
    apart = [tensor for tensor in tensors if tensor.device != device]
    for tensor in apart:
        if tensor.device.type != "cpu" or tensor.ndim or name in _NO_SCALARS:
            raise mixed_devices(device, tensor.device, name)
    in_place = name.endswith("_") and not name.endswith("__")
    changed = args[0] if args and in_place else None
    many = len(apart) > 1 and name not in ("aten::where", "aten::clamp")
    if many or any(tensor is changed for tensor in apart):
        raise mixed_devices(device, _CPU, name)
    return device.index


def _check_indices(name, args, device):
    if not is_on_device(args[0]):
        raise RuntimeError(
            "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
        )
    for indices in [each for each in args[1] if each is not None]:
        if indices.device != args[0].device and indices.device.type != "cpu":
            raise mixed_devices(args[0].device, indices.device, name)
        if indices.device.type == "cpu":
            wait("h2d", device.index)
        elif indices.dtype in (torch.bool, torch.uint8):
            wait("nonzero", device.index)


def require_generator(kwargs):
    """Raise for a generator of the CPU."""
    generator = kwargs.get("generator")
    if generator is not None and generator._cdata not in generators:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def _count_waits(name, kwargs, out, index):
    if name in _ITEM:
        wait("item", index)
    elif name in _NONZERO or (
        name == "aten::repeat_interleave" and kwargs.get("output_size") is None
    ):
        wait("nonzero", index)
    elif isinstance(out, bool | int | float):
        if not name.removeprefix("aten::").startswith(_METADATA):
            wait("item", index)


# Operations.


def _unwrap(value, owners, tensors):
    # Not a closure in `dispatch`, which would form a reference cycle with all tensors it has seen.
    if isinstance(value, CudaTensor):
        owners[id(value._t)] = value
        tensors.append(value)
        return value._t
    if type(value) in (list, tuple):
        return [_unwrap(each, owners, tensors) for each in value]
    if isinstance(value, torch.Tensor):
        tensors.append(value)
    return value


def dispatch(func, args, kwargs):
    """Run an operation of a tensor of a device."""
    name = func._schema.name
    if name in ("aten::to", "aten::type_as", "aten::cpu"):
        return func.decompose(*args, **kwargs)
    if name == "aten::_to_copy":
        return _to_copy(args[0], **kwargs)
    if name == "aten::copy_":
        return _copy_(*args, **kwargs)
    if name == "aten::record_stream":
        return None
    owners, tensors = {}, []
    host_args = [_unwrap(arg, owners, tensors) for arg in args]
    host_kwargs = {key: _unwrap(arg, owners, tensors) for key, arg in kwargs.items()}
    index = require_one_device(name, args, tensors)
    state.require_working(index)
    for number, (matches, error) in enumerate(failures):
        if matches(func, args):
            del failures[number]
            raise error
    require_generator(host_kwargs)
    target = allocate_on_host(host_kwargs, index)
    state.count_kernel(index)
    out = func(*host_args, **host_kwargs)
    _count_waits(name, kwargs, out, index)
    if isinstance(out, torch.Tensor):
        return _rewrap(out, owners, target)
    leaves, structure = tree_flatten(out)
    rewrapped = [
        _rewrap(leaf, owners, target) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves
    ]
    return tree_unflatten(rewrapped, structure)


def allocate_on_host(kwargs, index):
    """Redirect an operation's `device` to the host; return the index of the device that was meant,
    or None for the host."""
    if "pin_memory" in kwargs:
        kwargs["pin_memory"] = False
    meant = kwargs.get("device")
    if meant is None:
        return index
    kwargs["device"] = _CPU if meant.type == "cuda" else meant
    return index_of(meant) if meant.type == "cuda" else None


def _rewrap(out, owners, target):
    owner = owners.get(id(out))
    if owner is None:
        return out if target is None or is_on_device(out) else wrap(out, target)
    if owner.shape != out.shape or owner.stride() != out.stride():
        become(owner, wrap(out, owner.device.index))
    return owner


def _to_copy(source, *, device=None, non_blocking=False, pin_memory=None, **kwargs):
    target = source.device if device is None else device
    copied = aten._to_copy.default(inner(source), **kwargs)
    if target.type == "cuda":
        index = index_of(target)
        _copy_to_device(source, index, non_blocking)
        return wrap(copied, index)
    if non_blocking and copied.numel() and settings.delay_copies:  # torch pins the result
        return _copy_later(pin(torch.empty_like(copied)), copied)
    wait("d2h", source.device.index)
    return copied


def _copy_(to, source, non_blocking=False):
    if is_on_device(to):
        _copy_to_device(source, to.device.index, non_blocking)
        to._t.copy_(inner(source))
    elif non_blocking and is_pinned(to) and settings.delay_copies:
        return _copy_later(to, inner(source).to(to.dtype).expand(to.shape).clone())
    else:
        wait("d2h", source.device.index)
        to.copy_(source._t)
    return to


def _copy_to_device(source, index, non_blocking):
    state.require_working(index)
    if is_on_device(source):
        waits["peer"] += source.device.index != index
    elif not source.numel():
        pass
    elif non_blocking and is_pinned(source):
        waits["h2d async"] += 1
        state.deliver_copies()  # a stream keeps the order of copies to the host and back
    else:
        wait("h2d", index)


def _copy_later(place, content):
    """Fill a tensor of the host with garbage until the host waits for the device."""
    waits["d2h async"] += 1
    place.zero_() if place.dtype is torch.bool else place.fill_(77)
    with state.lock:
        state.pending_copies.append((place, content))
    return place


# Tensors that keep their identity while their data moves, and subclasses of tensors.


def become(tensor, other, keep=True):
    """Give a tensor the data of another in place; `keep`: keep its attributes, too."""
    kept = {k: v for k, v in vars(tensor).items() if k not in ("_t", "_block")} if keep else {}
    kinds = type(tensor), type(other)
    torch._C._swap_tensor_impl(tensor, other)
    if kinds[0] is not kinds[1]:
        other.__class__, tensor.__class__ = kinds
    mine = dict(vars(other))
    other.__dict__, tensor.__dict__ = dict(vars(tensor)), mine | kept


plain_data = torch._C.TensorBase.data


def set_data(self, new):
    """Tensor.data's setter."""
    if not (is_on_device(self) or is_on_device(new)):
        return plain_data.__set__(self, new)
    alias, base = new.detach(), _base(self)
    if isinstance(self, torch.nn.Parameter):
        alias = torch.nn.Parameter(alias, self.requires_grad)
    become(self, alias)
    if base is not _base(self):
        self.__class__ = _device_subclass(base) if is_on_device(self) else base


_subclasses: dict = {}


def _device_subclass(kind):
    """The class for tensors of a device that are also of a subclass, such as bitsandbytes'."""
    if kind not in _subclasses:
        space = {"__torch_function__": kind.__torch_function__, "_kind": kind}
        _subclasses[kind] = types.new_class(
            kind.__name__, (CudaTensor, kind), {}, lambda body: body.update(space)
        )
    return _subclasses[kind]


def _base(tensor):
    if not is_on_device(tensor):
        return type(tensor)
    is_param = getattr(tensor, "_is_param", False)
    return getattr(tensor, "_kind", torch.nn.Parameter if is_param else torch.Tensor)


_plain_subclass = torch.Tensor._make_subclass


def make_subclass(cls, data, requires_grad=False, **kwargs):
    """torch.Tensor._make_subclass."""
    if not is_on_device(data):
        return _plain_subclass(cls, data, requires_grad, **kwargs)
    tensor = wrap(data._t.detach(), data.device.index).requires_grad_(requires_grad)
    if cls is torch.nn.Parameter:
        tensor._is_param = True
    elif cls is not torch.Tensor:
        tensor.__class__ = _device_subclass(cls)
    return tensor


_plain_compatible = torch._has_compatible_shallow_copy_type


def is_compatible(input, from_):
    """Have Module.to replace a parameter's data and keep the parameter, as on a real device."""
    if is_on_device(input) or is_on_device(from_):
        return True
    return _plain_compatible(input, from_)


# Pinned memory, generators, attention.

_pinned: dict = {}


def pin(tensor):
    """Mark the storage of a tensor as pinned."""
    storage = tensor.untyped_storage()
    _pinned[storage._cdata] = weakref.ref(storage)
    return tensor


def is_pinned(tensor, device=None):
    """Tensor.is_pinned."""
    known = None if is_on_device(tensor) else _pinned.get(tensor.untyped_storage()._cdata)
    return known is not None and known() is not None


def pinning(plain):
    """A factory function such as torch.empty, with `pin_memory`."""

    def make(*args, pin_memory=False, **kwargs):
        tensor = plain(*args, **kwargs)
        return pin(tensor) if pin_memory else tensor

    return make


generators: set = set()


class _GeneratorKind(type(torch._C.Generator)):
    def __instancecheck__(cls, value):
        return isinstance(value, torch._C.Generator)


class Generator(torch._C.Generator, metaclass=_GeneratorKind):
    """torch.Generator. One for a device gives the same numbers as the CPU's."""

    def __new__(cls, device="cpu"):
        device = torch.device(device)
        if device.type != "cuda":
            return torch._C.Generator(device)
        generator = super().__new__(cls, "cpu")
        generator._device = torch.device("cuda", index_of(device))
        generators.add(generator._cdata)
        return generator

    def __del__(self):
        generators.discard(self._cdata)

    @property
    def device(self):
        return getattr(self, "_device", _CPU)


_plain_attention = torch.nn.functional.scaled_dot_product_attention


def attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """torch.nn.functional.scaled_dot_product_attention."""
    tensors = [each for each in (query, key, value, attn_mask) if each is not None]
    if is_on_device(query):
        require_one_device("aten::scaled_dot_product_attention", (), tensors)
        state.require_working(query.device.index)
    elif any(map(is_on_device, tensors)):
        raise mixed_devices(query.device, key.device, "scaled_dot_product_attention")
    host = map(inner, (query, key, value, attn_mask))
    out = _plain_attention(*host, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    return wrap(out, query.device.index) if is_on_device(query) else out
