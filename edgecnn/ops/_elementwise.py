"""What elementwise operators share: kernel steps over views, activations, arithmetic with broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import DTypeError, ShapeError, UnsupportedError
from .base import Node, Op, Rows, TensorSpec, axis_of, broadcast_shape, same_spec, seen_constant
from .reshape import reshape_to
from .view import Arg, View

LOOPS = 6


def map_views(ctx: Any, kernel: str, operands: Sequence[View], y: View, p: float = 0.0, q: float = 0.0,
              work: int = 1) -> None:
    """y = f(operands), one to three that are broadcast to y's shape; f takes about `work` FLOPs and has the coefficients
    p, q."""
    operands = [o.expand(y.shape) for o in operands]
    dims, (*strides, ys) = ctx.loops(LOOPS, *operands, y)
    names = "x" if len(operands) == 1 else "abc"
    args = {name: Arg(o, s) for name, o, s in zip(names, operands, strides, strict=False)}
    ctx.emit(kernel, max(2 + 2 * len(operands), work) * y.size, y=Arg(y, ys), dims=dims, p=p, q=q, **args)


def map_unary(ctx: Any, kernel: str, x: View, y: View, p: float = 0.0, q: float = 0.0, work: int = 1) -> None:
    """y = f(x), x broadcast to y's shape."""
    map_views(ctx, kernel, [x], y, p, q, work)


def map_binary(ctx: Any, kernel: str, a: View, b: View, y: View, p: float = 0.0, q: float = 0.0,
               work: int = 1) -> None:
    """y = f(a, b), a and b broadcast to y's shape."""
    map_views(ctx, kernel, [a, b], y, p, q, work)


def overwritable(ctx: Any, node: Node) -> str:
    """Which of a node's inputs the output may be computed over, "" if none: one that has its shape and that nobody needs
    any more, unless another holds some of the same elements in another place."""
    views = [ctx.input(v) for v in node.inputs]
    shape = ctx.spec(node.outputs[0]).shape
    for value, view in zip(node.inputs, views, strict=True):
        apart = all(other.buffer is not view.buffer or other == view for other in views)
        if view.shape == shape and apart and ctx.may_overwrite(value):
            return value
    return ""


def lower_map(ctx: Any, node: Node, kernel: str, p: float = 0.0, q: float = 0.0, work: int = 1) -> None:
    """A node whose inputs are the operands, in place where possible."""
    y = ctx.output(node.outputs[0], over=overwritable(ctx, node))
    map_views(ctx, kernel, [ctx.input(v) for v in node.inputs], y, p, q, work)


class Activation(Op):
    """y = f(x) elementwise. A subclass names its kernel and has a gradient operator called `name` +
    "Backward"; where the slope can be written with y, x need not be kept and y may overwrite it."""

    kernel: ClassVar[str]
    work: ClassVar[int] = 1
    slope_from_output: ClassVar[bool] = True
    function: ClassVar[Any] = None  # the same in numpy, where shapes may be computed so

    def coefficients(self, node: Node) -> tuple[float, float]:
        """p and q of the kernel."""
        return 0.0, 0.0

    def kernel_of(self, node: Node) -> str:
        return self.kernel

    def by_image(self, node, rank):
        return True

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def evaluate(self, node, *inputs):
        return None if self.function is None else [type(self).function(inputs[0]).astype(inputs[0].dtype)]

    def before_transpose(self, g, node, perm):
        return perm

    def by_row(self, g, node):
        return Rows()

    def recomputation(self, g, node):
        return Node(node.op, node.inputs, [], node.attrs, node.name)

    def gradient(self, g, node, dy, needs):
        kept = node.outputs[0] if self.slope_from_output else node.inputs[0]
        return [g.emit(self.name + "Backward", [dy[0], kept], **node.attrs)]

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        lower_map(ctx, node, self.kernel_of(node), *self.coefficients(node), work=self.work)

    def flops(self, node, inputs, outputs):
        return self.work * outputs[0].size


class ActivationBackward(Op):
    """dX from dY and the second input, Y or X; attributes as the activation's. A third input is broadcast."""

    onnx = False
    inputs: tuple[str, ...] = ("dY", "Y")
    no_gradient = "second derivatives are not built"
    kernel: ClassVar[str]
    work: ClassVar[int] = 2

    def coefficients(self, node: Node) -> tuple[float, float]:
        return 0.0, 0.0

    def kernel_of(self, node: Node) -> str:
        return self.kernel

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        lower_map(ctx, node, self.kernel_of(node), *self.coefficients(node), work=self.work)

    def flops(self, node, inputs, outputs):
        return self.work * outputs[0].size


