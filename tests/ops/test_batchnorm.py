"""Batch normalisation, in inference and training, against its formulas in float64."""

import numpy as np
import pytest

from edgecnn.errors import ShapeError, UnsupportedError
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import Node, TensorSpec, get_op
from tests.helpers import assert_close, every_isa, gradients, numeric_gradient, run_graph, run_optimised, run_placed

EPS, MOMENTUM, INF = 1e-3, 0.8, float("inf")
STATE = ("scale", "B", "mean", "var")
SHAPES = [(3, 5, 4, 7), (2, 16, 9, 8), (1, 37, 3, 5), (4, 64, 14, 14), (6, 19), (2, 33, 11), (2, 1, 6, 6),
          (70, 8, 2, 3), (3, 531, 2, 2)]


def sample(shape, seed=0, mean=0.0, residual=False):
    rng = np.random.default_rng(seed)
    c = shape[1]
    x = rng.normal(mean, 1, shape).astype(np.float32)
    values = rng.uniform(0.5, 2, c), rng.normal(size=c), rng.normal(mean, 0.3, c), rng.uniform(0.5, 2, c)
    state = {k: v.astype(np.float32) for k, v in zip(STATE, values, strict=True)}
    r = rng.normal(size=shape).astype(np.float32) if residual else None
    return x, state, r, rng.normal(size=shape).astype(np.float32)


def per_channel(a, x):
    return np.reshape(a, (1, -1) + (1,) * (x.ndim - 2))


def reference(x, scale, b, r=0.0, mean=None, var=None, lo=-INF, hi=INF):
    """y of batch statistics, or of given ones."""
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axes) if mean is None else mean
    var = ((x - per_channel(mean, x)) ** 2).mean(axes) if var is None else var
    normal = (x - per_channel(mean, x)) / np.sqrt(per_channel(var, x) + EPS)
    return np.clip(normal * per_channel(scale, x) + per_channel(b, x) + r, lo, hi)


def reference_backward(dy, x, scale, b, r=0.0, lo=-INF, hi=INF, mean=None, var=None):
    """dx, dscale, db, dr of `reference`."""
    axes, m = (0, *range(2, x.ndim)), x.size // x.shape[1]
    frozen = mean is not None
    z = reference(x, scale, b, r, mean, var)
    dz = dy * ((z > lo) & (z < hi))
    mean = x.mean(axes) if mean is None else mean
    var = ((x - per_channel(mean, x)) ** 2).mean(axes) if var is None else var
    inv = 1 / np.sqrt(var + EPS)
    xhat = (x - per_channel(mean, x)) * per_channel(inv, x)
    db, dscale = dz.sum(axes), (dz * xhat).sum(axes)
    inner = dz if frozen else dz - per_channel(db, x) / m - xhat * per_channel(dscale, x) / m
    return inner * per_channel(scale * inv, x), dscale, db, dz


def graph(op, x, state, r=None, dy=None, lo=-INF, hi=INF, trained=STATE, needs=True):
    """A batch norm and, with dy, its gradient; state not in `trained` is constant. Gives graph and feeds."""
    feeds = {k: v for k, v in (("x", x), ("r", r), ("dy", dy)) if v is not None}
    g = Graph(inputs={k: TensorSpec(v.shape) for k, v in feeds.items()},
              params={k: v for k, v in state.items() if k in trained},
              constants={k: v for k, v in state.items() if k not in trained})
    g.specs.update(g.inputs)
    inputs = ["x", *STATE] + (["r"] if r is not None else [])
    training = op == "BatchNormTraining"
    outs = g.emit(op, inputs, 1 + training, epsilon=EPS, momentum=MOMENTUM, lo=lo, hi=hi)
    g.outputs = [outs[0] if training else outs]
    if dy is not None:
        node = g.nodes[-1]
        wanted = [i < 3 or i == 5 for i in range(len(inputs))] if needs is True else needs
        grads = get_op(op).gradient(g, node, ["dy"] + [None] * (len(node.outputs) - 1), wanted)
        g.outputs += [v for v in grads if v is not None]
    g.verify()
    return g, feeds


