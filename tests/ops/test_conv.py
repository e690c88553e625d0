"""Convolution in three passes by every algorithm, against float64 sums written here.

Also that kernels stay within their views: what lies around the views is NaN or a sentinel, and the ends of
the buffers touch pages that must not be accessed."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edgecnn import _core
from edgecnn.config import chosen_isa
from edgecnn.errors import ShapeError, UnsupportedError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.lowering import Lowering
from edgecnn.graph.memory import plan_arena
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec
from edgecnn.ops import _algorithms as algorithms
from edgecnn.ops import _convolution as conv
from edgecnn.ops.view import View, channels_last, row_major
from tests.helpers import assert_close, every_isa, inside, numeric_gradient

INF = float("inf")
ALGORITHMS = ["direct", "im2col", "depthwise", "columns", "winograd4", "winograd2"]
KERNELS = {"direct": {"conv_direct", "conv_backward_weights"}, "im2col": {"gemm"},
           "depthwise": {"depthwise_forward", "depthwise_backward_weights"},
           "columns": {"sum_columns"},
           **dict.fromkeys(["winograd4", "winograd2"], {"winograd_forward", "winograd_backward_weights"})}
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
MANY = 1000 if os.environ.get("EDGECNN_TEST_FULL") else 40


# ---- the reference -----------------------------------------------------------------------------------------
@dataclass
class Case:
    """Shapes and attributes of one convolution. pads: top, left, bottom, right."""

    n: int = 1
    groups: int = 1
    cg: int = 1
    ocg: int = 1
    size: tuple = (5, 5)
    kernel: tuple = (3, 3)
    strides: tuple = (1, 1)
    dilations: tuple = (1, 1)
    pads: tuple = (0, 0, 0, 0)
    lo: float = -INF
    hi: float = INF
    seed: int = field(default=0, repr=False)

    @property
    def out(self):
        before_after = (self.pads[0] + self.pads[2], self.pads[1] + self.pads[3])
        return tuple((i + p - (k - 1) * d - 1) // s + 1 for i, p, k, d, s in
                     zip(self.size, before_after, self.kernel, self.dilations, self.strides, strict=True))

    @property
    def attrs(self):
        return {"strides": self.strides, "dilations": self.dilations, "pads": self.pads, "group": self.groups}

    @property
    def geometry(self):
        return conv.Geometry(self.strides, self.pads[:2], self.dilations)

    def arrays(self):
        """x, w, b, r, dy"""
        rng = np.random.default_rng(self.seed)
        c, oc = self.groups * self.cg, self.groups * self.ocg
        out = (self.n, oc, *self.out)
        shapes = [(self.n, c, *self.size), (oc, self.cg, *self.kernel), (oc,), out, out]
        return [rng.standard_normal(s, dtype=np.float32) for s in shapes]


def taps(case, padded):
    """Of each kernel tap: its index, and the padded inputs (N, groups, C/groups, OH, OW) that it meets."""
    (oh, ow), (sh, sw), (dh, dw) = case.out, case.strides, case.dilations
    grouped = padded.reshape(case.n, case.groups, case.cg, *padded.shape[2:])
    for kh, kw in np.ndindex(case.kernel):
        h, w = kh * dh, kw * dw
        yield kh, kw, grouped[..., h:h + (oh - 1) * sh + 1:sh, w:w + (ow - 1) * sw + 1:sw]


def pad(case, x):
    top, left, bottom, right = case.pads
    return np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))


def forward(case, x, w, b=None, r=None):
    w = np.asarray(w, np.float64).reshape(case.groups, case.ocg, case.cg, *case.kernel)
    z = sum(np.einsum("ngchw,goc->ngohw", part, w[..., kh, kw]) for kh, kw, part in taps(case, pad(case, x)))
    z = z.reshape(case.n, -1, *case.out)
    if b is not None:
        z = z + b[:, None, None]
    if r is not None:
        z = z + r
    return np.clip(z, case.lo, case.hi)


def backward_data(case, dy, w):
    w = np.asarray(w, np.float64).reshape(case.groups, case.ocg, case.cg, *case.kernel)
    dy = np.asarray(dy, np.float64).reshape(case.n, case.groups, case.ocg, *case.out)
    dx = pad(case, np.zeros((case.n, case.groups * case.cg, *case.size)))
    for kh, kw, part in taps(case, dx):
        part += np.einsum("ngohw,goc->ngchw", dy, w[..., kh, kw])
    return dx[:, :, case.pads[0]:case.pads[0] + case.size[0], case.pads[1]:case.pads[1] + case.size[1]]


def backward_weights(case, x, dy):
    dy = np.asarray(dy, np.float64).reshape(case.n, case.groups, case.ocg, *case.out)
    dw = np.zeros((case.groups, case.ocg, case.cg, *case.kernel))
    for kh, kw, part in taps(case, pad(case, x)):
        dw[..., kh, kw] = np.einsum("ngohw,ngchw->goc", dy, part)
    return dw.reshape(-1, case.cg, *case.kernel)


def test_reference_gradients_by_finite_differences():
    case = Case(2, 2, 2, 3, (5, 6), (3, 2), (2, 1), (1, 2), (1, 0, 2, 1))
    x, w, _, _, dy = case.arrays()
    assert_close(backward_data(case, dy, w), numeric_gradient(lambda v: forward(case, v, w) * dy, x), 1e-7)
    assert_close(backward_weights(case, x, dy), numeric_gradient(lambda v: forward(case, x, v) * dy, w), 1e-7)


# ---- cases -------------------------------------------------------------------------------------------------
def depthwise(c, size, kernel, **kw):
    return Case(groups=c, size=size, kernel=kernel, **kw)


SPECIAL = [
    Case(),
    Case(size=(1, 1), kernel=(1, 1)),
    Case(cg=3, ocg=5, size=(1, 1), kernel=(3, 3), pads=(1, 1, 1, 1)),
    Case(cg=4, ocg=16, size=(2, 3), kernel=(5, 7), pads=(2, 3, 2, 3)),  # larger than the picture
    Case(cg=5, ocg=33, size=(9, 10), kernel=(1, 1), strides=(2, 3)),  # smaller than the stride
    Case(cg=17, ocg=70, size=(6, 5), kernel=(6, 5)),  # a fully connected layer
    Case(n=2, cg=200, ocg=210, size=(2, 5), kernel=(2, 5)),  # and one whose weights are taken in blocks
    Case(n=3, cg=31, ocg=65, size=(4, 9), kernel=(1, 1)),
    Case(n=2, cg=3, ocg=20, size=(17, 19), kernel=(7, 7), strides=(2, 2), pads=(3, 3, 3, 3)),
    Case(cg=16, ocg=32, size=(12, 11), pads=(0, 2, 3, 1), lo=0.0),
    Case(groups=3, cg=2, ocg=17, size=(8, 7), dilations=(2, 3), pads=(2, 3, 1, 4), lo=-0.5, hi=0.5),
    Case(groups=6, cg=1, ocg=2, size=(9, 9), pads=(1, 1, 1, 1)),  # a channel multiplier
    Case(n=2, cg=3, ocg=6, size=(9, 12), kernel=(5, 5), pads=(2, 2, 2, 2), lo=0.0),  # columns are folded
    Case(cg=2, ocg=3, size=(7, 17), kernel=(3, 4), strides=(2, 2), pads=(1, 1, 1, 2)),
    Case(n=2, cg=64, ocg=48, size=(3, 40), pads=(1, 1, 1, 1), hi=6.0),
    depthwise(1, (9, 9), (3, 3), pads=(1, 1, 1, 1)),
    depthwise(32, (7, 7), (3, 3), pads=(1, 1, 1, 1), lo=0.0, hi=6.0),
    depthwise(33, (15, 15), (3, 3), strides=(2, 2), pads=(0, 0, 1, 1)),
    depthwise(200, (9, 11), (5, 5), pads=(2, 2, 2, 2), lo=0.0),
    depthwise(40, (14, 29), (5, 5), strides=(2, 2), pads=(2, 2, 2, 2)),
    depthwise(17, (3, 2), (5, 5), pads=(4, 3, 2, 3)),
    depthwise(24, (13, 12), (3, 3), dilations=(2, 2), pads=(2, 2, 2, 2)),
    depthwise(48, (7, 7), (7, 7)),
    depthwise(20, (6, 31), (1, 3), strides=(1, 2), pads=(0, 1, 0, 1)),
    depthwise(16, (11, 10), (3, 3), strides=(4, 5), pads=(1, 0, 0, 2)),
]


def winograd_case(seed):
    """3x3 of stride 1; any border and any place of the last, partial tiles."""
    rng = np.random.default_rng(seed)
    c, oc = rng.choice([5, 8, 15, 16, 17, 33, 48]), rng.choice([1, 7, 16, 20, 33, 65])
    pads, size = rng.integers(0, 4, 4), rng.integers(1, 30, 2)
    lo, hi = [(-INF, INF), (0.0, 6.0)][rng.integers(2)]
    case = Case(int(rng.integers(1, 4)), 1, int(c), int(oc), tuple(map(int, size)), pads=tuple(map(int, pads)), lo=lo, hi=hi,
                seed=seed)
    return case if min(case.out) >= 1 else winograd_case(seed + 1000)


def columns_case(seed):
    """Stride 1 and any border; few channels, but also more than a vector."""
    rng = np.random.default_rng(seed)
    c, oc, kernel = rng.choice([1, 3, 6, 7, 16, 19]), rng.choice([2, 7, 16, 33]), rng.integers(1, 7, 2)
    pads, size = rng.integers(0, 7, 4), rng.integers(1, 30, 2)
    case = Case(int(rng.integers(1, 4)), 1, int(c), int(oc), tuple(map(int, size)), tuple(map(int, kernel)),
                pads=tuple(map(int, pads)), seed=seed)
    return case if min(case.out) >= 1 else columns_case(seed + 1000)


def random_case(seed, group_kind):
    """Channels lie around the widths of vectors and panels."""
    rng = np.random.default_rng(seed)
    channels = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 31, 32, 33]
    while True:
        groups, cg, ocg = {
            "dense": (1, rng.choice([*channels, 64]), rng.choice([*channels, 47, 65, 70])),
            "grouped": (rng.integers(2, 5), rng.choice([1, 2, 5, 16]), rng.choice([1, 2, 6, 17, 33])),
            "depthwise": (rng.choice([*channels, 48, 65, 200]), 1, 1)}[group_kind]
        top = 7 if group_kind == "depthwise" else 5
        kernel, strides, dilations = rng.integers(1, top, 2), rng.integers(1, 4, 2), np.ones(2)
        pads = rng.integers(0, 4, 4)
        if rng.random() < 0.3:
            dilations = rng.integers(1, 4, 2)
        if rng.random() < 0.4:  # what networks use
            kernel[:] = rng.choice([3, 5])
            strides[:] = rng.choice([1, 2])
        bounds = [(-INF, INF), (0.0, INF), (0.0, 6.0), (-1.0, 0.5)][rng.integers(4)]
        size = rng.integers(1, 24, 2)
        case = Case(int(rng.integers(1, 4)), int(groups), int(cg), int(ocg),
                    *(tuple(map(int, v)) for v in (size, kernel, strides, dilations, pads)), *bounds, seed)
        if min(case.out) >= 1:
            return case


def cases(algorithm, count=None):
    special = {"winograd4": winograd_case, "winograd2": winograd_case, "columns": columns_case}
    if algorithm in special:
        yield from map(special[algorithm], range(count or MANY))
        return
    kinds = ["depthwise"] if algorithm == "depthwise" else ["dense", "grouped", "depthwise"]
    yield from (c for c in SPECIAL if algorithm != "depthwise" or c.cg == c.ocg == 1)
    yield from (random_case(i, kinds[i % len(kinds)]) for i in range(count or MANY))


# ---- running -----------------------------------------------------------------------------------------------
def graph_of(case, arrays, constant_weights=True):
    """y = clamp(conv + b + r), dx, dw of one convolution; b and r only if given."""
    x, w, b, r, dy = arrays
    given = {"x": x, "dy": dy, "r": r} if constant_weights else {"x": x, "dy": dy, "r": r, "w": w, "b": b}
    given = {k: v for k, v in given.items() if v is not None}
    known = {k: v for k, v in {"w": w, "b": b}.items() if v is not None} if constant_weights else {}
    g = Graph(inputs={k: TensorSpec(v.shape) for k, v in given.items()}, constants=known)
    g.specs.update(g.inputs)
    inputs = ["x", "w", "b" if b is not None else None] + (["r"] if r is not None else [])
    g.outputs = [g.emit("Conv", inputs if inputs[-1] else inputs[:2], lo=case.lo, hi=case.hi, **case.attrs),
                 g.emit("ConvBackwardData", ["dy", "w"], shape=x.shape, **case.attrs),
                 g.emit("ConvBackwardWeights", ["x", "dy"], shape=w.shape, **case.attrs)]
    g.verify()
    return g, given


def plan_of(g, given, algorithm, threads=1):
    plan = Plan(specialise(g, {k: v.shape for k, v in given.items()}), threads, {"convolution": algorithm})
    used = {s.kernel for s in plan.steps}
    if algorithm == "columns":  # which has but one pass
        assert used >= KERNELS[algorithm]
    else:
        assert used & set().union(*KERNELS.values()) == KERNELS[algorithm]
    return plan


def check(case, arrays, results):
    """Errors are relative to the largest sum; that of y before its clamp, which may leave only small
    differences of large terms."""
    x, w, b, r, dy = arrays
    sums = forward(replace(case, lo=-INF, hi=INF), x, w, b, r)
    want = np.clip(sums, case.lo, case.hi), backward_data(case, dy, w), backward_weights(case, x, dy)
    for name, got, ref, scale in zip(("y", "dx", "dw"), results, want, (sums, *want[1:]), strict=True):
        assert got.shape == ref.shape
        error = np.abs(got - ref).max()
        assert error <= 1e-5 * max(1.0, np.abs(scale).max()), f"{name} of {case}: error {error}"


@every_isa
@every_algorithm
def test_all_passes_against_reference(isa, algorithm, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    for i, case in enumerate(cases(algorithm)):
        arrays = case.arrays()
        if i % 3 == 0:
            arrays[2] = arrays[3] = None  # neither bias nor residual
        elif i % 3 == 1:
            arrays[3] = None
        g, given = graph_of(case, arrays, constant_weights=i % 2 == 0)
        if i % 4 < 2:
            g = inside(g)
        check(case, arrays, plan_of(g, given, algorithm).run(*given.values()))


@every_isa
@pytest.mark.parametrize("algorithm", [a.name for a in algorithms.FORWARD])
def test_output_may_take_the_memory_of_the_residual(isa, algorithm, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    dense = Case(2, 1, 16, 24, (7, 9), pads=(1, 1, 1, 1), lo=0.0)
    narrow = depthwise(24, (7, 9), (3, 3), pads=(1, 1, 1, 1), lo=0.0)
    by = {"depthwise": [narrow], "winograd4": [dense], "winograd2": [dense]}
    for case in by.get(algorithm, [narrow, dense]):
        arrays = case.arrays()
        g, given = graph_of(case, arrays)
        plan = plan_of(inside(g), given, algorithm)
        args = next(s.args for s in plan.steps if s.kernel in KERNELS[algorithm])
        y = args["c" if algorithm == "im2col" else "y"].view
        assert y.buffer is args["r"].view.buffer
        check(case, arrays, plan.run(*given.values()))


@every_isa
@every_algorithm
def test_threads_do_not_change_a_bit(isa, algorithm, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    monkeypatch.setattr("edgecnn.graph.lowering.SERIAL_BELOW", 0)
    for case in cases(algorithm, count=6):
        arrays = case.arrays()
        g, given = graph_of(case, arrays)
        results = [plan_of(g, given, algorithm, threads).run(*given.values()) for threads in (1, 2, 3)]
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                assert a.tobytes() == b.tobytes(), case


@every_isa
@pytest.mark.parametrize("kernel", [1, 3])
def test_large_weights_are_summed_in_blocks_of_channels(isa, kernel, monkeypatch):
    """With and without a residual and a clamp, of which every block but the last knows nothing."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    lanes, constants = chosen_isa()
    monkeypatch.setattr("edgecnn.graph.lowering.chosen_isa", lambda: (lanes, {**constants, "x_block_bytes": 2048}))
    for residual, lo in ((False, -np.inf), (True, -0.5)):
        case = Case(1, 1, 70, 90, (3, 3), (kernel, kernel), pads=(kernel // 2,) * 4, lo=lo, hi=-lo)
        arrays = case.arrays()
        if not residual:
            arrays[3] = None
        g, given = graph_of(case, arrays)
        plan = plan_of(g, given, "direct")
        assert sum(s.kernel == "conv_direct" and s.node.op == "Conv" for s in plan.steps) > 1
        check(case, arrays, plan.run(*given.values()))


@every_isa
def test_pixels_that_a_stride_leaves_out_make_no_blocks_of_channels(isa, monkeypatch):
    """Of 8x8 pixels a 1x1 kernel of stride 4 reads 2x2, which fit into a cache that all of them would not."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    lanes, constants = chosen_isa()
    monkeypatch.setattr("edgecnn.graph.lowering.chosen_isa", lambda: (lanes, {**constants, "x_block_bytes": 4480}))
    case = Case(1, 1, 70, 300, (8, 8), (1, 1), (4, 4))
    arrays = case.arrays()
    g, given = graph_of(case, arrays)
    plan = plan_of(g, given, "direct")
    assert sum(s.kernel == "conv_direct" and s.node.op == "Conv" for s in plan.steps) == 1
    check(case, arrays, plan.run(*given.values()))


@every_isa
def test_a_fully_connected_layer_reads_its_weights_once_for_all_images(isa, monkeypatch):
    """Also on images with a gap between them."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    for n in (2, 17):
        case = Case(n, 1, 10, 70, (5, 4), (5, 4), lo=-0.5)
        arrays = case.arrays()
        g, given = graph_of(case, arrays)
        for graph in (g, inside(g)):
            plan = plan_of(graph, given, "direct")
            first = next(s for s in plan.steps if s.kernel == "conv_direct")
            assert first.args["N"] == 1 and first.args["OW"] == n
            check(case, arrays, plan.run(*given.values()))


@every_isa
@pytest.mark.parametrize("channels, outputs", [(45, 83), (150, 140)])
def test_pixels_for_the_weight_gradient_of_1x1_are_read_in_place_or_packed(isa, channels, outputs, monkeypatch):
    """In several blocks of pixels, the last a part of one; the same bits on any number of threads."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    monkeypatch.setattr("edgecnn.graph.lowering.SERIAL_BELOW", 0)
    case = Case(2, 1, channels, outputs, (13, 17), (1, 1))
    arrays = case.arrays()
    g, given = graph_of(case, arrays)
    plans = [plan_of(g, given, "direct", threads) for threads in (1, 2, 3)]
    args = next(s for s in plans[0].steps if s.kernel == "conv_backward_weights").args
    assert args["pack"] == (min(channels, outputs) > conv.FEW_CHANNELS)
    results = [plan.run(*given.values()) for plan in plans]
    check(case, arrays, results[0])
    assert len({dw.tobytes() for _, _, dw in results}) == 1


@every_isa
@pytest.mark.parametrize("algorithm", ["winograd4", "winograd2"])
def test_large_weights_are_transformed_in_blocks_of_output_channels(isa, algorithm, monkeypatch):
    """At each run; those that are constant once and whole."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    monkeypatch.setattr("edgecnn.ops._winograd.TRANSFORMED_BYTES", 4096)
    case = Case(1, 1, 70, 90, (5, 6), (3, 3), pads=(1, 1, 1, 1), lo=-0.5)
    arrays = case.arrays()
    for constant in (True, False):
        g, given = graph_of(case, arrays, constant)
        plan = plan_of(g, given, algorithm)
        assert (sum(s.kernel == "winograd_forward" for s in plan.steps) > 2) == (not constant)
        check(case, arrays, plan.run(*given.values()))


@every_isa
def test_transformed_weights_that_are_written_past_the_cache(isa, monkeypatch):
    """From 4 MB on; by several threads, each of which reads what others wrote."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    case = Case(1, 1, 180, 200, (6, 5), (3, 3), pads=(1, 1, 1, 1))
    arrays = case.arrays()
    for constant in (True, False):
        g, given = graph_of(case, arrays, constant)
        check(case, arrays, plan_of(g, given, "winograd4", 2).run(*given.values()))


@every_isa
def test_large_pictures_are_done_in_blocks_of_rows(isa, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    monkeypatch.setattr("edgecnn.ops._im2col.WORKSPACE", 200)
    for case in cases("im2col", count=6):
        arrays = case.arrays()
        g, given = graph_of(case, arrays)
        check(case, arrays, plan_of(g, given, "im2col").run(*given.values()))


# ---- nothing outside the views is touched ------------------------------------------------------------------
def pages(shape, at_end):
    """An array (channels-last memory for 4-D shapes) that ends where a page without access begins, or begins
    where one ends; in logical shape."""
    libc = ctypes.CDLL(None, use_errno=True)
    order = [0, *range(2, len(shape)), 1] if len(shape) == 4 else list(range(len(shape)))
    count = int(np.prod(shape))
    room = -(-4 * count // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (start, start + mmap.PAGESIZE + room):
        assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    first = mmap.PAGESIZE + (room - 4 * count if at_end else 0)
    flat = np.frombuffer(memory, np.float32, count, first)
    return flat.reshape([shape[a] for a in order]).transpose(np.argsort(order))


def room_around(shape, at_end):
    """A view of this shape in the middle of a larger array: other channels beside it, other pixels around."""
    whole = np.zeros((shape[0] + 2, shape[2] + 3, shape[3] + 2, shape[1] + 5), np.float32)
    return whole[1:-1, 2:-1, 1:-1, 3:-2].transpose(0, 3, 1, 2)


def user_order(shape, at_end):
    """As users give pictures: row-major."""
    return np.zeros(shape, np.float32)


def base_of(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def view_of(ctx, array):
    """The array's memory as the program sees it."""
    base = base_of(array)
    whole = ctx.constant(base.reshape(-1))
    strides = tuple(s // 4 for s in array.strides)
    return View(whole.buffer, array.shape, strides, (array.ctypes.data - base.ctypes.data) // 4)


def place(make, shape, values, at_end, around):
    """values in new memory, everything beside them `around`."""
    array = make(shape, at_end)
    base_of(array)[...] = around
    array[...] = values
    return array


def run_placed(case, algorithm, make, make_out, at_end, threads=1):
    """The three passes over arrays whose memory `make` and `make_out` lay out, all beside them checked."""
    x, w, b, r, dy = case.arrays()
    nan, sentinel = np.float32(np.nan), np.float32(1.25e30)
    flat = pages if make is pages else user_order
    xs, dys = place(make, x.shape, x, at_end, nan), place(make, dy.shape, dy, at_end, nan)
    rs = place(pages if make is pages else room_around, r.shape, r, at_end, nan)
    ws, bs = place(user_order, w.shape, w, at_end, nan), place(flat, b.shape, b, at_end, nan)
    dy_image = place(pages if make is pages else room_around, dy.shape, dy, at_end, nan)
    out = [place(make_out, y.shape, 0, at_end, sentinel) for y in (dy, x)]
    out.append(place(user_order, w.shape, 0, at_end, sentinel))

    ctx = Lowering(Graph(), threads)
    v = [view_of(ctx, a) for a in (xs, bs, rs, dys, dy_image, *out)]
    weights = conv.split_groups(view_of(ctx, ws), case.groups)
    gradient = conv.split_groups(v[7], case.groups)
    lower_forward, lower_backward_data, lower_backward_weights = (
        next(a.lower for name in (algorithm, "direct") for a in ways if a.name == name)  # columns: one pass only
        for ways in (algorithms.FORWARD, algorithms.BACKWARD_DATA, algorithms.BACKWARD_WEIGHTS))
    lower_forward(ctx, conv.Forward(v[0], weights, v[1], v[2], v[5], case.geometry, case.lo, case.hi))
    lower_backward_data(ctx, v[3], weights, v[6], case.geometry)
    lower_backward_weights(ctx, v[0], v[4], gradient, case.geometry)
    arena = plan_arena(ctx.buffers)
    for steps in (ctx.once, ctx.steps):
        ctx.program(steps, arena).run([], threads)
    check(case, (x, w, b, r, dy), out)
    for array in out:
        array[...] = sentinel
        assert (base_of(array) == sentinel).all(), f"{case}: wrote beside its output"


@every_isa
@every_algorithm
@pytest.mark.parametrize("make", [room_around, user_order])
def test_views_in_larger_memory(isa, algorithm, make, monkeypatch):
    """NaN around the inputs would spread into results; a store beside an output would hit the sentinel."""
    if make is user_order and algorithm.startswith("winograd"):
        pytest.skip("reads channels-last pictures only")
    monkeypatch.setenv("EDGECNN_ISA", isa)
    for case in cases(algorithm, count=8):
        run_placed(case, algorithm, make, room_around, at_end=True)


def in_child(*args):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, __file__, *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def child(algorithm):
    """Runs in a process of its own: an access past an array would kill it."""
    for case in cases(algorithm, count=8):
        for at_end in (True, False):
            run_placed(case, algorithm, pages, pages, at_end)


@pytest.mark.native
@every_isa
@every_algorithm
def test_ends_of_buffers_touch_forbidden_pages(isa, algorithm, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    done = in_child(algorithm)
    assert done.returncode == 0, done.stderr[-2000:] or signal.Signals(-done.returncode)


@pytest.mark.native
@pytest.mark.parametrize("end", ["0", "1"])
def test_forbidden_pages_kill(end):
    assert in_child("read", end).returncode == -signal.SIGSEGV


# ---- meaning and messages ----------------------------------------------------------------------------------
def test_nan_and_infinity_pass_through():
    relu6 = {"lo": 0.0, "hi": 6.0}
    for case in Case(cg=3, ocg=20, size=(9, 9), **relu6), depthwise(20, (9, 9), (3, 3), **relu6):
        for algorithm in ALGORITHMS[:2 if case.cg > 1 else 3]:
            x, w, b, _, dy = case.arrays()
            x[0, 0, 4, 4] = np.nan
            x[0, 1, 4, 4] = np.inf
            g, given = graph_of(case, [x, w, b, None, dy])
            got = plan_of(g, given, algorithm).run(*given.values())[0]
            with np.errstate(invalid="ignore"):
                want = forward(case, x, w, b)
            assert np.isnan(want).any()
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
            np.testing.assert_allclose(got, want, 1e-4, 1e-5)


def test_nan_and_infinity_are_not_lost_by_winograd():
    """They may also reach the rest of their tiles, nothing else."""
    case = Case(cg=8, ocg=20, size=(17, 17), pads=(1, 1, 1, 1))
    for algorithm, reach in ("winograd4", 6), ("winograd2", 4):
        for bad in np.nan, np.inf:
            x, w, _, _, dy = case.arrays()
            x[0, 1, 8, 8] = bad
            g, given = graph_of(case, [x, w, None, None, dy])
            got = plan_of(g, given, algorithm).run(*given.values())[0]
            with np.errstate(invalid="ignore"):
                want = forward(case, x, w)
            assert not np.isfinite(got[~np.isfinite(want)]).any()
            rows = np.abs(np.arange(17) - 8) < reach
            assert np.isfinite(got[:, :, ~rows]).all() and np.isfinite(got[..., ~rows]).all()


def chosen(case, threads=1, constant=True):
    """The algorithms of the three passes."""
    g, given = graph_of(case, [*case.arrays()[:2], None, None, case.arrays()[4]], constant)
    plan = Plan(specialise(inside(g), {k: v.shape for k, v in given.items()}), threads)
    return [s.kernel if "winograd" not in s.kernel else f"{s.kernel}{s.args['m']}" for s in plan.steps
            if s.kernel in set().union(*KERNELS.values())]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_cheapest_algorithm_is_chosen_whatever_the_threads(threads):
    same = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    wide = Case(1, 1, 64, 64, (56, 56), **same)
    assert chosen(wide, threads) == ["winograd_forward4", "winograd_forward4", "winograd_backward_weights4"]
    assert "winograd_forward4" not in chosen(Case(1, 1, 512, 512, (4, 4), **same), threads)  # its weights would be 38 MB
    assert chosen(replace(wide, strides=(2, 2)), threads)[0] == "conv_direct"
    assert chosen(Case(1, 1, 64, 64, (56, 56), kernel=(1, 1)), threads)[0] == "conv_direct"
    assert chosen(depthwise(64, (9, 9), (3, 3)), threads)[0] == "depthwise_forward"


@every_isa
def test_the_choice_does_not_depend_on_threads(isa, monkeypatch):
    """A small weight gradient is split for threads into blocks that cost more; that must not change the algorithm."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    cases = [Case(10, 1, c, oc, (6, 7), (3, 3), pads=(1, 1, 1, 1)) for c, oc in ((12, 6), (16, 16), (24, 40), (7, 64))]
    for case in cases:
        assert chosen(case, 1) == chosen(case, 2) == chosen(case, 3), case


def test_columns_are_folded_where_vectors_would_be_empty(monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", list(_core.isas())[0])
    lanes = next(iter(_core.isas().values()))["lanes"]
    case = Case(cg=3, ocg=lanes // 4, size=(9, 16), kernel=(5, 5), pads=(2, 2, 2, 2))
    g, given = graph_of(case, case.arrays())
    step = next(s for s in plan_of(inside(g), given, "direct").steps if s.kernel == "conv_direct")
    assert step.args["OC"] > case.ocg and step.args["W"] == 16 and step.args["OW"] < 16


def infer(x, w, b=None, **attrs):
    g = Graph(inputs={"x": TensorSpec(x), "w": TensorSpec(w), **({"b": TensorSpec(b)} if b else {})})
    g.specs.update(g.inputs)
    return g.emit("Conv", list(g.inputs), **attrs)


@pytest.mark.parametrize("error, message, args, attrs", [
    (ShapeError, "input has 3 channels, weights .* with 1 groups take 4", [(1, 3, 8, 8), (5, 4, 3, 3)], {}),
    (ShapeError, "multiple of the groups", [(1, 4, 8, 8), (5, 2, 3, 3)], {"group": 2}),
    (ShapeError, "2x9 pixels is smaller than the kernel .3, 3.*larger pictures",
     [(1, 4, 2, 9), (5, 4, 3, 3)], {}),
    (ShapeError, "smaller than the kernel", [(1, 4, 4, 4), (5, 4, 3, 3)], {"dilations": (2, 2)}),
    (ShapeError, r"bias has shape \(4,\), needed \(5,\)", [(1, 4, 8, 8), (5, 4, 3, 3), (4,)], {}),
    (UnsupportedError, "1 to 3 dimensions", [(1, 4), (5, 4)], {}),
    (UnsupportedError, "1 to 3 dimensions", [(1, 4, 8, 8), (5, 4, 3)], {}),
])
def test_error_messages(error, message, args, attrs):
    with pytest.raises(error, match=message):
        infer(*args, **attrs)


def test_layouts_of_this_file():
    """The guards above guard what they say."""
    assert tuple(s // 4 for s in pages((2, 3, 4, 5), True).strides) == channels_last((2, 3, 4, 5))
    assert tuple(s // 4 for s in user_order((2, 3, 4, 5), True).strides) == row_major((2, 3, 4, 5))
    assert base_of(room_around((2, 3, 4, 5), True)).size > 2 * 3 * 4 * 5


if __name__ == "__main__":
    if sys.argv[1] == "read":
        at_end = sys.argv[2] == "1"
        array = pages((1000,), at_end)
        print(ctypes.c_float.from_address(array.ctypes.data + (4000 if at_end else -4)).value)
    else:
        child(sys.argv[1])
