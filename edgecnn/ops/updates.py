"""The updates of the optimizers (edgecnn.optim), Nesterov's look-ahead, gradient norms and clipping."""

from __future__ import annotations

from typing import Any, ClassVar

from ..errors import ShapeError
from ._norm import squared_distance
from .base import REQUIRED, Node, Op, TensorSpec, same_spec
from .view import collapse


class Update(Op):
    """Changes a parameter and the optimizer's states in place; the result lies in the parameter's memory.

    Inputs: the parameter and its states, which are arrays of the graph's params; the gradient; `hyper`, what
    varies from step to step, see Optimizer.hyper; a factor (1,) on the gradient, or nothing. Weight decay
    adds weight_decay * param to the gradient so scaled."""

    onnx = False
    effect = True
    kernel: ClassVar[str]
    states: ClassVar[tuple[str, ...]] = ()

    def infer(self, node, inputs):
        param = inputs[0]
        for name, spec in zip(("grad", *self.states), inputs[1:], strict=False):
            if spec.shape != param.shape:
                raise ShapeError(f"{node}: {name} has shape {spec.shape}, the parameter {param.shape}")
        return same_spec(node, inputs)

    def lower(self, ctx: Any, node: Node) -> None:
        states = dict(zip(self.states, (ctx.input(i) for i in node.inputs[2:]), strict=False))
        hyper, *scale = (ctx.input(i) for i in node.inputs[2 + len(states):])
        w = ctx.input(node.inputs[0])
        constants = {name: self.attr(node, name) for name in self.attrs}
        ctx.emit(self.kernel, 4 * w.size * (2 + len(states)), w=w, g=ctx.row_major(node.inputs[1]),
                 hyper=hyper, scale=scale[0] if scale else None, n=w.size, **states, **constants)
        ctx.alias(node.outputs[0], w)


def formals(*states: str) -> tuple[str, ...]:
    return ("param", "grad", *states, "hyper", "scale?")


class SGDUpdate(Update):
    name, kernel = "SGDUpdate", "sgd_update"
    inputs = formals()
    attrs = {"weight_decay": 0.0}


class MomentumUpdate(Update):
    name, kernel = "MomentumUpdate", "momentum_update"
    states, inputs = ("v",), formals("v")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED}


class NesterovUpdate(Update):
    """The parameter stands at theta - gamma v, see NesterovAhead, and goes to the new theta."""

    name, kernel = "NesterovUpdate", "nesterov_update"
    states, inputs = ("v",), formals("v")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED}


class AdaGradUpdate(Update):
    name, kernel = "AdaGradUpdate", "adagrad_update"
    states, inputs = ("G",), formals("G")
    attrs = {"weight_decay": 0.0, "eps": REQUIRED}


class RMSpropUpdate(Update):
    name, kernel = "RMSpropUpdate", "rmsprop_update"
    states, inputs = ("E",), formals("E")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED, "eps": REQUIRED}


class AdaDeltaUpdate(Update):
    name, kernel = "AdaDeltaUpdate", "adadelta_update"
    states, inputs = ("E", "D"), formals("E", "D")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED, "eps": REQUIRED}


class AdamUpdate(Update):
    name, kernel = "AdamUpdate", "adam_update"
    states, inputs = ("m", "v"), formals("m", "v")
    attrs = {"weight_decay": 0.0, "beta1": REQUIRED, "beta2": REQUIRED, "eps": REQUIRED}


class NesterovAhead(Op):
    """Moves a parameter to theta - gamma v for the time of a step; the result lies in the parameter's
    memory."""

    name = "NesterovAhead"
    onnx = False
    effect = True
    inputs = ("param", "v")
    attrs = {"gamma": REQUIRED}

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node):
        w, v = (ctx.input(i) for i in node.inputs)
        ctx.emit("nesterov_ahead", 6 * w.size, w=w, v=v, n=w.size, gamma=self.attr(node, "gamma"))
        ctx.alias(node.outputs[0], w)


class SquaredSum(Op):
    """Sum of the squares of all values, (1,); values below 1e-19 count as zero."""

    name = "SquaredSum"
    onnx = False
    no_gradient = "norms are reported, not trained on"

    def infer(self, node, inputs):
        return [TensorSpec((1,))]

    def lower(self, ctx, node):
        x = ctx.input(node.inputs[0])
        sizes, (strides,) = collapse(x.shape, x)
        if len(sizes) > 1 or strides not in ([], [1]):  # the order of the values does not matter, gaps do
            x = ctx.row_major(node.inputs[0])
        squared_distance(ctx, x, None, ctx.output(node.outputs[0]))

    def flops(self, node, inputs, outputs):
        return 2 * inputs[0].size


class ClipScale(Op):
    """min(1, max_norm / norm), the norm being that of all gradients whose squared sums are given together
    (Pascanu, Mikolov, Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1)."""

    name = "ClipScale"
    onnx = False
    inputs = ("squares*",)
    attrs = {"max_norm": REQUIRED}
    no_gradient = "a factor on gradients has none"

    def infer(self, node, inputs):
        return [TensorSpec((1,))]

    def lower(self, ctx, node):
        squares = ctx.temp((len(node.inputs),))
        for i, value in enumerate(node.inputs):
            ctx.copy(ctx.input(value), squares.slice(0, i, i + 1))
        ctx.emit("clip_scale", 2 * squares.size, squares=squares, out=ctx.output(node.outputs[0]),
                 n=squares.size, max_norm=self.attr(node, "max_norm"))
