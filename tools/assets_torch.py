"""Read the tensors of a torch file without torch, and without trusting the pickle inside it.

A pickle is a program: a plain load may call anything it names. Here only the names that a table of float and
integer tensors needs are known, each bound to something of this file; any other name refuses the whole file.
"""

import collections
import pickle
import struct
from typing import BinaryIO

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of torch's stream format (torch.save before 1.6)
PROTOCOL = 1001


class TorchFileError(ValueError):
    """The file is not a table of tensors in torch's stream format, or asks for something else."""


class _Storage:
    """A flat run of numbers that follows the pickles in the file; tensors are views of it."""

    def __init__(self, dtype: str, numel: int):
        self.data = np.zeros(numel, dtype)

    def __setstate__(self, state):
        raise TorchFileError("the file changes a storage while it is read")


def _rebuild_tensor(storage, offset, shape, stride, requires_grad=False, hooks=None):
    """View of a storage as an array; strides count numbers, not bytes."""
    if not isinstance(storage, _Storage) or len(shape) != len(stride) or min(offset, *shape, *stride, 0) < 0:
        raise TorchFileError(f"impossible tensor: offset {offset}, shape {shape}, strides {stride}")
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.data.size:
        raise TorchFileError(f"tensor of shape {shape}, strides {stride}, offset {offset} leaves its storage "
                             f"of {storage.data.size} numbers")
    data = storage.data[offset:]
    byte_strides = [s * data.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(data, shape, byte_strides, writeable=False)


_KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) not in _KNOWN:
            allowed = ", ".join(".".join(known) for known in _KNOWN)
            raise TorchFileError(f"the file asks for {module}.{name}, which a table of tensors does not need "
                                 f"(allowed: {allowed}); do not use this file")
        return _KNOWN[module, name]

    def persistent_load(self, pid):
        kind, dtype, key, _location, numel, view = pid
        if kind != "storage" or dtype not in ("<f4", "<i8") or type(numel) is not int or view is not None:
            raise TorchFileError(f"unknown kind of storage {pid!r}")
        if key not in self.storages:
            self.storages[key] = _Storage(dtype, numel)
        return self.storages[key]


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise TorchFileError(f"truncated: {size} bytes expected, {len(data)} left")
    return data


def _read_numbers(file: BinaryIO, storage: _Storage) -> None:
    (numel,) = struct.unpack("<q", _read_exactly(file, 8))
    if numel != storage.data.size:
        raise TorchFileError(f"a storage of {storage.data.size} numbers is followed by {numel}")
    storage.data[:] = np.frombuffer(_read_exactly(file, storage.data.nbytes), storage.data.dtype)


def _read_table(file: BinaryIO) -> dict[str, np.ndarray]:
    """Five pickles (magic, protocol, platform, table, storage keys), then the numbers of each storage."""
    storages: dict[str, _Storage] = {}

    def load():
        return _TensorUnpickler(file, storages).load()

    if load() != MAGIC or load() != PROTOCOL or not load()["little_endian"]:
        raise TorchFileError("not a little-endian torch file in the stream format (torch before 1.6)")
    table = load()
    for key in load():
        _read_numbers(file, storages[key])
    if not isinstance(table, dict) or not all(isinstance(value, np.ndarray) for value in table.values()):
        raise TorchFileError("the file holds something else than a table of tensors")
    return {name: value.copy() for name, value in table.items()}


def read_state_dict(file: BinaryIO) -> dict[str, np.ndarray]:
    """Tensors of a `torch.save(model.state_dict(), ...)` file in torch's stream format, by parameter name.

    Args:
        file: open binary file, at its start.

    Returns:
        Arrays of float32 or int64, C-contiguous, in the file's order.

    Raises:
        TorchFileError: another format, a truncated file, or a pickle that names anything but tensors.
    """
    try:
        return _read_table(file)
    except TorchFileError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise TorchFileError(f"not a torch file in the stream format, or damaged: {error!r}") from error
