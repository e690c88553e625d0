"""What an operator is. Each file of this folder declares operators completely: their names and attributes, shape
inference, gradient, lowering to kernels. Nothing above this floor knows an operator by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ModelError, ShapeError

REQUIRED = object()


@dataclass(frozen=True)
class TensorSpec:
    """Shape (logical, NCHW for images; None or a name for a free dimension) and numpy dtype name."""

    shape: tuple
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def rank(self) -> int:
        return len(self.shape)


ROWS_OF_THREAD = 6  # of a picture, from which on threads share rows: what is read or computed twice between them is little


@dataclass(frozen=True)
class Lane:
    """Nodes of one section of a plan that several threads run at the same time, each those of its lane in order."""

    section: int
    thread: int


@dataclass
class Node:
    """One operation: inputs and outputs are value names, "" for an absent optional input; lane: in plans, None if all
    threads share the node."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    lane: Lane | None = None

    def __str__(self) -> str:
        return f"{self.op}({self.name or self.outputs[0]})"


@dataclass(frozen=True)
class Rows:
    """How rows (axis 2) of an output follow from rows of the first input: row i reads the `span` rows from i * stride -
    before on, those outside the picture as padding; and row i of each of the inputs `others`."""

    span: int = 1
    stride: int = 1
    before: int = 0
    others: tuple[int, ...] = ()

    def read(self, begin: int, end: int, height: int) -> tuple[int, int]:
        """The rows of an input of `height` rows that the output rows [begin, end) read."""
        return max(0, begin * self.stride - self.before), min(height, (end - 1) * self.stride - self.before + self.span)

    def outside(self, begin: int, end: int, height: int) -> tuple[int, int]:
        """The rows of padding that they read above and below."""
        return (max(0, self.before - begin * self.stride),
                max(0, (end - 1) * self.stride - self.before + self.span - height))


