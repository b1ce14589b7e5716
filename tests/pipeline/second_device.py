"""A second device for machines that have one: every tensor on it is a tensor of the processor under another name.

torch treats it as it treats a card: an operation over tensors of both devices fails, numpy cannot read it, and a tensor
that is made without `device=` lies on the processor. What a pipeline computes on it is really computed, so a pipeline
that ends with the same answers has moved everything that it had to move, and read back everything that it had to read.

Made with torch's own means for backends written in Python; one process has one such backend.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
NAME = "second"
_KERNELS = torch.library.Library("aten", "IMPL")
_INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
_ACROSS = (aten.copy_.default, aten._to_copy.default)  # what may see both devices: it moves


class _Runtime:
    """What torch asks of a backend's module."""

    is_available = staticmethod(lambda: True)
    is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    get_rng_state = staticmethod(lambda device=0: torch.empty(0, dtype=torch.uint8))


class SecondTensor(Tensor):
    """A tensor on the second device; `inner` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "SecondTensor":
        found = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=device(),
        )  # fmt: skip
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Values as numbers: torch reads them back from any device, though not from a subclass of its tensors."""
        return self.cpu().tolist()

    def storage(self) -> Any:
        """Where the values lie, for who asks whether two tensors share them."""
        return self.inner.storage()

    def untyped_storage(self) -> Any:
        """As `storage`."""
        return self.inner.untyped_storage()


class _Device(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def device() -> torch.device:
    """The device itself; registered on first use."""
    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME, _Runtime())
        for kernel in (aten.empty.memory_format, aten.empty_strided.default):  # where torch calls past every mode
            _KERNELS.impl(kernel, partial(_run_kernel, kernel), "PrivateUse1")
        _KERNELS.impl(aten._copy_from.default, _copy_from, "PrivateUse1")
    return torch.device(NAME, 0)


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Inside the `with`, tensors can be made on and moved to the device."""
    found = device()
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # as on a card, moved weights stay tied
    try:
        with _Device():
            yield found
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _run_kernel(func: Any, *args: Any, **kwargs: Any) -> Any:
    return _run(func, args, kwargs)


def _copy_from(source: Tensor, goal: Tensor, non_blocking: bool = False) -> Tensor:
    _inner(goal).copy_(_inner(source))
    return goal


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    wanted = kwargs.get("device")
    flat = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    ours = [one for one in flat if isinstance(one, SecondTensor)]
    if ours and func not in _ACROSS:
        _check(func, args, flat)
    if wanted is not None:
        here = torch.device(wanted).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu") if here else wanted}
    else:
        here = isinstance(args[0], SecondTensor) if func in _ACROSS else bool(ours)
    known = {id(one.inner): one for one in ours}
    out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if not here:
        return out
    return tree_map(lambda one: known.get(id(one), _wrapped(one)) if isinstance(one, Tensor) else one, out)


def _wrapped(one: Tensor) -> SecondTensor:
    return one if isinstance(one, SecondTensor) else SecondTensor(one)


def _check(func: Any, args: Any, flat: list[Tensor]) -> None:
    """As on a card: everything on one device, but for numbers and for what indexes a tensor."""
    free = (
        {id(one) for one in tree_flatten(args[1])[0]}
        if func in _INDEXING and isinstance(args[0], SecondTensor)
        else set()
    )
    wrong = [one for one in flat if not isinstance(one, SecondTensor) and one.dim() > 0 and id(one) not in free]
    if wrong:
        raise RuntimeError(f"{func}: tensors of both devices, on the processor {[tuple(one.shape) for one in wrong]}")


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, SecondTensor) else value
