"""Process-wide settings: threads; and what this build and machine offer."""

from __future__ import annotations

import os
import platform

from . import _core
from .errors import EdgeCNNError

_threads: int | None = None


def get_num_threads() -> int:
    """How many threads plans made from now on use: set_num_threads, else OMP_NUM_THREADS, else the processors that this
    process may run on."""
    if _threads is not None:
        return _threads
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(int(wanted), available) if wanted.isdigit() and int(wanted) > 0 else available


def set_num_threads(n: int) -> None:
    """Sets the number of threads; results do not depend on it, to the bit. Raises ValueError below 1."""
    global _threads
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads: got {n!r}, needed an integer of at least 1")
    _threads = n


def chosen_isa() -> tuple[str, dict[str, int]]:
    """Name and constants of the instruction set in use: the best this CPU has, or EDGECNN_ISA."""
    available = _core.isas()
    name = os.environ.get("EDGECNN_ISA") or next(iter(available))
    if name not in available:
        raise EdgeCNNError(f"EDGECNN_ISA={name}: this CPU and build offer {', '.join(available)}; unset it or choose one")
    return name, available[name]


def show_config() -> str:
    """Instruction sets (the one in use in brackets), threads, machine; as text."""
    name, constants = chosen_isa()
    isas = ", ".join(f"[{i}]" if i == name else i for i in _core.isas())
    return (f"machine: {platform.machine()}, Python {platform.python_version()}\n"
            f"instruction sets: {isas} ({constants['lanes']} floats a vector, tile {constants['mr']}x{constants['nr']})\n"
            f"threads: {get_num_threads()}, kernels: {len(_core.signatures())}")