class Op:
    """Base of all operators; one instance per class lives in the registry.

    Class attributes:
        name: the ONNX operator type, or our own name for operators that ONNX lacks (then `onnx` is False).
        inputs: formal input names in ONNX order; a trailing "?" marks an optional one, "*" any number.
        outputs: number of outputs, the smallest; graphs may carry fewer where ONNX makes them optional.
        attrs: attribute names with defaults, REQUIRED where there is none.
        static: inputs that must be known when a plan is compiled (shapes, axes, pads ...). A known one is stored as
            an attribute of the same name, whether ONNX's opset has it as attribute or as input.
        parameters: inputs whose initializers are trainable; buffers: inputs that belong to the state but are not
            trained (running statistics).
        is_view: the result is the first input's elements in another shape or order, so a weight stays a weight.
        shape_only: the result follows from the shapes of the inputs alone (Shape, Size).
        adds: the result is the sum of the inputs, so that a parameter may be the bias of the layer before.
        accepts_empty: its lowering can do with inputs without elements even if the output has some.
        effect: the node changes the memory of an input (a parameter, a running statistic); it is never removed, and it
            runs after everything else that reads the old value.
        random_in_training: draws random numbers in a training graph (dropout).
        batch_statistics: its form for training uses statistics of the batch (batch norm).
        broadcasts: smaller inputs are repeated to the shape of the output.
        no_gradient: why there is no gradient, for operators that have none.
    """

    name: str
    inputs: tuple[str, ...] = ("X",)
    outputs: int = 1
    attrs: dict[str, Any] = {}
    static: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    onnx: bool = True
    is_view: bool = False
    shape_only: bool = False
    adds: bool = False
    accepts_empty: bool = False
    effect: bool = False
    random_in_training: bool = False
    batch_statistics: bool = False
    broadcasts: bool = False
    no_gradient: str = ""

    # ---- meaning -----------------------------------------------------------------------------------------------
    def infer(self, node: Node, inputs: list[TensorSpec | None]) -> list[TensorSpec]:
        """Output specs from input specs with known shapes. Raises ShapeError."""
        raise NotImplementedError

    def evaluate(self, node: Node, *inputs: np.ndarray | None) -> list[np.ndarray] | None:
        """The outputs in numpy, for shape arithmetic and constants; None if this operator is not evaluated so."""
        return None

    def simplify(self, g, node: Node) -> bool:
        """Replaces the node in graph g by simpler ones if it can; whether it did. Shapes are known."""
        return False

    def for_training(self, g, node: Node) -> Node | None:
        """The node to use instead in a training graph (batch statistics, dropout), or None to keep this one."""
        return None

    def gradient(self, g, node: Node, dy: list[str | None], needs: list[bool]) -> Sequence[str | None]:
        """Emits nodes into g for the gradient of each input, given those of the outputs.

        Only inputs with needs[i] need one; None stands for no gradient (zero)."""
        raise NotImplementedError(self.name)

    def by_image(self, node: Node, rank: int) -> bool:
        """Whether, in inference, image i of the outputs (of this rank) follows from image i of the inputs alone, where axis
        0 counts images."""
        return False

    def output_axes(self, node: Node) -> dict[str, int]:
        """Formal parameter -> axis that counts output channels, for operators that can be a classifier's last layer."""
        return {}

    def recomputation(self, g, node: Node) -> Node | None:
        """A node that computes the first output once more, for the backward pass, with the work of an elementwise operator;
        None if there is no such node."""
        return None

    # ---- ONNX --------------------------------------------------------------------------------------------------
    def from_onnx(self, node: Node, opset: int) -> None:
        """Adapts a node read from an ONNX file, in place, where the meaning at its opset is not that of today.

        Static inputs that are known have already become attributes."""

    def unsupported(self, node: Node) -> str:
        """Why a node cannot be used whatever its shapes are; "" if it can."""
        return ""

    def is_parameter(self, formal: str, array: np.ndarray) -> bool:
        """Whether an initializer given as this input is trained. A number without axes is part of a formula (the 3 and 6 of
        a hard-swish), no weight."""
        return formal in self.parameters and array.ndim > 0

    def export_form(self, g, node: Node, opset: int) -> bool:
        """Replaces the node in graph g by what ONNX has at this opset; whether it did."""
        return False

    # ---- what passes may use ------------------------------------------------------------------------------------
    def as_clamp(self, node: Node) -> tuple[float, float] | None:
        """(lo, hi) if the node is y = min(max(x, lo), hi): a producer may do it in its epilogue."""
        return None

    def last_clamp(self, node: Node) -> tuple[float, float] | None:
        """(lo, hi) if the node ends with a clamp whose gradient is a ClampBackward of its output."""
        return self.as_clamp(node)

    def as_gate(self, node: Node) -> tuple[str, float, float] | None:
        """(y, lo, hi) if the node is the gradient of a clamp with result y: its first input where lo < y < hi, else 0."""
        return None

    def absorb_gate(self, g, node: Node, y: str, lo: float, hi: float) -> bool:
        """Takes a following gradient of a clamp into this node; whether it did."""
        return False

    def as_channel_affine(self, g, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
        """float64 (scale, shift) per channel if the node is y = x * scale + shift with constants, else None."""
        return None

    def absorb_affine(self, g, node: Node, scale: np.ndarray, shift: np.ndarray) -> bool:
        """Takes a following channel affine map into this node's constants; whether it did."""
        return False

    def absorb_residual(self, g, node: Node, value: str) -> bool:
        """Takes a following addition of `value` (same shape) into this node; whether it did."""
        return False

    def absorb_clamp(self, g, node: Node, lo: float, hi: float) -> bool:
        """Takes a following clamp into this node; whether it did."""
        return False

    def absorb_padding(self, g, node: Node, before: list[int], after: list[int]) -> bool:
        """Takes a zero border that was put around its first input's pixels into this node; whether it did."""
        return False

    def keeps_channels(self, g, node: Node) -> bool:
        """Whether the node is a view whose first two axes are those of its input."""
        return False

    def before_transpose(self, g, node: Node, perm: tuple[int, ...]) -> tuple[int, ...] | None:
        """Lets the node work on its inputs as they were before a transpose by `perm`: adapts its attributes and constant
        inputs. Returns the transpose that its outputs need instead, None if it cannot."""
        return None

    def by_row(self, g, node: Node) -> Rows | None:
        """How the node works row by row, with the same bits whatever rows it computes at once; None if it does not."""
        return None

    def band(self, g, node: Node, above: int, below: int) -> dict[str, Any]:
        """Attributes for computing a band of rows that reads so many rows of padding above and below."""
        return node.attrs

    def is_residual_add(self, g, node: Node) -> bool:
        """Whether the node adds two values of the same shape."""
        return False

    # ---- lowering ----------------------------------------------------------------------------------------------
    def place(self, ctx, node: Node) -> None:
        """Before any lowering, outputs first: may say that an input's memory is a part of an output's."""

    def lower(self, ctx, node: Node) -> None:
        """Emits kernel steps."""
        raise NotImplementedError(self.name)

    def flops(self, node: Node, inputs: list[TensorSpec | None], outputs: list[TensorSpec]) -> int:
        """Floating-point operations, for reports and for choosing serial or parallel execution."""
        return sum(o.size for o in outputs)

    # ---- helpers -----------------------------------------------------------------------------------------------
    def attr(self, node: Node, key: str) -> Any:
        value = node.attrs.get(key, self.attrs.get(key))
        if value is REQUIRED:
            raise ModelError(f"{node}: attribute {key!r} is missing")
        return value

    def formal(self, index: int) -> str:
        """Formal name of the index-th input (the last one repeats for variadic operators)."""
        return self.inputs[min(index, len(self.inputs) - 1)].rstrip("?*")


def broadcast_shape(node: Node, *specs: TensorSpec) -> tuple[int, ...]:
    """numpy's (and ONNX's) multidirectional broadcasting, with an error that names the node."""
    try:
        return tuple(np.broadcast_shapes(*(s.shape for s in specs)))
    except ValueError:
        shapes = ", ".join(str(s.shape) for s in specs)
        raise ShapeError(f"{node}: shapes {shapes} cannot be broadcast together") from None


def axis_of(node: Node, axis: int, rank: int) -> int:
    """An axis of `rank` axes counted from the front; a negative one counts from the end."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{node}: axis {int(axis)} does not exist, allowed are {-rank} to {rank - 1}")
    return int(axis) % rank


def skip(g: Any, node: Node) -> bool:
    """Removes a node whose result is its first input; whether it could: an output of the graph needs its own node."""
    x, y = node.inputs[0], node.outputs[0]
    if y in g.outputs and (x in g.outputs or x not in g.producers()):
        return False
    g.replace_value(y, x)
    g.remove([node])
    return True


def seen_constant(g: Any, value: str) -> np.ndarray | None:
    """The constant that a value is, or is a view of; None if it is none."""
    if value in g.constants:
        return g.constants[value]
    producer = g.producers().get(value)
    if producer is None or not g.op(producer).is_view:
        return None
    source = seen_constant(g, producer.inputs[0])
    results = g.op(producer).evaluate(producer, source) if source is not None else None
    return results[0] if results else None


def same_spec(node: Node, inputs: list[TensorSpec | None]) -> list[TensorSpec]:
    """infer of operators whose output looks like their first input."""
    first = inputs[0]
    assert first is not None
    return [first]
