"""Batch normalisation (Ioffe and Szegedy 2015) of (N, C, ...) values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from . import _convolution as conv
from .base import Node, Op, TensorSpec
from .reshape import reshape_to
from .view import View

INF = float("inf")
ROWS = 5  # of a statistics value, see kernels/batchnorm.c
SLABS = 32  # parts in which pixels are summed, whatever the number of threads: enough for a small CPU's cores
SLAB_PIXELS = 64  # no part is smaller


class Normalization(Op):
    """What both forms share: y = clamp((x - mean) / sqrt(var + epsilon) * scale + B + R, lo, hi).

    The residual R and the attributes lo and hi exist in plans only: passes fold an addition and a clamp into
    the node; ONNX never sees them."""

    inputs: tuple[str, ...] = ("X", "scale", "B", "input_mean", "input_var", "R?")
    parameters: tuple[str, ...] = ("scale", "B")
    buffers: tuple[str, ...] = ("input_mean", "input_var")
    attrs: dict[str, Any] = {"epsilon": 1e-5, "momentum": 0.9, "lo": -INF, "hi": INF}

    def infer(self, node, inputs):
        x = inputs[0]
        if x.rank < 2:
            raise UnsupportedError(f"{node}: batch normalisation takes inputs (N, C, ...), got shape {x.shape}")
        wanted = self.statistics_shape(node, x)
        for formal, spec in zip(self.inputs[1:5], inputs[1:5], strict=True):
            if spec.shape != wanted:
                raise ShapeError(f"{node}: {formal} has shape {spec.shape}, needed {wanted} "
                                 f"for an input of shape {x.shape}")
        return [x]

    def statistics_shape(self, node: Node, x: TensorSpec) -> tuple[int, ...]:
        return x.shape[1:2]

    def simplify(self, g, node):
        """The kernels take pictures: of more axes the last ones are taken as one."""
        shape = g.spec(node.inputs[0]).shape
        if len(shape) <= 4:
            return False
        self.on_reshaped(g, node, (*shape[:3], math.prod(shape[3:])))
        return True

    @staticmethod
    def on_reshaped(g, node: Node, shape: tuple[int, ...]) -> None:
        """Lets the node work on its input in another shape."""
        before, y = g.spec(node.inputs[0]).shape, node.outputs[0]
        node.inputs[0] = reshape_to(g, node.inputs[0], shape)
        node.outputs[0] = g.fresh(f"{y}_reshaped")
        g.infer_node(node)
        g.emit("Reshape", [node.outputs[0]], [y], shape=np.array(before, np.int64))

    def residual(self, node: Node) -> str:
        return node.inputs[5] if len(node.inputs) > 5 else ""

    def clamped(self, node: Node) -> bool:
        return self.attr(node, "lo") > -INF or self.attr(node, "hi") < INF

    def absorb_residual(self, g, node, value):
        if self.residual(node) or self.clamped(node):
            return False
        node.inputs.append(value)
        return True

    def absorb_clamp(self, g, node, lo, hi):
        lo, hi = max(lo, self.attr(node, "lo")), min(hi, self.attr(node, "hi"))
        if lo > hi:
            return False
        node.attrs.update(lo=lo, hi=hi)
        return True

    def normalise(self, ctx, node: Node, x: View, statistics: View) -> None:
        """Emits the pass that writes the first output."""
        r = images(ctx, self.residual(node)) if self.residual(node) else None
        over = node.inputs[0] if r is None or ctx.may_overwrite(node.inputs[0]) else self.residual(node)
        y = as_images(ctx.output(node.outputs[0], over=over))
        x, r, y = rows(x, r, y)
        ctx.emit("batch_norm", 4 * x.size * (3 if r else 2), x=x.nhw, r=r.nhw if r else None, y=y.nhw,
                 statistics=statistics, lo=self.attr(node, "lo"), hi=self.attr(node, "hi"), **geometry(x))

    def backward(self, g, node: Node, dy: str, statistics: str, needs: list[bool],
                 frozen: bool) -> list[str | None]:
        """Emits BatchNormBackward; the gradients of this node's inputs."""
        r, clamped = self.residual(node), self.clamped(node)
        needs = needs + [False] * (6 - len(needs))
        wanted = [*needs[:3], needs[5] and clamped]
        outs = [g.fresh(f"{node.outputs[0]}_{d}") if want else ""
                for d, want in zip(("dx", "dscale", "db", "dr"), wanted, strict=True)]
        if any(outs):
            inputs = [dy, node.inputs[0], statistics] + ([node.outputs[0]] if r and clamped else [])
            g.emit("BatchNormBackward", inputs, outs, frozen=frozen, lo=self.attr(node, "lo"),
                   hi=self.attr(node, "hi"))
        dr = (outs[3] or None) if clamped else dy
        grads: list[str | None] = [*(o or None for o in outs[:3]), None, None, dr]
        return grads[:len(node.inputs)]

    def flops(self, node, inputs, outputs):
        return 3 * outputs[0].size


