"""Bad input ends in one message and exit code 1, and loses nothing."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import make_pictures

import edgecnn as ec


def every_reader(model, pictures, tmp_path):
    """Each command that reads a model, as arguments."""
    return [["info", model], ["convert", model, tmp_path / "o.ecnn"], ["export", model, tmp_path / "o.onnx"],
            ["predict", "--model", model, pictures / "left" / "0.png"],
            ["evaluate", "--model", model, "--data", pictures],
            ["train", "--model", model, "--data", pictures, "--out", tmp_path / "o.ecnn"]]


@pytest.mark.parametrize("content", [None, b"", b"not a network at all", bytes(range(256)) * 8, b"\x00" * 64])
def test_files_that_are_no_models(fails, tmp_path, pictures, content):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    for arguments in every_reader(path, pictures, tmp_path):
        assert "model.onnx" in fails(*arguments)
    assert not (tmp_path / "o.ecnn").exists() and not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("kind", ["ecnn", "onnx"])
def test_truncated_models(fails, tmp_path, net, onnx_net, kind):
    data = (net if kind == "ecnn" else onnx_net).read_bytes()
    for length in [*range(1, 40, 3), *np.linspace(40, len(data) - 1, 24).astype(int)]:
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(data[:length])
        fails("info", path)


def test_a_folder_is_no_model(fails, tmp_path):
    assert str(tmp_path) in fails("info", tmp_path)


def test_unsupported_operators_are_listed_at_once(fails, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "xy")
    nodes = [helper.make_node("Det", ["x"], ["d"], name="first"),
             helper.make_node("Bernoulli", ["x"], ["y"], name="last")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y])), tmp_path / "odd.onnx")
    message = fails("info", tmp_path / "odd.onnx")
    assert "Det (node first)" in message and "Bernoulli (node last)" in message


@pytest.mark.parametrize("shape, dtype",
                         [((1, 12), "FLOAT"), ((1, 3, 8, 8), "INT64"), ((1, 3, 8, 8), "DOUBLE")])
def test_networks_that_do_not_take_pictures(fails, tmp_path, pictures, shape, dtype):
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, getattr(TensorProto, dtype), shape) for n in "xy")
    onnx.save(helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x],
                                                  [y])),
              tmp_path / "other.onnx")
    fails("predict", "--model", tmp_path / "other.onnx", pictures / "left" / "0.png")


# ---- pictures ----
def data_commands(net, data, tmp_path):
    return [["evaluate", "--model", net, "--data", data],
            ["train", "--model", net, "--data", data, "--out", tmp_path / "o.ecnn"]]


def test_no_such_data(fails, named_net, tmp_path):
    for arguments in data_commands(named_net, tmp_path / "none", tmp_path):
        assert "none" in fails(*arguments)


def test_empty_class(fails, named_net, pictures, tmp_path):
    for file in (pictures / "right").iterdir():
        file.unlink()
    for arguments in data_commands(named_net, pictures, tmp_path):
        assert "class 'right' is empty" in fails(*arguments)


def test_data_without_class_folders(fails, named_net, tmp_path):
    (tmp_path / "flat").mkdir()
    for arguments in data_commands(named_net, tmp_path / "flat", tmp_path):
        assert "one folder per class" in fails(*arguments)


def test_one_class_only(fails, net, tmp_path):
    data = make_pictures(tmp_path / "one", 3, ("left",))
    assert "two or more" in fails("train", "--model", net, "--data", data, "--out", tmp_path / "o.ecnn")


def test_every_unreadable_picture_is_named_before_the_training(fails, named_net, pictures, tmp_path):
    whole = (pictures / "left" / "0.png").read_bytes()
    (pictures / "left" / "3.png").write_bytes(whole[:200])
    (pictures / "right" / "4.png").write_text("no picture")
    for arguments in data_commands(named_net, pictures, tmp_path):
        message = fails(*arguments)
        assert os.path.join("left", "3.png") in message and os.path.join("right", "4.png") in message
    assert not (tmp_path / "o.ecnn").exists() and not (tmp_path / "o.ecnn.ckpt").exists()


def test_a_class_of_one_picture_cannot_be_split(fails, net, tmp_path):
    data = make_pictures(tmp_path / "few", 1)
    assert "only one sample" in fails("train", "--model", net, "--data", data, "--out", tmp_path / "o.ecnn")


def test_validation_of_other_classes(fails, net, pictures, tmp_path):
    val = make_pictures(tmp_path / "val", 2, ("left", "wrong"))
    assert "wrong" in fails("train", "--model", net, "--data", pictures, "--val", val, "--out",
                            tmp_path / "o.ecnn")


# ---- outputs ----
def test_outputs_are_checked_before_the_work(fails, net, pictures, tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder.ecnn"
    file.write_bytes(b"")
    folder.mkdir()
    for out in (tmp_path / "none" / "o.ecnn", file / "o.ecnn", folder):
        for arguments in (["convert", net.with_suffix(".onnx"), out],
                          ["train", "--model", net, "--data", pictures, "--out", out]):
            assert str(out) in fails(*arguments)
    message = fails("train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn",
                    "--plot", tmp_path / "none" / "p.png")
    assert "p.png" in message and not (tmp_path / "o.ecnn").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nobody may write")
def test_unwritable_folder(fails, net, pictures):
    assert "cannot be written" in fails("train", "--model", net, "--data", pictures, "--out", "/proc/o.ecnn")
    assert "cannot be written" in fails("export", net, "/proc/o.onnx")


def test_the_input_is_never_overwritten(fails, net, onnx_net, pictures, tmp_path):
    link = tmp_path / "link.ecnn"
    link.symlink_to(net)
    before = net.read_bytes(), onnx_net.read_bytes()
    for out in (net, link):
        assert "would replace" in fails("train", "--model", net, "--data", pictures, "--out", out)
    assert "would replace" in fails("convert", onnx_net, onnx_net)
    assert "would replace" in fails("export", onnx_net, onnx_net)
    assert "would replace" in fails("train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn",
                                    "--checkpoint", net)
    assert (net.read_bytes(), onnx_net.read_bytes()) == before


def test_plot_without_matplotlib(fails, net, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install" in fails("train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn",
                                  "--plot", tmp_path / "p.png")


def test_wrong_opset(fails, net, tmp_path):
    assert "opset 99" in fails("export", net, tmp_path / "o.onnx", "--opset", 99)


# ---- the process ----
def shell(*args, **env):
    return subprocess.run([sys.executable, "-m", "edgecnn.cli", *map(str, args)], capture_output=True,
                          text=True,
                          env={**os.environ, **env})


def test_a_process_ends_in_one_line(tmp_path):
    done = shell("info", tmp_path / "none.onnx")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("edgecnn: error: ") and done.stderr.count("\n") == 1
    assert shell("info").returncode == 2


def test_debug_shows_the_traceback(tmp_path):
    done = shell("info", tmp_path / "none.onnx", EDGECNN_DEBUG="1")
    assert done.returncode == 1 and "Traceback" in done.stderr and "ModelError" in done.stderr


def test_an_unexpected_error_is_one_line_too(run, net, monkeypatch):
    monkeypatch.setattr("edgecnn.cli.info.load", lambda path: {}["key"])
    code, _, err = run("info", net)
    assert code == 1 and err.count("\n") == 1
    assert err.startswith("edgecnn: error: KeyError: 'key'") and "EDGECNN_DEBUG=1" in err


def test_memory_error_says_what_to_do(run, net, monkeypatch):
    def no_memory(path):
        raise MemoryError
    monkeypatch.setattr("edgecnn.cli.info.load", no_memory)
    assert "--batch" in run("info", net)[2]


def test_without_onnx_native_files_still_work(named_net, pictures, onnx_net):
    code = ("import sys; sys.modules.update(dict.fromkeys(['onnx', 'onnxruntime', 'matplotlib']));"
            "from edgecnn.cli import main; main(sys.argv[1:], prog_name='edgecnn')")

    def bare(*args):
        return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)

    picture = pictures / "left" / "0.png"
    assert bare("predict", "--model", named_net, picture).returncode == 0
    done = bare("predict", "--model", onnx_net, picture)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "pip install" in done.stderr and "bug" not in done.stderr


def test_a_gray_picture_and_one_with_transparency_are_used(run, named_net, tmp_path):
    for mode in ("L", "RGBA", "P", "1"):
        Image.new(mode, (30, 20)).save(tmp_path / f"{mode}.png")
        assert run("predict", "--model", named_net, tmp_path / f"{mode}.png")[0] == 0


def test_a_network_that_does_not_classify(fails, tmp_path, pictures):
    net = ec.nn.Sequential(ec.nn.Conv2d(3, 4, 3))
    net.input_shape = (None, 3, 16, 16)
    net.save(tmp_path / "map.ecnn")
    assert "one score per class" in fails("predict", "--model", tmp_path / "map.ecnn",
                                          pictures / "left" / "0.png")