class Arithmetic(Op):
    """C = A op B with numpy's broadcasting.

    Before opset 7 ONNX broadcast B only, and `axis` said which axis of A the first one of B stands for; simplify and
    export_form write that out as a Reshape of B."""

    inputs = ("A", "B")
    parameters: tuple[str, ...] = ("A", "B")
    attrs: dict[str, Any] = {"axis": None}
    broadcasts = True
    kernel: ClassVar[str]
    function: ClassVar[Any]  # the same of two arrays in numpy, for shape arithmetic

    def by_image(self, node, rank):
        return True

    def from_onnx(self, node, opset):
        if opset < 7 and not node.attrs.pop("broadcast", 0):
            node.attrs.pop("axis", None)

    def unsupported(self, node):
        return "a negative axis is not known" if (node.attrs.get("axis") or 0) < 0 else ""

    def shape_of_b(self, node: Node, a: TensorSpec, b: TensorSpec) -> tuple[int, ...]:
        """B's shape as it is broadcast."""
        axis = self.attr(node, "axis")
        if axis is None:
            return b.shape
        right = a.rank - axis_of(node, axis, a.rank) - b.rank
        if right < 0:
            raise ShapeError(f"{node}: {b.shape} does not fit into {a.shape} from axis {axis} on")
        return (*b.shape, *[1] * right)

    def infer(self, node, inputs):
        a, b = inputs
        return [TensorSpec(broadcast_shape(node, a, TensorSpec(self.shape_of_b(node, a, b))), a.dtype)]

    def evaluate(self, node, *inputs):
        a, b = inputs
        return [type(self).function(a, b.reshape(self.shape_of_b(node, TensorSpec(a.shape), TensorSpec(b.shape))))]

    def is_parameter(self, formal, array):
        """A single number without axes is part of a formula: the 3 and the 6 of a spelled-out hard-swish."""
        return super().is_parameter(formal, array) and array.ndim > 0

    def before_transpose(self, g, node, perm):
        known = [i for i in node.inputs if g.value_of(i) is not None]
        if any(g.spec(i).rank != len(perm) for i in node.inputs if i not in known) or any(
                g.spec(i).rank > len(perm) for i in known):
            return None
        back = np.argsort(perm)
        for index, value in enumerate(node.inputs):
            shape = g.spec(value).shape
            if value in known and any(n != 1 for n in shape):
                node.inputs[index] = _transposed(g, value, (*[1] * (len(perm) - len(shape)), *shape), back)
        return perm

    def by_row(self, g, node):
        """Where A has the output's shape and B its height, or a single row."""
        a, b, y = (g.spec(v) for v in (*node.inputs, *node.outputs))
        height = b.shape[-2] if b.rank > 1 else 1
        if a.shape != y.shape or height > 1 and b.rank < y.rank:
            return None
        return Rows(others=(1,) if height > 1 else ())

    def simplify(self, g, node):
        if node.attrs.get("axis") is None:
            return False
        a, b = node.inputs
        node.inputs[1] = reshape_to(g, b, self.shape_of_b(node, g.spec(a), g.spec(b)))
        del node.attrs["axis"]
        return True

    def export_form(self, g, node, opset):
        axis = node.attrs.pop("axis", None)
        if axis is None:
            return False
        a, b = node.inputs
        shape = g.emit("Shape", [b])
        ranks = [g.emit("Size", [s]) for s in (g.emit("Shape", [a]), shape)]
        right = g.emit("Sub", [g.emit("Sub", ranks), g.constant(np.array([axis]), "axis")])
        ones = g.emit("ConstantOfShape", [right], value=np.array([1]))
        node.inputs[1] = g.emit("Reshape", [b, g.emit("Concat", [shape, ones], axis=0)])
        return True

    def lower(self, ctx, node):
        require_float(self, ctx, node)
        lower_map(ctx, node, self.kernel)


def _transposed(g: Any, value: str, shape: tuple[int, ...], perm: Sequence[int]) -> str:
    """A constant or parameter reshaped and transposed."""
    if value in g.constants:
        return g.constant(g.constants[value].reshape(shape).transpose(perm), value)
    return g.emit("Transpose", [reshape_to(g, value, shape)], perm=tuple(int(a) for a in perm))


class KnownOnly(Op):
    """Base of operators that are evaluated when a plan is compiled and have no kernel."""

    no_gradient = "it is evaluated when a plan is compiled"

    def lower(self, ctx, node):
        raise UnsupportedError(f"{node}: {self.name} is computed for values that follow from the input's shape or are "
                               "constant; here it depends on the data that the network is given")


def require_float(op: Op, ctx: Any, node: Node) -> None:
    for value in node.inputs:
        if value and ctx.spec(value).dtype != "float32":
            raise DTypeError(f"{node}: input {value!r} is {ctx.spec(value).dtype}; {op.name} computes "
                             "float32, other types must be known when a plan is compiled (shape arithmetic)")


def sum_to(g: Any, value: str, like: str) -> str:
    """The gradient of an operand that was broadcast: `value` summed to the shape of `like`."""
    shape = g.spec(like).shape
    return value if g.spec(value).shape == shape else g.emit("SumTo", [value], shape=shape)


def channel_constant(g: Any, node: Node, index: int) -> np.ndarray | None:
    """Input `index` as float64 (C,) if it is a constant and the same for all elements of a channel of the
    other input, which has the output's shape (N, C, ...)."""
    constant, other = seen_constant(g, node.inputs[index]), g.spec(node.inputs[1 - index])
    if constant is None or other.rank < 2 or constant.ndim > other.rank or constant.dtype.kind != "f":
        return None
    shape = (1,) * (other.rank - constant.ndim) + constant.shape
    if any(n != 1 for axis, n in enumerate(shape) if axis != 1) or shape[1] not in (1, other.shape[1]):
        return None
    return np.broadcast_to(constant.astype(np.float64).reshape(-1), (other.shape[1],))
