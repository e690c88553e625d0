"""bench and profile: what they print, and their errors."""

import json

import pytest
from tiny import SIDE, make_net

import edgecnn as ec


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    monkeypatch.setattr("edgecnn.config._threads", None)  # what --threads sets ends with the test


@pytest.fixture
def free_net(tmp_path):
    """A network for pictures of any size."""
    net = ec.nn.Sequential(ec.nn.Conv2d(3, 8, 3), ec.nn.ReLU(), ec.nn.GlobalAvgPool2d(), ec.nn.Flatten(), ec.nn.Linear(8, 4))
    net.input_shape = (None, 3, None, None)
    net.save(tmp_path / "free.ecnn")
    return tmp_path / "free.ecnn"


def test_bench_prints_times(run, onnx_net):
    code, out, _ = run("bench", onnx_net, "--runs", 20, "--warm-up", 2, "--threads", 1, "--batch", 3)
    assert code == 0
    first, second = out.splitlines()
    assert f"(3, 3, {SIDE}, {SIDE}); {ec.config.chosen_isa()[0]}, 1 thread; 2 + 20 runs" in first
    values = dict(zip(*[iter(second.split()[i] for i in (0, 1, 3, 4, 6, 7, 9, 10))] * 2, strict=True))
    assert 0 < float(values["P50"]) <= float(values["P90"]) <= float(values["P99"]) and float(values["mean"]) > 0
    assert second.endswith(" images/s")


def test_bench_json(run, net):
    code, out, _ = run("bench", net, "--runs", 5, "--threads", 2, "--batch", 4, "--json")
    result = json.loads(out)
    assert code == 0 and result["inputs"] == {"input": [4, 3, SIDE, SIDE]} and result["threads"] == 2
    assert (result["warm_up"], result["runs"]) == (10, 5) and result["isa"] == ec.config.chosen_isa()[0]
    assert result["images_per_s"] == pytest.approx(4e3 / result["mean_ms"])


@pytest.mark.parametrize("arguments, shape", [((), (1, 3, 224, 224)), (("--size", "20x30"), (1, 3, 20, 30)),
                                              (("--size", "20", "--batch", 2), (2, 3, 20, 20)),
                                              (("--shape", "2,3,9,11"), (2, 3, 9, 11)),
                                              (("--shape", "input=1,3,9,9"), (1, 3, 9, 9))])
def test_free_dimensions(run, free_net, arguments, shape):
    result = json.loads(run("bench", free_net, "--runs", 1, "--warm-up", 0, "--json", *arguments)[1])
    assert tuple(result["inputs"]["input"]) == shape


def test_networks_by_name(run):
    assert run("bench", "lenet5", "--runs", 3)[1].startswith("lenet5: input (1, 1, 28, 28)")


@pytest.mark.parametrize("train", [False, True])
def test_profile(run, net, train):
    mode = ["--train", "--batch", 2] if train else []
    code, out, _ = run("profile", net, "--runs", 3, *mode)
    lines = out.splitlines()
    assert code == 0 and "GFLOP/s" in lines[0] and lines[1].split()[0] == "layer"
    conv = next(line.split() for line in lines if line.startswith("conv1") and " Conv " in line and "%" in line
                and "pack" not in line)
    assert "direct" in conv
    total = next(line for line in lines if line.startswith("total")).split()
    assert "100.0%" in total
    steps = [line for line in lines[2:lines.index("")] if not line.startswith("total")]
    assert int(total[1]) == len(steps)
    assert any("momentum_update" in line for line in steps) == train
    shares = [float(w[:-1]) for line in lines if line.startswith("of which") for w in line.split() if w.endswith("%")
              and "." in w]
    assert sum(shares) == pytest.approx(100, abs=0.1 * len(shares))
    few = run("profile", net, "--runs", 1, "--top", 2, *mode)[1].splitlines()
    assert few.index("") == 5 and few[4].split()[1] == total[1]


def test_profile_json(run, net):
    result = json.loads(run("profile", net, "--runs", 2, "--json", "--threads", 1)[1])
    conv = next(s for s in result["steps"] if s["layer"] == "conv1")
    assert conv["op"] == "Conv"
    assert conv["flops"] in [2 * 8 * taps * (SIDE // 2) ** 2 for taps in (27, 45)]  # folded columns have zeros among theirs
    assert result["peak_flops"] > 1e8 and result["threads"] == 1 and not result["train"]


def test_profiling_leaves_the_file(run, net):
    before = net.read_bytes()
    assert run("profile", net, "--train", "--runs", 1)[0] == 0
    assert net.read_bytes() == before


@pytest.mark.parametrize("command", ["bench", "profile"])
def test_errors(fails, run, tmp_path, command, net, free_net):
    assert "no such network" in fails(command, "lenet6") and "lenet5" in fails(command, "lenet6")
    assert "none.onnx" in fails(command, tmp_path / "none.onnx")
    assert f"takes (any, 3, {SIDE}, {SIDE}), got (1, 3, 20, 20)" in fails(command, net, "--size", 20)
    assert "got (3, 8)" in fails(command, free_net, "--shape", "3,8")
    assert "no input 'z'" in fails(command, free_net, "--shape", "z=1,3,8,8")
    assert "pixels is smaller than the kernel" in fails(command, free_net, "--size", 2)
    for wrong in (("--shape", "a,b"), ("--shape", "1,0,3,3"), ("--size", "axb"), ("--batch", 0), ("--threads", 0),
                  ("--runs", 0)):
        code, _, err = run(command, free_net, *wrong)
        assert code == 2 and "Error: Invalid value" in err


def test_a_fixed_batch(fails, tmp_path):
    net = make_net()
    net.input_shape = (1, 3, SIDE, SIDE)
    net.save(tmp_path / "one.ecnn")
    assert f"takes (1, 3, {SIDE}, {SIDE}), got (2, 3" in fails("bench", tmp_path / "one.ecnn", "--batch", 2)


def test_training_needs_classes(fails, tmp_path):
    net = ec.nn.Sequential(ec.nn.Conv2d(3, 4, 3))
    net.input_shape = (None, 3, 8, 8)
    net.save(tmp_path / "maps.ecnn")
    assert "one score per class" in fails("profile", tmp_path / "maps.ecnn", "--train")


def test_models(run, fails):
    code, out, _ = run("models", "resnet18", "lenet5")
    head, resnet, lenet = out.splitlines()
    assert code == 0 and head.split() == ["network", "input", "parameters", "MMAC", "memory"]
    assert resnet.split()[:6] == ["resnet18", "(1,", "3,", "224,", "224)", "11,689,512"]
    assert float(resnet.split()[6].replace(",", "")) == pytest.approx(1.8e3, rel=0.02)  # He et al. 2015, table 1
    assert lenet.split()[5:7] == ["61,706", "0.4"]
    one, four = (float(run("models", "lenet5", "--batch", batch)[1].split()[-2]) for batch in (1, 64))
    assert 61_706 * 4e-6 < one < four
    assert "no such network" in fails("models", "lenet6") and "lenet5" in fails("models", "lenet6")


def test_memory_plan_is_what_inference_takes():
    net = make_net()  # with a batch norm, which is folded
    plan, report = net.plan(net.input_shapes(1)), net.memory_plan()
    own = {id(a) for a in net.graph.params.values()}
    assert report["arena"] == plan.arena_bytes
    assert report["folded weights"] == sum(a.nbytes for a in plan.graph.constants.values() if id(a) not in own)
    assert report["prepared weights"] > 0 and report["total"] == sum(v for k, v in report.items() if k != "total")
