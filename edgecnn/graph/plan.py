"""Plans: a graph compiled for one set of input shapes into a program, ready to run."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..errors import DTypeError, ResourceError, ShapeError
from ..ops import TensorSpec
from .ir import Graph
from .lowering import Lowering
from .memory import plan_arena


def program_memory(graph: Graph, threads: int, copies: int = 1) -> dict[str, int]:
    """Bytes that a plan of this graph will take beside its constants, by kind: weights prepared once, and `arena` with
    activations, gradients and workspace at the worst moment. The program is not built."""
    lowering = Lowering(graph, threads)
    lowering.run()
    return {"prepared weights": lowering.kept_bytes, "arena": copies * plan_arena(lowering.buffers)}


class Plan:
    """A runnable graph whose shapes are all known.

    Args:
        graph: specialised and optimised; its constants must not change while the plan lives, its params may.
        threads: how many threads the program is made for (fewer may run it).
        options: for tests and experiments, e.g. {"convolution": "im2col"}.
        portions: how often the program runs, each time on the next part of the inputs along axis 0 (graph/portions.py);
            the graph is that of one part.
        copies: of the program, each with working memory of its own, that run portions side by side; of several each runs
            on one thread.

    Attributes:
        graph, threads, portions, copies, steps, arena_bytes (of all copies).
    """

    def __init__(self, graph: Graph, threads: int, options: dict[str, Any] | None = None, portions: int = 1,
                 copies: int = 1):
        self.graph, self.threads, self.portions, self.copies = graph, threads, portions, copies
        lowering = Lowering(graph, threads, options)
        lowering.run()
        self.steps = lowering.steps
        self.buffers = lowering.buffers
        self.isa = lowering.isa_name
        arena = plan_arena(lowering.buffers)
        self.arena_bytes = copies * arena
        try:
            if lowering.once:
                lowering.program(lowering.once, 0).run([], threads)
            self._program = lowering.program(self.steps, arena, copies)
        except MemoryError as error:
            raise ResourceError(str(error)) from None
        self._inputs = [(name, self._whole(spec), np.dtype(spec.dtype)) for name, spec in graph.inputs.items()]
        self._known = {i: value for i, o in enumerate(graph.outputs) if (value := graph.value_of(o)) is not None}
        self._outputs = [(self._whole(graph.spec(o)), np.dtype(graph.spec(o).dtype)) for i, o in enumerate(graph.outputs)
                         if i not in self._known]
        self._busy = threading.Lock()

    def run(self, *inputs: np.ndarray, ns: np.ndarray | None = None) -> list[np.ndarray]:
        """The outputs for these inputs, both in the order of the graph. Safe to call from several Python threads.

        ns: int64 (copies, len(steps)), receives the nanoseconds of each step added."""
        if not self.fits(inputs):
            inputs = tuple(self._checked(x, *want) for x, want in zip(inputs, self._inputs, strict=True))
        return self.execute(inputs, ns)

    def fits(self, inputs: tuple[Any, ...]) -> bool:
        """Whether these are arrays that the program can read as they lie. Small networks run for as long as a dozen lines of
        Python take, so what is usual is checked in few."""
        if len(inputs) != len(self._inputs):
            return False
        for x, (_, shape, dtype) in zip(inputs, self._inputs, strict=True):
            if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape or not x.flags.c_contiguous:
                return False
        return True

    def execute(self, inputs: tuple[np.ndarray, ...], ns: np.ndarray | None = None) -> list[np.ndarray]:
        """The same as `run`, for inputs that fit."""
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        with self._busy:
            self._program.run([*inputs, *outputs], self.threads, self.portions, ns)
        for i, value in self._known.items():  # what does not depend on the inputs
            outputs.insert(i, value.copy())
        return outputs

    def _whole(self, spec: TensorSpec) -> tuple[int, ...]:
        """The shape of all portions together."""
        return spec.shape if self.portions == 1 else (spec.shape[0] * self.portions, *spec.shape[1:])

    @staticmethod
    def _checked(x: np.ndarray, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if x.dtype != dtype:
            raise DTypeError(f"input {name!r}: got {x.dtype}, needed {dtype}; convert it with .astype('{dtype}')")
        if x.shape != shape:
            raise ShapeError(f"input {name!r}: got shape {x.shape}, this plan is made for {shape}")
        return x if x.flags.c_contiguous else np.ascontiguousarray(x)
