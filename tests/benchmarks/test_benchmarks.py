"""The benchmark's own parts: a row from end to end, the tables, and the float64 reference that quality.py trusts."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tables
from networks import NETWORKS, TRAINED
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from reference64 import evaluate, in_float64

import edgecnn as ec

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.native
def test_a_row_from_end_to_end(tmp_path):
    out = tmp_path / "row.json"
    command = [sys.executable, ROOT / "benchmarks/run.py", "--inference", "lenet5", "--batch", "1", "--threads", "1",
               "--rounds", "2", "--seconds", "0.01", "--out", out]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    report = json.loads(out.read_text())
    row, = report["results"]
    assert set(row["engines"]) == {"edgecnn", "onnxruntime"} and "| LeNet-5" in text
    assert all(len(e["ms"]) == 2 and min(e["ms"]) > 0 and e["peak_mb"] > 10 for e in row["engines"].values())
    assert report["machine"]["isa"] == ec.config.chosen_isa()[0]
    assert report["geometric_means"][0]["ratio"] == pytest.approx(np.median(tables.speed_ratios(row)))


@pytest.mark.native
@pytest.mark.parametrize("wrong", [("--inference", "lenet6"), ("--training", "vgg16"), ("--threads", "0")])
def test_wrong_usage(wrong):
    done = subprocess.run([sys.executable, ROOT / "benchmarks/run.py", *wrong], capture_output=True, text=True)
    assert done.returncode == 2 and "error:" in done.stderr


def row(task, network, threads, **engines):
    """A result; engines: name -> (milliseconds of each round, peak MB)."""
    return {"task": task, "network": network, "batch": 1 if task == "inference" else 8, "threads": threads,
            "engines": {name: {"ms": ms, "peak_mb": mb} for name, (ms, mb) in engines.items()}}


def test_the_faster_layout_and_the_smaller_process_count():
    result = row("training", "resnet18", 1, edgecnn=([10, 10, 20], 100), torch_channels_last=([30, 30, 30], 450),
                 torch_nchw=([20, 25, 90], 400))
    assert tables.speed_ratios(result) == [2, 2.5, 4.5] and tables.memory_ratio(result) == 4
    text = "\n".join(tables.all_tables([result]))
    assert "| 2.50" in text and "2.00..4.50" in text and "1.3 met" in text and "2.2 met" in text and "3 met" in text


def test_geometric_means_by_batch_and_threads():
    rows = [row("inference", name, threads, edgecnn=([1.0], 1), onnxruntime=([ms * threads], 1))
            for threads in (1, 2) for name, ms in (("resnet18", 1.0), ("resnet50", 4.0))]
    assert [(m["threads"], m["ratio"], m["target"]) for m in tables.geometric_means(rows)] == [(1, 2, 1.7), (2, 4, 1.7)]
    text = "\n".join(tables.all_tables(rows))
    assert text.count("geometric mean") == 2 and "1.15 MISSED" in text


def test_every_network_has_its_bars():
    assert set(TRAINED) == {"lenet5", "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50"}
    assert all(network.inference > 1 for network in NETWORKS.values()) and len(NETWORKS) == 8


def node_model(op, inputs, shapes, **attributes):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(inputs, shapes, strict=True)]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph([helper.make_node(op, inputs, ["y"], **attributes)], "g", values, [out]),
                             opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("groups, stride, dilation, pads", [(1, 1, 1, [0, 0, 0, 0]), (2, 2, 1, [1, 0, 2, 1]),
                                                            (4, 1, 2, [2, 1, 0, 3])])
def test_reference_convolution(tmp_path, groups, stride, dilation, pads):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s) for s in ((2, 4, 9, 8), (8, 4 // groups, 3, 2), (8,)))
    model = node_model("Conv", ["x", "w", "b"], [x.shape, w.shape, b.shape], group=groups, strides=[stride] * 2,
                       dilations=[dilation] * 2, pads=pads)
    want = ReferenceEvaluator(in_float64(model)).run(None, {"x": x, "w": w, "b": b})[0]
    for name, value in (("w", w), ("b", b)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        model.graph.input.pop(1)
    onnx.save(model, tmp_path / "conv.onnx")
    np.testing.assert_allclose(evaluate(tmp_path / "conv.onnx", x), want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("op, more", [("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})])
@pytest.mark.parametrize("ceil, pads", [(0, [0, 0, 0, 0]), (0, [1, 1, 0, 1]), (1, [0, 0, 0, 0]), (1, [1, 1, 1, 1])])
def test_reference_pooling(tmp_path, op, more, ceil, pads):
    if op == "AveragePool" and more and ceil:
        pytest.skip("implementations disagree about windows that hang over")
    x = np.random.default_rng(0).standard_normal((1, 2, 10, 9))
    model = node_model(op, ["x"], [x.shape], kernel_shape=[3, 3], strides=[2, 2], pads=pads, ceil_mode=ceil, **more)
    onnx.save(model, tmp_path / "pool.onnx")
    want = ReferenceEvaluator(in_float64(model)).run(None, {"x": x})[0]
    np.testing.assert_allclose(evaluate(tmp_path / "pool.onnx", x), want, rtol=1e-13)


def test_reference_of_a_network(tmp_path):
    net = ec.models.lenet5()
    net.export_onnx(tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((2, 1, 28, 28), np.float32)
    exact = evaluate(tmp_path / "net.onnx", x)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(net(x), exact, rtol=0, atol=2e-6 * np.abs(exact).max())
