"""ChannelSum: the gradient of a bias."""

from dataclasses import replace

from ..errors import ShapeError
from ._reduce import sum_axes
from .base import Op, TensorSpec
from .view import View, channels_last


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
        x, y = ctx.input(node.inputs[0]), ctx.output(node.outputs[0])
        width = self.pixels_in_a_row(ctx, x)
        if width > 1:
            c = x.shape[1]
            sums = ctx.temp((width * c,))
            sum_axes(ctx, replace(x, shape=(x.size // sums.size, sums.size), strides=(sums.size, 1)), sums, {0})
            x = replace(sums, shape=(width, c), strides=(c, 1))
        sum_axes(ctx, x, y, set(range(len(x.shape))) - {1})

    @staticmethod
    def pixels_in_a_row(ctx, x: View) -> int:
        """How many pixels of few channels, which would leave most of a vector empty, are summed side by side."""
        pixels, c = x.size // x.shape[1], x.shape[1]
        if x.strides != channels_last(x.shape) or c >= ctx.isa["lanes"]:
            return 1
        return max(n for n in range(1, max(1, 4 * ctx.isa["lanes"] // c) + 1) if pixels % n == 0)

    def flops(self, node, inputs, outputs):
        return inputs[0].size
