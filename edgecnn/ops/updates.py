"""The updates of the optimizers (edgecnn.optim), Nesterov's look-ahead, and gradient clipping."""

from __future__ import annotations

from .base import REQUIRED, Node, Op, TensorSpec, same_spec


class Update(Op):
    """Changes a parameter and the optimizer's state in place. Inputs: the parameter, its gradient, the states, `hyper` (8
    numbers of this step, [0] is the learning rate), and a factor on the gradient or nothing."""

    onnx = False
    effect = True
    states: tuple[str, ...] = ()
    kernel = ""

    def infer(self, node, inputs):
        return same_spec(node, inputs)

    def lower(self, ctx, node: Node):
        states = dict(zip(self.states, node.inputs[2:], strict=False))
        hyper, *scale = node.inputs[2 + len(self.states):]
        w = ctx.input(node.inputs[0])
        ctx.emit(self.kernel, 4 * w.size * (2 + len(states)), w=w, g=ctx.row_major(node.inputs[1]),
                 hyper=ctx.input(hyper), scale=ctx.input(scale[0]) if scale else None, n=w.size,
                 **{s: ctx.input(v) for s, v in states.items()}, **{k: self.attr(node, k) for k in self.attrs})
        ctx.alias(node.outputs[0], w)


def formal(*states: str) -> tuple[str, ...]:
    return ("param", "grad", *states, "hyper", "scale?")


class SGDUpdate(Update):
    name, kernel, inputs = "SGDUpdate", "sgd_update", formal()
    attrs = {"weight_decay": 0.0}


class MomentumUpdate(Update):
    name, kernel, states, inputs = "MomentumUpdate", "momentum_update", ("v",), formal("v")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED}


class NesterovUpdate(Update):
    name, kernel, states, inputs = "NesterovUpdate", "nesterov_update", ("v",), formal("v")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED}


class AdaGradUpdate(Update):
    name, kernel, states, inputs = "AdaGradUpdate", "adagrad_update", ("G",), formal("G")
    attrs = {"weight_decay": 0.0, "eps": REQUIRED}


class RMSpropUpdate(Update):
    name, kernel, states, inputs = "RMSpropUpdate", "rmsprop_update", ("E",), formal("E")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED, "eps": REQUIRED}


class AdaDeltaUpdate(Update):
    name, kernel, states, inputs = "AdaDeltaUpdate", "adadelta_update", ("E", "D"), formal("E", "D")
    attrs = {"weight_decay": 0.0, "gamma": REQUIRED, "eps": REQUIRED}


class AdamUpdate(Update):
    name, kernel, states, inputs = "AdamUpdate", "adam_update", ("m", "v"), formal("m", "v")
    attrs = {"weight_decay": 0.0, "beta1": REQUIRED, "beta2": REQUIRED, "eps": REQUIRED}


class NesterovAhead(Op):
    """Moves a parameter to theta - gamma v for the time of a step; the result lies in the parameter's memory."""

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
    """Sum of the squares of all values, (1,)."""

    name = "SquaredSum"
    onnx = False
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec((1,))]

    def lower(self, ctx, node):
        g = ctx.row_major(node.inputs[0])
        ctx.emit("squared_sum", 0, g=g, out=ctx.output(node.outputs[0]), n=g.size)


class ClipScale(Op):
    """min(1, max_norm / norm) of the gradients whose squared sums are given (Pascanu, Mikolov, Bengio 2013)."""

    name = "ClipScale"
    onnx = False
    inputs = ("squares*",)
    attrs = {"max_norm": REQUIRED}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec((1,))]

    def lower(self, ctx, node):
        squares = ctx.temp((len(node.inputs),))
        for i, value in enumerate(node.inputs):
            ctx.copy(ctx.input(value), squares.slice(0, i, i + 1))
        ctx.emit("clip_scale", 0, squares=squares, out=ctx.output(node.outputs[0]), n=len(node.inputs),
                 max_norm=self.attr(node, "max_norm"))
