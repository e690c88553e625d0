"""ChannelSum: the gradient of a bias."""

from ..errors import ShapeError
from ._reduce import sum_axes
from .base import Op, TensorSpec


class ChannelSum(Op):
    """(N, C, ...) -> (C,): the sum over all axes but the second."""

    name = "ChannelSum"
    onnx = False
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        if inputs[0].rank < 2:
            raise ShapeError(f"{node}: needs (N, C, ...), got shape {inputs[0].shape}")
        return [TensorSpec(inputs[0].shape[1:2])]

    def lower(self, ctx, node):
        x = ctx.input(node.inputs[0])
        sum_axes(ctx, x, ctx.output(node.outputs[0]), set(range(len(x.shape))) - {1})

    def flops(self, node, inputs, outputs):
        return inputs[0].size