@every_isa
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("constant", [True, False])
def test_inference(isa, shape, constant, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, state, r, _ = sample(shape, residual=constant)
    g, feeds = graph("BatchNormalization", x, state, r, lo=-0.5, hi=1.5, trained=() if constant else STATE)
    (y,) = run_graph(g, feeds)
    f = {k: v.astype(np.float64) for k, v in state.items()}
    r64 = 0.0 if r is None else r.astype(np.float64)
    want = reference(x.astype(np.float64), f["scale"], f["B"], r64, f["mean"], f["var"], -0.5, 1.5)
    assert_close(y, want, 2e-6)


@every_isa
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("lo, hi", [(-INF, INF), (0.0, INF), (-0.7, 1.1)])
def test_training_forward_and_backward(isa, shape, residual, lo, hi, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, state, r, dy = sample(shape, residual=residual)
    f = {k: v.astype(np.float64) for k, v in state.items()}
    g, feeds = graph("BatchNormTraining", x, state, r, dy, lo, hi)
    got = run_graph(g, feeds)
    x64, r64 = x.astype(np.float64), 0.0 if r is None else r.astype(np.float64)
    want = [reference(x64, f["scale"], f["B"], r64, lo=lo, hi=hi),
            *reference_backward(dy.astype(np.float64), x64, f["scale"], f["B"], r64, lo, hi)]
    assert len(got) == (5 if residual else 4)
    for a, b in zip(got, want, strict=False):
        assert_close(a, b, 1e-5)  # sums of up to 784 products, blocks of 64 in single precision
    axes = (0, *range(2, x.ndim))
    assert_close(state["mean"], f["mean"] * MOMENTUM + x64.mean(axes) * (1 - MOMENTUM), 1e-6)
    assert_close(state["var"], f["var"] * MOMENTUM + x64.var(axes) * (1 - MOMENTUM), 1e-6)


@every_isa
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("needs", [[True, True, True], [True, False, False], [False, True, False]])
def test_frozen_backward(isa, residual, needs, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, state, r, dy = sample((2, 21, 5, 6), residual=residual)
    f = {k: v.astype(np.float64) for k, v in state.items()}
    wanted = needs + [False, False] + [True] * residual
    g, feeds = graph("BatchNormalization", x, state, r, dy, 0.0, 6.0, needs=wanted)
    got = run_graph(g, feeds)[1:]
    want = reference_backward(dy.astype(np.float64), x.astype(np.float64), f["scale"], f["B"],
                              0.0 if r is None else r, 0.0, 6.0, f["mean"], f["var"])
    want = [w for w, need in zip(want, needs + [residual], strict=True) if need]
    for a, b in zip(got, want, strict=True):
        assert_close(a, b, 1e-5)


def test_reference_backward_by_finite_differences():
    x, state, r, dy = (a if isinstance(a, dict) or a is None else a.astype(np.float64)
                       for a in sample((3, 2, 2, 3), residual=True))
    scale, b = state["scale"].astype(np.float64), state["B"].astype(np.float64)
    for given in ({}, {"mean": state["mean"].astype(np.float64), "var": state["var"].astype(np.float64)}):
        want = reference_backward(dy, x, scale, b, r, 0.0, 1.5, **given)

        def weighted(x=x, scale=scale, b=b, r=r, given=given):
            return dy * reference(x, scale, b, r, lo=0.0, hi=1.5, **given)

        for name, value, grad in zip(("x", "scale", "b", "r"), (x, scale, b, r), want, strict=True):
            assert np.allclose(numeric_gradient(lambda v, n=name: weighted(**{n: v}), value), grad, atol=1e-7)


@every_isa
def test_large_mean(isa, monkeypatch):
    """Where E[x^2] - E[x]^2 loses everything: mean 1e4, deviation 1, one channel begins with an outlier."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, state, _, dy = sample((4, 24, 30, 31), mean=1e4)
    x[0, 3, 0, 0] = -1e4
    f = {k: v.astype(np.float64) for k, v in state.items()}
    g, feeds = graph("BatchNormTraining", x, state, None, dy)
    got = run_graph(g, feeds)
    x64 = x.astype(np.float64)
    want = [reference(x64, f["scale"], f["B"]),
            *reference_backward(dy.astype(np.float64), x64, f["scale"], f["B"])]
    for a, b in zip(got, want, strict=False):
        assert_close(a, b, 1e-5)
    var = f["var"] * MOMENTUM + x64.var((0, 2, 3)) * (1 - MOMENTUM)
    assert np.abs(state["var"] / var - 1).max() < 1e-6


@every_isa
def test_threads_give_the_same_bytes(isa, monkeypatch):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    results = []
    for threads in (1, 2, 3):
        x, state, r, dy = sample((8, 35, 28, 28), residual=True)
        g, feeds = graph("BatchNormTraining", x, state, r, dy, 0.0)
        got = Plan(g, threads).run(*feeds.values())
        results.append([a.tobytes() for a in (*got, state["mean"], state["var"])])
    assert results[0] == results[1] == results[2]


@every_isa
@pytest.mark.parametrize("shape, start", [((2, 50, 5, 6), (0, 3, 0, 0)), ((3, 22, 9, 8), (1, 0, 2, 1))])
@pytest.mark.parametrize("residual", [False, True])
def test_inside_larger_values(isa, shape, start, residual, monkeypatch):
    """As in a concatenation: x, y and dx with strides that exceed sizes, and rows with gaps between them."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, state, r, dy = sample((2, 21, 5, 6), residual=residual)
    f = {k: v.astype(np.float64) for k, v in state.items()}
    g, feeds = graph("BatchNormTraining", x, state, r, dy, 0.0)
    g.nodes.insert(0, Node("MaxPool", ["x"], ["inner"], {"kernel_shape": [1, 1]}))
    g.infer_node(g.nodes[0])
    for node in g.nodes[1:]:
        node.inputs = ["inner" if i == "x" else i for i in node.inputs]
    got, _ = run_placed(g, feeds, ["inner", *g.outputs[:2]], shape, start)
    x64, r64 = x.astype(np.float64), 0.0 if r is None else r.astype(np.float64)
    want = [reference(x64, f["scale"], f["B"], r64, lo=0.0),
            *reference_backward(dy.astype(np.float64), x64, f["scale"], f["B"], r64, 0.0)]
    for a, b in zip(got, want, strict=False):
        assert_close(a, b, 1e-5)


@every_isa
@pytest.mark.parametrize("residual", [False, True])
def test_in_place(isa, residual, monkeypatch):
    """Within a network dx lies over dy, or over x if the residual's gradient already lies over dy."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, state, r, dy = sample((4, 24, 6, 6), residual=residual)
    f = {k: v.astype(np.float64) for k, v in state.items()}
    g, feeds = graph("BatchNormTraining", x, state, r, dy, 0.0)
    for i, name in enumerate(feeds):
        copied = Node("MaxPool", [name], [f"{name}_within"], {"kernel_shape": [1, 1]})
        for node in g.nodes[i:]:
            node.inputs = [copied.outputs[0] if v == name else v for v in node.inputs]
        g.nodes.insert(i, copied)
        g.infer_node(copied)
    g.outputs = g.outputs[1:]
    g.outputs[0] = g.emit("MaxPool", [g.outputs[0]], kernel_shape=[1, 1])  # so that dx itself is in the arena
    plan = Plan(specialise(g, {k: v.shape for k, v in feeds.items()}), 1)
    (backward,) = (s.args for s in plan.steps if s.kernel == "batch_norm_backward_data")
    over = "x" if residual else "dy"
    assert backward["dx"].view.buffer is backward[over].view.buffer
    want = reference_backward(dy.astype(np.float64), x.astype(np.float64), f["scale"], f["B"],
                              0.0 if r is None else r.astype(np.float64), 0.0)
    for a, b in zip(plan.run(*feeds.values()), want, strict=False):
        assert_close(a, b, 1e-5)


def test_nan_and_inf_reach_the_output():
    x, state, _, _ = sample((2, 3, 2, 2))
    x[0, 1, 0, 0], x[1, 2, 1, 1] = np.nan, np.inf
    g, feeds = graph("BatchNormalization", x, state, lo=0.0)
    (y,) = run_graph(g, feeds)
    assert np.isnan(y[0, 1, 0, 0]) and y[1, 2, 1, 1] == np.inf
    assert np.isfinite(np.delete(y.ravel(), [4, 23])).all()
    g, feeds = graph("BatchNormTraining", x, state)
    (y,) = run_graph(g, feeds)
    assert np.isfinite(y[:, 0]).all() and np.isnan(y[:, 1:]).all()


def file_graph(x, state, outputs, **attrs):
    g = Graph(inputs={"x": TensorSpec(x.shape)}, params=dict(state), outputs=outputs)
    g.emit("BatchNormalization", ["x", *STATE], ["y", "m", "v"], epsilon=EPS, momentum=MOMENTUM, **attrs)
    return g


def test_training_mode_of_a_file():
    x, state, _, _ = sample((3, 7, 4, 4))
    f = {k: v.astype(np.float64) for k, v in state.items()}
    x64 = x.astype(np.float64)
    g = optimise(specialise(file_graph(x, state, ["y", "m", "v"], training_mode=1), {"x": x.shape}))
    y, m, v = Plan(g, 1).run(x)
    assert_close(y, reference(x64, f["scale"], f["B"]))
    assert_close(m, f["mean"] * MOMENTUM + x64.mean((0, 2, 3)) * (1 - MOMENTUM))
    assert_close(v, f["var"] * MOMENTUM + x64.var((0, 2, 3)) * (1 - MOMENTUM))
    assert np.array_equal(state["mean"], f["mean"])
    with pytest.raises(UnsupportedError, match="running statistics"):
        get_op("BatchNormalization").gradient(g, g.nodes[0], ["y", None, None], [True] * 5)
    assert get_op("BatchNormalization").for_training(g, g.nodes[0]) is None

    g = optimise(specialise(file_graph(x, state, ["y"], training_mode=1), {"x": x.shape}))
    assert g.nodes[0].outputs == ["y"]
    assert_close(Plan(g, 1).run(x)[0], reference(x64, f["scale"], f["B"], 0, f["mean"], f["var"]))

    with pytest.raises(UnsupportedError, match="training_mode=1 only"):
        Plan(specialise(file_graph(x, state, ["y", "m", "v"]), {"x": x.shape}), 1)


def test_for_training():
    x, state, _, _ = sample((3, 7, 4, 4))
    op = get_op("BatchNormalization")
    g, _ = graph("BatchNormalization", x, state, lo=0.0)
    node = op.for_training(g, g.nodes[0])
    assert node.op == "BatchNormTraining" and node.outputs[0] == g.nodes[0].outputs[0]
    assert node.attrs["lo"] == 0.0
    assert g.spec(node.outputs[1]).shape == (5, 7)
    for trained in (("mean", "var"), ("scale", "B"), ()):
        g, _ = graph("BatchNormalization", x, state, trained=trained)
        assert op.for_training(g, g.nodes[0]) is None


def test_channel_affine_of_constants_only():
    x, state, r, _ = sample((3, 7, 4, 4), residual=True)
    op, f = get_op("BatchNormalization"), {k: v.astype(np.float64) for k, v in state.items()}
    g, _ = graph("BatchNormalization", x, state, trained=())
    scale, shift = op.as_channel_affine(g, g.nodes[0])
    want = reference(x.astype(np.float64), f["scale"], f["B"], 0, f["mean"], f["var"])
    assert np.allclose(x * per_channel(scale, x) + per_channel(shift, x), want, rtol=0, atol=1e-12)
    for other in (graph("BatchNormalization", x, state), graph("BatchNormalization", x, state, r, trained=()),
                  graph("BatchNormalization", x, state, lo=0.0, trained=())):
        assert op.as_channel_affine(other[0], other[0].nodes[0]) is None


@pytest.mark.parametrize("name", ["BatchNormalization", "BatchNormTraining"])
def test_absorbs_residual_then_clamp(name):
    x, state, _, _ = sample((3, 7, 4, 4))
    op = get_op(name)
    g, _ = graph(name, x, state)
    node = g.nodes[0]
    assert op.absorb_residual(g, node, "x") and node.inputs[5] == "x" and not op.absorb_residual(g, node, "x")
    assert op.absorb_clamp(g, node, 0.0, INF) and op.absorb_clamp(g, node, -1.0, 6.0)
    assert (node.attrs["lo"], node.attrs["hi"]) == (0.0, 6.0)
    assert not op.absorb_clamp(g, node, 7.0, 8.0) and (node.attrs["lo"], node.attrs["hi"]) == (0.0, 6.0)
    g, _ = graph(name, x, state, lo=0.0)
    assert not op.absorb_residual(g, g.nodes[0], "x")


def test_errors():
    x, state, _, _ = sample((1, 7, 1, 1))
    with pytest.raises(ShapeError, match="one value per channel.*freeze"):
        graph("BatchNormTraining", x, state)
    with pytest.raises(ShapeError, match=r"B has shape \(2,\), needed \(7,\)"):
        graph("BatchNormalization", x, {**state, "B": state["B"][:2]})
    with pytest.raises(UnsupportedError, match="got shape"):
        graph("BatchNormalization", np.zeros(7, np.float32), state)
    with pytest.raises(ShapeError, match=r"scale has shape \(7,\), needed \(7, 1, 1\)"):
        Graph(inputs={"x": TensorSpec(x.shape)}, specs={"x": TensorSpec(x.shape)}, params=state).emit(
            "BatchNormalization", ["x", *STATE], spatial=0)


@every_isa
@pytest.mark.parametrize("op", ["BatchNormalization", "BatchNormTraining"])
def test_volumes(isa, op, monkeypatch):
    """More axes than a picture has."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    x, state, _, dy = sample((2, 5, 3, 4, 6))
    f = {k: v.astype(np.float64) for k, v in state.items()}
    fixed = (f["mean"], f["var"]) if op == "BatchNormalization" else (None, None)
    outputs = 2 if op == "BatchNormTraining" else 1

    def net():
        g = Graph(inputs={"x": TensorSpec(x.shape)}, params={k: v.copy() for k, v in state.items()})
        g.specs.update(g.inputs)
        y = g.emit(op, [g.emit("Scale", ["x"], factor=1.0), *STATE], outputs, epsilon=EPS, momentum=MOMENTUM)
        g.outputs = [y if outputs == 1 else y[0]]
        return g
    assert_close(run_optimised(net(), {"x": x})[0], reference(x.astype(np.float64), f["scale"], f["B"], 0, *fixed))
    got = gradients(net(), {"x": x}, dy)
    want = reference_backward(dy, x.astype(np.float64), f["scale"], f["B"], 0, -INF, INF, *fixed)
    for name, ref in zip(("x", "scale", "B"), want, strict=False):
        assert_close(got[name], ref)


def test_statistics_for_each_activation():
    """The form spatial=0, before opset 9: every element of a picture is a channel of its own."""
    x, _, _, dy = sample((3, 2, 4, 5))
    state = {k: v.reshape(2, 4, 5) for k, v in sample((1, 40))[1].items()}
    g = Graph(inputs={"x": TensorSpec(x.shape)}, params=state)
    g.specs.update(g.inputs)
    g.outputs = [g.emit("BatchNormalization", ["x", *STATE], spatial=0, epsilon=EPS)]
    f = {k: v.astype(np.float64) for k, v in state.items()}
    slope = f["scale"] / np.sqrt(f["var"] + EPS)
    assert_close(run_optimised(g, {"x": x})[0], (x - f["mean"]) * slope + f["B"])
    got = gradients(g, {"x": x}, dy)
    assert_close(got["x"], dy * slope)
    assert_close(got["B"], dy.sum(0))
    assert get_op("BatchNormalization").for_training(g, g.nodes[0]) is None


@pytest.mark.parametrize("opset, attrs, outputs, training", [
    (6, {"is_test": 1, "consumed_inputs": (0, 0, 0, 1, 1)}, ["y"], False), (6, {"is_test": 0}, ["y"], False),
    (6, {"is_test": 0}, ["y", "m", "v"], True), (9, {}, ["y", "m", "v"], True), (13, {}, ["y"], False),
    (14, {}, ["y", "m", "v"], False), (15, {"training_mode": 1}, ["y", "m", "v"], True)])
def test_training_mode_of_each_opset(opset, attrs, outputs, training):
    node = Node("BatchNormalization", ["x", *STATE], outputs, dict(attrs))
    get_op(node.op).from_onnx(node, opset)
    assert bool(node.attrs.get("training_mode", 0)) is training and not {"is_test", "consumed_inputs"} & set(node.attrs)
