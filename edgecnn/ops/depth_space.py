"""DepthToSpace and SpaceToDepth: channels and blocks of pixels exchanged, a Transpose between two Reshapes."""

from __future__ import annotations

from ..errors import ShapeError
from .base import REQUIRED, Node, Op, TensorSpec
from .reshape import reshape_to


class Blocks(Op):
    """What both share; the file's attribute blocksize is the side of a block. Where pixels are deep, a channel's number is
    (block row, block column, channel) in mode DCR, (channel, row, column) in CRD, as in sub-pixel convolution (Shi et al.
    2016)."""

    inputs: tuple[str, ...] = ("input",)
    attrs = {"blocksize": REQUIRED, "mode": "DCR"}

    def unsupported(self, node):
        mode = self.attr(node, "mode")
        if mode not in ("DCR", "CRD"):
            return f"mode {mode!r} is not known, allowed are DCR, CRD"
        return "" if self.attr(node, "blocksize") > 0 else "blocksize must be positive"

    def by_image(self, node, rank):
        return True

    def picture(self, node: Node, x: TensorSpec) -> tuple[int, int, int, int, int]:
        """N, C, H, W and the block's side."""
        if x.rank != 4:
            raise ShapeError(f"{node}: needs (N, C, H, W), got shape {x.shape}")
        n, c, h, w = x.shape
        return n, c, h, w, self.attr(node, "blocksize")

    def rearrange(self, g, node: Node, split: tuple[int, ...], perm: tuple[int, ...]) -> bool:
        parts = g.emit("Transpose", [reshape_to(g, node.inputs[0], split)], perm=perm)
        g.replace_value(node.outputs[0], reshape_to(g, parts, g.spec(node.outputs[0]).shape))
        g.remove([node])
        return True


class DepthToSpace(Blocks):
    """Each pixel becomes a block."""

    name = "DepthToSpace"

    def infer(self, node, inputs):
        n, c, h, w, b = self.picture(node, inputs[0])
        if c % (b * b):
            raise ShapeError(f"{node}: {c} channels are no multiple of blocksize squared, {b * b}")
        return [TensorSpec((n, c // (b * b), h * b, w * b), inputs[0].dtype)]

    def simplify(self, g, node):
        n, c, h, w, b = self.picture(node, g.spec(node.inputs[0]))
        c //= b * b
        if self.attr(node, "mode") == "DCR":
            return self.rearrange(g, node, (n, b, b, c, h, w), (0, 3, 4, 1, 5, 2))
        return self.rearrange(g, node, (n, c, b, b, h, w), (0, 1, 4, 2, 5, 3))


class SpaceToDepth(Blocks):
    """Each block becomes a pixel."""

    name = "SpaceToDepth"

    def infer(self, node, inputs):
        n, c, h, w, b = self.picture(node, inputs[0])
        if h % b or w % b:
            raise ShapeError(f"{node}: an image of {h}x{w} pixels has no whole number of blocks of {b}x{b}")
        return [TensorSpec((n, c * b * b, h // b, w // b), inputs[0].dtype)]

    def simplify(self, g, node):
        n, c, h, w, b = self.picture(node, g.spec(node.inputs[0]))
        order = (0, 3, 5, 1, 2, 4) if self.attr(node, "mode") == "DCR" else (0, 1, 3, 5, 2, 4)
        return self.rearrange(g, node, (n, c, h // b, b, w // b, b), order)

    def export_form(self, g, node, opset):
        """The attribute is younger than the operator, and DCR is what it did without."""
        if self.attr(node, "mode") == "DCR":
            node.attrs.pop("mode", None)
        return False
