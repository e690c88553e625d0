"""Updates and losses touch nothing beyond their arrays: each ends where a page without access begins. They
run in a child process, which a touch would kill."""

import ctypes
import mmap
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecnn import optim
from edgecnn.graph.ir import Graph
from edgecnn.graph.plan import Plan
from edgecnn.ops import TensorSpec
from tests.helpers import every_isa, run_op

SIZES = [1, 3, 15, 16, 17, 37, 80]


def at_end(values, beyond=0):
    """A copy that ends at a forbidden page; `beyond` further elements are pretended to be there."""
    values = np.asarray(values)
    room = -(-values.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + room), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    array = np.frombuffer(memory, values.dtype, values.size + beyond, room - values.nbytes)
    array[:values.size] = values.reshape(-1)
    return array if beyond else array.reshape(values.shape)


def update(o, n, beyond=0):
    ones = np.ones(n, np.float32)
    params = {k: at_end(ones, beyond) for k in ("theta", "grad", *o.states)}
    g = Graph(inputs={"hyper": TensorSpec((8,))}, params=params)
    g.specs.update(g.inputs)
    current = g.emit(o.ahead, ["theta", *o.states], **o.ahead_attrs()) if o.ahead else "theta"
    g.emit(o.update, [current, "grad", *o.states, "hyper"], **o.attrs())
    g.outputs = [g.emit("SquaredSum", ["grad"])]
    Plan(g, 2).run(at_end(o.hyper(1)))


def everything():
    for n in SIZES:
        for cls in (optim.SGD, optim.Momentum, optim.Nesterov, optim.AdaGrad, optim.RMSprop, optim.AdaDelta,
                    optim.Adam, optim.AdamW):
            update(cls(), n)
        x, labels = at_end(np.ones((3, n), np.float32)), at_end(np.array([0, n - 1, n]))
        run_op("SoftmaxCrossEntropy", {"x": x, "labels": labels}, outputs=2)
        dloss = at_end(np.ones(1, np.float32))
        run_op("SoftmaxCrossEntropyBackward", {"x": x, "labels": labels, "dloss": dloss})
        run_op("MeanSquaredError", {"x": x, "target": at_end(x)})


def in_child(what):
    code = f"from tests.optim import test_update_memory as t; t.{what}"
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)


@every_isa
def test_nothing_beyond_the_arrays(monkeypatch, isa):
    monkeypatch.setenv("EDGECNN_ISA", isa)
    done = in_child("everything()")
    assert done.returncode == 0, done.stderr[-2000:] or signal.Signals(-done.returncode)


@pytest.mark.skipif(sys.platform != "linux", reason="signal numbers")
def test_one_element_more_kills():
    assert in_child("update(t.optim.SGD(), 16, beyond=1)").returncode == -signal.SIGSEGV
