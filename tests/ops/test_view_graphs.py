"""Random graphs of operators that move elements and of ones that work in place: whatever shares memory with whatever,
the results are numpy's, before and after simplification."""

import numpy as np
import pytest
from helpers import assert_close, run_graph, run_optimised

from edgecnn.graph.autodiff import differentiate
from edgecnn.graph.ir import Graph, specialise
from edgecnn.graph.passes import optimise
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec

LINEAR = ["Scale", "Add", "Reshape", "Transpose", "Slice", "Concat", "Split", "Pad", "Expand", "Tile", "Unsqueeze"]
LARGEST = 4000  # elements of a value


def random_graph(rng, kinds):
    """A graph of up to 12 nodes on one input of up to five axes, and its outputs' values for a random input."""
    shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 6)))
    values = {"x": rng.normal(size=shape).astype(np.float32)}
    g = Graph(inputs={"x": TensorSpec(shape)})
    g.specs.update(g.inputs)

    def add(op, inputs, results, **attrs):
        names = g.emit(op, inputs, len(results), **attrs)
        values.update(zip([names] if len(results) == 1 else names, results, strict=True))

    size = rng.integers(3, 14)
    while len(values) < size:
        step(rng, add, rng.choice(kinds), rng.choice(list(values)[-4:]), values)
    outputs = list(values)[1:]
    g.outputs = list(dict.fromkeys([outputs[-1], *rng.choice(outputs, rng.integers(1, 3))]))
    return g, {"x": values["x"]}, [values[o] for o in g.outputs]


def step(rng, add, kind, name, values):
    """Adds a random node of this kind that reads the value `name`, if it can."""
    x = values[name]
    axis = int(rng.integers(x.ndim)) if x.ndim else None
    like = [v for v in values if values[v].shape == x.shape]
    if kind == "Relu":
        add(kind, [name], [np.maximum(x, 0)])
    elif kind == "Scale":
        add(kind, [name], [x * np.float32(-0.5)], factor=-0.5)
    elif kind == "Add":
        other = rng.choice(like)
        add(kind, [name, other], [x + values[other]])
    elif kind == "Reshape":
        factors = [int(f) for f in rng.permutation(x.shape)]
        cut = int(rng.integers(len(factors) + 1))
        wanted = (*factors[:cut], int(np.prod(factors[cut:], dtype=int)))
        add(kind, [name], [x.reshape(wanted)], shape=np.array(wanted))
    elif kind == "Transpose":
        perm = tuple(int(a) for a in rng.permutation(x.ndim))
        add(kind, [name], [x.transpose(perm)], perm=perm)
    elif kind == "Unsqueeze" and x.ndim < 5:
        at = int(rng.integers(x.ndim + 1))
        add(kind, [name], [np.expand_dims(x, at)], axes=(at,))
    elif axis is None:
        return
    elif kind == "Slice" and x.shape[axis] > 1:
        start, by = int(rng.integers(x.shape[axis] - 1)), int(rng.choice([1, 2]))
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(start, None, by)
        add(kind, [name], [x[tuple(cut)]], starts=(start,), ends=(2**63 - 1,), axes=(axis,), steps=(by,))
    elif kind == "Concat" and 3 * x.size < LARGEST:
        names = [name, *rng.choice(like, rng.integers(1, 3))]
        add(kind, names, [np.concatenate([values[v] for v in names], axis)], axis=axis)
    elif kind == "Split" and x.shape[axis] > 1:
        add(kind, [name], np.split(x, [1], axis), axis=axis, split=(1, x.shape[axis] - 1))
    elif kind == "Pad" and 4 * x.size < LARGEST:
        mode, pads = str(rng.choice(["constant", "edge"])), np.zeros((2, x.ndim), int)
        pads[:, axis] = rng.integers(0, 3, 2)
        add(kind, [name], [np.pad(x, pads.T, mode)], pads=pads.ravel(), mode=mode)
    elif kind == "Gather":
        indices = rng.integers(0, x.shape[axis], [(), (2,)][rng.integers(2)])
        add(kind, [name], [np.take(x, indices, axis)], indices=np.asarray(indices), axis=axis)
    elif kind == "Expand" and x.ndim < 5 and 2 * x.size < LARGEST:
        add(kind, [name], [np.broadcast_to(x, (2, *x.shape))], shape=(2, *x.shape))
    elif kind == "Tile" and 2 * x.size < LARGEST:
        repeats = [1] * x.ndim
        repeats[axis] = 2
        add(kind, [name], [np.tile(x, repeats)], repeats=repeats)


seeds_of_25 = pytest.mark.parametrize("seeds", [range(i, i + 25) for i in range(0, 300, 25)], ids=str)


@seeds_of_25
def test_values(seeds):
    for seed in seeds:
        g, feeds, wanted = random_graph(np.random.default_rng(seed), [*LINEAR, "Relu", "Gather"])
        for run in (run_graph, run_optimised):
            for got, want in zip(run(g, feeds, threads=1 + seed % 2), wanted, strict=True):
                assert_close(got, want, 1e-6)


@seeds_of_25
def test_gradients(seeds):
    """The gradient of a linear map is its transpose: sum(y(v) * dy) = sum(v * dx) for any v."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        g, feeds, (y, *_) = random_graph(rng, LINEAR)
        dy = rng.normal(size=y.shape).astype(np.float32)
        g = specialise(g, {"x": feeds["x"].shape})
        total = g.emit("ReduceSum", [g.emit("Mul", [g.outputs[0], g.constant(dy)])], keepdims=0)
        g.outputs = [g.emit("Reshape", [total], shape=(1,))]
        g = optimise(g)
        grads = differentiate(g, g.outputs[0], ["x"])
        g.outputs.append(grads["x"])
        loss, dx = Plan(g, 1 + seed % 2).run(feeds["x"])
        want, got = (np.sum(a.astype(np.float64) * b) for a, b in ((y, dy), (feeds["x"], dx)))
        scale = np.abs(y.astype(np.float64) * dy).sum() + 1  # what rounding is relative to
        assert abs(loss[0] - want) < 1e-5 * scale and abs(got - want) < 1e-5 * scale, seed