class BatchNormalization(Normalization):
    """With running statistics; its gradient is that of frozen statistics.

    In a training graph a node with a trainable scale or B is replaced by BatchNormTraining. training_mode=1
    in a file counts only if the further outputs (running_mean, running_var) are used: then the node takes the
    batch's own statistics and returns input * momentum + batch * (1 - momentum), with the biased variance. If
    they are not used, it is taken as what an exporter left over from training, and the running statistics
    count."""

    name = "BatchNormalization"
    batch_statistics = True
    attrs = {**Normalization.attrs, "training_mode": 0, "spatial": 1}

    def from_onnx(self, node, opset):
        """Before opset 14 further outputs say that training mode is meant, unless is_test (before opset 7) denies it."""
        node.attrs.pop("consumed_inputs", None)
        test = node.attrs.pop("is_test", 0)
        if opset < 14 and not test and any(node.outputs[1:]):
            node.attrs["training_mode"] = 1

    def infer(self, node, inputs):
        return [*super().infer(node, inputs), *inputs[3:5]]

    def statistics_shape(self, node, x):
        return x.shape[1:2] if self.attr(node, "spatial") else x.shape[1:]

    def simplify(self, g, node):
        if any(node.outputs[1:]) and not reads_statistics(g, node):
            node.outputs[1:] = []
            return True
        if not self.attr(node, "spatial"):
            self.per_activation(g, node)
            return True
        return super().simplify(g, node)

    def per_activation(self, g, node):
        """Before opset 9 there was a form with statistics for each element of a picture: each is a channel."""
        if reads_statistics(g, node):
            raise UnsupportedError(f"{node}: statistics per activation (spatial=0) cannot be results of the network")
        x = g.spec(node.inputs[0])
        node.attrs["spatial"] = 1
        node.inputs[1:5] = [reshape_to(g, v, (x.size // x.shape[0],)) for v in node.inputs[1:5]]
        self.on_reshaped(g, node, (x.shape[0], x.size // x.shape[0]))

    def export_form(self, g, node, opset):
        if node.attrs.pop("spatial", 1):
            return False
        x = node.inputs[0]
        inputs = [g.emit("Reshape", [v], shape=np.array([0, -1] if v == x else [-1])) for v in node.inputs[:5]]
        y = g.emit(self.name, inputs, **node.attrs)
        node.op, node.inputs, node.attrs = "Reshape", [y, g.emit("Shape", [x])], {}
        return True

    def by_image(self, node, rank):
        return True

    def for_training(self, g, node):
        if not self.attr(node, "spatial"):
            return None
        scale, b, mean, var = (i in g.params for i in node.inputs[1:5])
        if not ((scale or b) and mean and var) or reads_statistics(g, node):
            return None
        attrs = {k: v for k, v in node.attrs.items() if k in BatchNormTraining.attrs}
        outputs = [node.outputs[0], g.fresh(f"{node.outputs[0]}_statistics")]
        new = Node(BatchNormTraining.name, list(node.inputs), outputs, attrs, node.name)
        g.infer_node(new)
        return new

    def recomputation(self, g, node):
        return None if any(node.outputs[1:]) else Node(node.op, node.inputs, [], node.attrs, node.name)

    def gradient(self, g, node, dy, needs):
        if any(node.outputs[1:]):
            raise UnsupportedError(f"{node} has no gradient: its running statistics {node.outputs[1:]} are "
                                   "results of the network; remove these outputs from the file")
        statistics = g.emit("BatchNormStatistics", node.inputs[1:5], epsilon=self.attr(node, "epsilon"))
        return self.backward(g, node, dy[0], statistics, needs, frozen=True)

    def as_channel_affine(self, g, node):
        arrays = [g.constants.get(i) for i in node.inputs[1:5]]
        if any(a is None for a in arrays) or any(node.outputs[1:]):
            return None
        if self.residual(node) or self.clamped(node):
            return None
        gamma, beta, mean, var = (a.astype(np.float64) for a in arrays)
        scale = gamma / np.sqrt(var + self.attr(node, "epsilon"))
        return scale, beta - mean * scale

    def lower(self, ctx, node):
        x, epsilon = images(ctx, node.inputs[0]), self.attr(node, "epsilon")
        if not any(node.outputs[1:]):
            self.normalise(ctx, node, x, running_statistics(ctx, node.inputs[1:5], epsilon))
            return
        if not self.attr(node, "training_mode"):
            raise UnsupportedError(f"{node}: the outputs {node.outputs[1:]} exist with training_mode=1 only")
        new = [ctx.output(o) if o else ctx.temp((x.shape[1],)) for o in (*node.outputs[1:], "")[:2]]
        statistics = ctx.temp((ROWS * x.shape[1],))
        batch_statistics(ctx, x, node.inputs[1:5], new, statistics, epsilon, self.attr(node, "momentum"))
        self.normalise(ctx, node, x, statistics)


def reads_statistics(g, node: Node) -> bool:
    """Whether something reads the outputs after the first."""
    uses = g.uses()
    return any(o and uses[o] for o in node.outputs[1:])


class BatchNormTraining(Normalization):
    """With the statistics of the batch, which also move the running ones in place: running * momentum +
    batch * (1 - momentum), the variance biased as in ONNX. The second output, (5, C), is for the gradient."""

    name = "BatchNormTraining"
    onnx = False
    outputs = 2
    effect = True

    def infer(self, node, inputs):
        out = super().infer(node, inputs)
        n, c, *size = inputs[0].shape
        if n * int(np.prod(size)) == 1:
            raise ShapeError(f"{node}: a batch norm cannot be trained on one value per channel, got an input "
                             f"of shape {inputs[0].shape}; use larger batches or pictures, or freeze it")
        return [*out, TensorSpec((ROWS, c))]

    def gradient(self, g, node, dy, needs):
        return self.backward(g, node, dy[0], node.outputs[1], needs, frozen=False)

    def recomputation(self, g, node):
        inputs = [node.inputs[0], node.outputs[1], *node.inputs[5:]]
        return Node(BatchNormApply.name, inputs, [], {k: self.attr(node, k) for k in ("lo", "hi")}, node.name)

    def lower(self, ctx, node):
        x, statistics = images(ctx, node.inputs[0]), ctx.output(node.outputs[1])
        running = [ctx.input(i) for i in node.inputs[3:5]]
        batch_statistics(ctx, x, node.inputs[1:5], running, statistics, self.attr(node, "epsilon"),
                         self.attr(node, "momentum"))
        self.normalise(ctx, node, x, statistics)


class BatchNormApply(Normalization):
    """What BatchNormTraining computes, from the statistics that it took."""

    name = "BatchNormApply"
    onnx = False
    inputs = ("X", "statistics", "R?")
    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    attrs = {"lo": -INF, "hi": INF}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [inputs[0]]

    def residual(self, node):
        return node.inputs[2] if len(node.inputs) > 2 else ""

    def lower(self, ctx, node):
        self.normalise(ctx, node, images(ctx, node.inputs[0]), ctx.input(node.inputs[1]))


class BatchNormStatistics(Op):
    """Scale and shift of a frozen batch norm, for its gradient: (5, C)."""

    name = "BatchNormStatistics"
    onnx = False
    inputs = ("scale", "B", "mean", "var")
    attrs = {"epsilon": 1e-5}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        return [TensorSpec((ROWS, *inputs[0].shape))]

    def lower(self, ctx, node):
        view = running_statistics(ctx, node.inputs, self.attr(node, "epsilon"))
        c = view.size // ROWS
        ctx.alias(node.outputs[0], replace(view, shape=(ROWS, c), strides=(c, 1)))


class BatchNormBackward(Op):
    """dX, dscale, dB and dR (each only if it has a name) of both forms. dR is asked for only where a clamp
    follows the residual, and Y then tells what the clamp let through; without a residual that is computed
    again from X.

    In two walks: sums of dz and of dz * (x - mean), then dx = scale * dz + b * (x - mean) + c, which is
    the gradient in section 3 of Ioffe and Szegedy 2015 sorted by what varies. Frozen statistics do not depend
    on X: b and c vanish."""

    name = "BatchNormBackward"
    onnx = False
    inputs = ("dY", "X", "statistics", "Y?")
    outputs = 4
    attrs = {"lo": -INF, "hi": INF, "frozen": False}
    no_gradient = "second derivatives are not built"

    def infer(self, node, inputs):
        channel = TensorSpec((inputs[1].shape[1],))
        return [inputs[1], channel, channel, inputs[1]]

    def lower(self, ctx, node):
        lo, hi, frozen = (self.attr(node, key) for key in ("lo", "hi", "frozen"))
        dy, x = images(ctx, node.inputs[0]), images(ctx, node.inputs[1])
        y = images(ctx, node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None
        statistics = ctx.input(node.inputs[2])
        name_dx, name_dscale, name_db, name_dr = node.outputs
        dz = as_images(ctx.output(name_dr, over=node.inputs[0])) if name_dr else None
        clamp = {"clamped": lo > -INF or hi < INF, "lo": lo, "hi": hi}
        coefficients = None
        if not frozen or name_dscale or name_db or name_dr:
            coefficients = None if frozen else ctx.temp((2 * x.shape[1],))
            self.sums(ctx, dy, x, y, dz, statistics, coefficients, clamp,
                      *(ctx.output(o) if o else None for o in (name_dscale, name_db)))
        if not name_dx:
            return
        if dz is not None:
            dy, y, clamp = dz, None, {**clamp, "clamped": False}
        over = node.inputs[0] if ctx.may_overwrite(node.inputs[0]) else node.inputs[1]
        dy, x, y, dx = rows(dy, x, y, as_images(ctx.output(name_dx, over=over)))
        reads_x = coefficients is not None or (clamp["clamped"] and y is None)
        ctx.emit("batch_norm_backward_data", 4 * x.size * (2 + reads_x), dy=dy.nhw,
                 x=x.nhw if reads_x else None, y=y.nhw if y else None, statistics=statistics,
                 coefficients=coefficients, dx=dx.nhw, **clamp, **geometry(x))

    @staticmethod
    def sums(ctx, dy, x, y, dz, statistics, coefficients, clamp, dscale, db):
        """The first walk: the parameters' gradients and the coefficients of the second."""
        dy, x, y, dz = rows(dy, x, y, dz)
        shape, parts = geometry(x), slabs(x)
        partials = doubles(ctx, parts * 2 * shape["C"])
        ctx.emit("batch_norm_backward_partials", 8 * x.size, dy=dy.nhw, x=x.nhw, y=y.nhw if y else None,
                 dz=dz.nhw if dz else None, statistics=statistics, partials=partials, slabs=parts, **shape,
                 **clamp)
        ctx.emit("batch_norm_backward_parameters", 2 * partials.size, partials=partials,
                 statistics=statistics, dgamma=dscale, dbeta=db, coefficients=coefficients, C=shape["C"],
                 pixels=shape["pixels"], slabs=parts)


def running_statistics(ctx, names: list[str], epsilon: float) -> View:
    """Statistics of (scale, B, mean, var); once if these are constants."""
    views = [ctx.row_major(i) for i in names]
    c = views[0].size
    once = all(ctx.is_constant(v) for v in views)
    statistics = ctx.keep(ROWS * c) if once else ctx.temp((ROWS * c,))
    emit_statistics(ctx, views, [None, None], statistics, epsilon, once=once)
    return statistics


def batch_statistics(ctx, x: View, names: list[str], new: list[View], statistics: View, epsilon: float,
                     momentum: float) -> None:
    """Statistics of the pixels of x; new = running * momentum + batch * (1 - momentum)."""
    (flat,) = rows(x)
    shape, parts = geometry(flat), slabs(flat)
    partials = doubles(ctx, parts * 2 * shape["C"])
    ctx.emit("batch_norm_partials", 5 * x.size, x=flat.nhw, partials=partials, slabs=parts, **shape)
    emit_statistics(ctx, [ctx.row_major(i) for i in names], new, statistics, epsilon, partials=partials,
                    pixels=shape["pixels"], slabs=parts, momentum=momentum)


def emit_statistics(ctx, views: list[View], new: list, statistics: View, epsilon: float,
                    partials: View | None = None, pixels: int = 0, slabs: int = 0, momentum: float = 0.0,
                    once: bool = False) -> None:
    gamma, beta, mean, var = views
    cost = 8 * gamma.size + 2 * (partials.size if partials else 0)
    ctx.emit("batch_norm_statistics", cost, once=once, partials=partials, gamma=gamma, beta=beta, mean=mean,
             var=var, new_mean=new[0], new_var=new[1], statistics=statistics, C=gamma.size, pixels=pixels,
             slabs=slabs, epsilon=epsilon, momentum=momentum)


def images(ctx, value: str) -> View:
    """A value as (N, C, H, W) with the channels of a pixel side by side; copied if it lies otherwise."""
    view = as_images(ctx.input(value))
    return view if view.is_image else ctx.copy(view, ctx.temp(view.shape))


def as_images(view: View) -> View:
    """(N, C) and (N, C, L) as (N, C, 1, 1) and (N, C, 1, L)."""
    lead = 4 - len(view.shape)
    return replace(view, shape=(*view.shape[:2], *[1] * lead, *view.shape[2:]),
                   strides=(*view.strides[:2], *[view.strides[0]] * lead, *view.strides[2:]))


def rows(*views: View | None) -> list:
    """All pixels of each view as one row, if all can be seen so; otherwise the views as they are."""
    flat = all(conv.flat_pixels(v) for v in views)
    return [conv.as_row(v) if v is not None and flat else v for v in views]


def geometry(x: View) -> dict[str, int]:
    n, c, h, w = x.shape
    return {"C": c, "H": h, "W": w, "pixels": n * h * w}


def slabs(x: View) -> int:
    return max(1, min(SLABS, geometry(x)["pixels"] // SLAB_PIXELS))


def doubles(ctx, size: int) -> View:
    """Arena memory for numbers in double precision, which kernels see behind a float pointer."""
    return ctx.temp((2 * size,))
