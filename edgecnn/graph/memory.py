"""The arena planner: where every buffer lies, given when it is used."""

from __future__ import annotations

from collections.abc import Iterable

from ..ops.view import Buffer

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def plan_arena(buffers: Iterable[Buffer]) -> int:
    """Sets the offsets of all buffers that are ever used and returns the arena's size in bytes.

    Greedy by size with best fit: the largest buffer first, each into the smallest gap between those whose lifetimes
    overlap its own (Pisarchyk and Lee 2020, section 4)."""
    placed: list[Buffer] = []
    total = 0
    for buffer in sorted((b for b in buffers if b.used), key=lambda b: (-b.nbytes, b.first)):
        size = _padded(buffer.nbytes)
        alive = sorted((b for b in placed if _together(b, buffer)), key=lambda b: b.offset)
        best, best_gap, end = None, None, 0
        for other in alive:
            gap = other.offset - end
            if gap >= size and (best_gap is None or gap < best_gap):
                best, best_gap = end, gap
            end = max(end, other.offset + _padded(other.nbytes))
        buffer.offset = end if best is None else best
        total = max(total, buffer.offset + size)
        placed.append(buffer)
    return total


def _together(a: Buffer, b: Buffer) -> bool:
    """Whether both may be needed at the same time."""
    if a.lane and b.lane and a.lane.section == b.lane.section and a.lane != b.lane:
        return True
    return a.first <= b.last and b.first <= a.last


def _padded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT
