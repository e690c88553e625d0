"""Chains in bands of rows: the same bits as whole, on any number of threads, in less memory."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgecnn as ec
from edgecnn.graph.bands import chains, in_bands
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.memory import plan_arena
from edgecnn.graph.plan import Plan
from edgecnn.ops import Lane, TensorSpec
from edgecnn.ops.view import Buffer

rng = np.random.default_rng(0)
sizes = st.integers(1, 5)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


@st.composite
def convolution(draw, depthwise):
    kh, kw, dilation = draw(sizes), draw(sizes), draw(st.integers(1, 2))
    reach = (kh - 1) * dilation, (kw - 1) * dilation
    pads = tuple(draw(st.integers(0, r)) for r in (*reach, *reach))
    return {"kind": "depthwise" if depthwise else "conv", "kernel": (kh, kw), "pads": pads, "dilations": (dilation,) * 2,
            "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 2))), "channels": draw(st.integers(1, 40))}


layer = st.one_of(
    convolution(True), convolution(False), st.just({"kind": "pointwise"}), st.just({"kind": "residual"}),
    st.sampled_from([{"kind": k} for k in ("Swish", "HardSwish", "gate", "table", "pool", "pool_ceil")]))


def add(g, x, spec):
    """Emits a layer on x; what a small picture does not allow is left out."""
    _, c, h, w = g.spec(x).shape
    kind = spec["kind"]
    if kind in ("conv", "depthwise"):
        reach = [(k - 1) * d + 1 - a - b for k, d, a, b in
                 zip(spec["kernel"], spec["dilations"], spec["pads"][:2], spec["pads"][2:], strict=True)]
        if h < reach[0] or w < reach[1]:
            return x
        groups = c if kind == "depthwise" else 1
        weights = normal(c if kind == "depthwise" else spec["channels"], c // groups, *spec["kernel"])
        return g.emit("Conv", [x, g.constant(weights), g.constant(normal(len(weights)))], group=groups, lo=-2.0, hi=3.0,
                      **{k: spec[k] for k in ("pads", "dilations", "strides")})
    if kind == "pointwise":
        return g.emit("Conv", [x, g.constant(normal(24, c, 1, 1))])
    if kind == "residual":
        return g.emit("Conv", [x, g.constant(normal(c, c, 1, 1)), None, g.emit("Sigmoid", [g.inputs_of(x)])])
    if kind in ("gate", "table"):
        return g.emit("Mul", [x, g.constant(normal(1, c, *((1, 1) if kind == "gate" else (h, 1))))])
    if kind.startswith("pool"):
        if min(h, w) < 3:
            return x
        return g.emit("MaxPool", [x], kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), ceil_mode=kind == "pool_ceil")
    return g.emit(kind, [x])


class Chain(Graph):
    """A graph of one input; `inputs_of` gives a value shaped like x that comes from elsewhere."""

    def inputs_of(self, x):
        return self.constant(normal(*self.spec(x).shape))


def chain_of(specs, shape):
    g = Chain(inputs={"x": TensorSpec(shape)})
    g.specs.update(g.inputs)
    x = "x"
    for spec in specs:
        x = add(g, x, spec)
    g.outputs = [g.emit("Sigmoid", [x])]
    return specialise(g, {"x": shape})


@pytest.fixture
def room(monkeypatch):
    """Sets how many bytes two neighbouring values may have."""
    def set_room(nbytes):
        monkeypatch.setattr("edgecnn.graph.bands.chosen_isa", lambda: ("", {"x_block_bytes": nbytes}))

    return set_room


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(layer, min_size=2, max_size=6), st.integers(3, 40), st.integers(3, 20), st.integers(1, 4))
def test_bands_have_the_bits_of_the_whole(room, specs, height, width, threads):
    room(4000)
    g = chain_of(specs, (1, 5, height, width))
    x = normal(1, 5, height, width)
    whole = Plan(g, 1).run(x)[0]
    banded = Plan(in_bands(g, threads), threads)
    for _ in range(3):
        np.testing.assert_array_equal(banded.run(x)[0], whole)
    np.testing.assert_array_equal(Plan(in_bands(g, threads), 2).run(x)[0], whole)  # other threads than it was made for


def test_a_lane_does_not_read_what_another_is_still_copying(room):
    """Bands that read all rows of an input in planes, which is copied first: the last thread would overtake the first."""
    room(4000)
    tall = {"kind": "depthwise", "kernel": (3, 1), "pads": (2, 0, 2, 0), "dilations": (2, 2), "strides": (1, 1)}
    g = chain_of([{"kind": "pointwise"}, tall], (1, 5, 3, 14))
    plan = Plan(in_bands(g, 3), 3)
    copies = [step.lane for step in plan.steps if step.kernel == "copy" and step.lane.section]
    assert sorted(lane.thread for lane in copies) == [0, 1, 2]


def inverted_residual(width=16, expand=6, side=64):
    net = ec.nn.Sequential(
        ec.nn.Conv2d(3, width, 1), ec.nn.Conv2d(width, expand * width, 1), ec.nn.ReLU6(),
        ec.nn.Conv2d(expand * width, expand * width, 3, stride=2, padding=1, groups=expand * width), ec.nn.ReLU6(),
        ec.nn.Conv2d(expand * width, width, 1))
    net.input_shape = (None, 3, side, side)
    return net


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_block_is_one_chain_and_needs_less_memory(room, threads, monkeypatch):
    room(1 << 24)
    net, x = inverted_residual(), normal(1, 3, 64, 64)
    monkeypatch.setattr("edgecnn.config._threads", threads)
    whole = net.plan({"input": x.shape})
    room(40_000)
    banded = net.plan({"input": x.shape})
    assert banded.arena_bytes < whole.arena_bytes / 2
    assert {s.lane.thread for s in banded.steps if s.lane and s.lane.section} == set(range(threads))
    np.testing.assert_array_equal(banded.run(x)[0], whole.run(x)[0])


def test_a_profile_shows_a_layer_once(room):
    room(40_000)
    plan = (net := inverted_residual()).plan({"input": (1, 3, 64, 64)})
    steps = ec.graph.profile.profile(plan, [normal(1, 3, 64, 64)], runs=1)
    convolutions = [s for s in steps if s.op == "Conv"]
    assert len(convolutions) == 4 < len(plan.steps)
    assert sum(s.flops for s in convolutions) == pytest.approx(2 * net.macs(), rel=0.05)


def test_no_chain_where_somebody_else_reads_or_weights_are_many(room):
    def graph(channels, twice):
        g = Graph(inputs={"x": TensorSpec((1, 8, 32, 32))})
        g.specs.update(g.inputs)
        y = g.emit("Swish", ["x"])
        z = g.emit("Conv", [y, g.constant(normal(channels, 8, 1, 1))])
        g.outputs = [z, y] if twice else [z]
        return g

    assert len(list(chains(graph(8, False), 4000))) == 1
    assert not list(chains(graph(8, True), 4000))
    assert not list(chains(graph(60, False), 4000))  # 2 KB of weights: half the room,
    assert len(list(chains(graph(60, False), 4000, 5))) == 1  # which threads with enough rows may read each
    assert not list(chains(graph(60, False), 4000, 6))
    assert not list(chains(graph(64, False), 4000, 2))


lifetimes = st.tuples(st.integers(1, 500), st.integers(0, 9), st.integers(0, 3), st.sampled_from([None, 0, 1]))


@given(st.lists(lifetimes, max_size=20))
def test_buffers_of_two_lanes_never_share_memory(items):
    buffers = [Buffer(size, first=first, last=first + length, lane=None if thread is None else Lane(1, thread))
               for size, first, length, thread in items]
    plan_arena(buffers)
    for i, a in enumerate(buffers):
        for b in buffers[:i]:
            if a.lane and b.lane and a.lane != b.lane:
                assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
