"""A model as its users hold it: parameters, freezing, heads, files, threads and forks."""

import os
import threading

import numpy as np
import pytest

import edgecnn as ec
from edgecnn import nn


@pytest.fixture
def net():
    nn.manual_seed(0)
    model = ec.models.resnet18(num_classes=4)
    model.preprocessing = ec.Preprocessing(size=(32, 32), channel_order="RGB", mean=(127.0,) * 3, scale=(128.0,) * 3)
    model.class_names = ["hen", "fox", "egg", "hay"]
    return model


def picture(n=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3, 32, 32)).astype(np.float32)


def test_multiply_accumulates():
    assert ec.models.resnet50().macs() == pytest.approx(4089e6, rel=0.01)
    assert "25,610,152 parameters" in ec.models.resnet50().summary()  # with the running statistics


def test_native_file_keeps_everything(net, tmp_path):
    net.freeze(until="layer2")
    net.save(tmp_path / "net.ecnn")
    again = ec.load(tmp_path / "net.ecnn")
    np.testing.assert_array_equal(again(picture()), net(picture()))
    assert (again.class_names, again.preprocessing, again.frozen) == (net.class_names, net.preprocessing, net.frozen)
    assert again.trainable() == net.trainable()


def test_what_is_known_of_the_outputs():
    free = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2, 2, padding=1, ceil_mode=True))
    free.input_shape = (None, 3, None, None)
    assert [spec.shape for spec in free.outputs.values()] == [(None, 4, None, None)]
    of_one_size = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(4 * 111 * 111, 5))
    of_one_size.input_shape = (None, 3, None, None)
    assert [spec.shape for spec in of_one_size.outputs.values()] == [(None, 5)]


def test_damaged_native_files_are_refused(net, tmp_path):
    net.save(tmp_path / "net.ecnn")
    data = (tmp_path / "net.ecnn").read_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 7, 16, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(ec.ModelError):
            ec.load(data[:length])
    for place in rng.integers(8, 3000, 40):  # within the header
        broken = bytearray(data)
        broken[place] ^= 0x15
        try:
            ec.load(bytes(broken))
        except ec.EdgeCNNError:
            pass
    with pytest.raises(ec.ModelError, match="cannot be read"):
        ec.load(tmp_path / "nothing.onnx")


def test_state_dict_is_a_copy_and_errors_list_everything(net):
    state, before = net.state_dict(), net(picture())
    state["fc.bias"][:] = 7
    np.testing.assert_array_equal(net(picture()), before)
    net.load_state_dict(state)
    assert not np.array_equal(net(picture()), before)
    del state["conv1.weight"]
    state["fc.weight"], state["more"] = np.zeros((4, 3), np.float32), np.zeros(1)
    with pytest.raises(ec.ModelError, match=r"missing conv1.weight.*unknown more.*fc.weight: got \(4, 3\)"):
        net.load_state_dict(state)


def test_freeze_names(net):
    net.freeze()
    assert net.trainable() == ["fc.weight", "fc.bias"]
    net.freeze(until="layer4.0")
    assert {name.split(".")[0] + "." + name.split(".")[1] for name in net.trainable()} == {
        "layer4.1", "fc.weight", "fc.bias"}
    net.unfreeze()
    assert len(net.trainable()) == 62
    with pytest.raises(ec.ModelError, match="layers are conv1"):
        net.freeze(until="layer9")


def test_a_new_head(net):
    features = net.features("flatten")
    before = features(picture())
    net.replace_head(7, [str(i) for i in range(7)], seed=3)
    assert net(picture()).shape == (2, 7) and net.graph.params["fc.weight"].shape == (7, 512)
    assert not net.graph.params["fc.bias"].any() and len(net.class_names) == 7
    np.testing.assert_array_equal(net.features("flatten")(picture()), before)
    with pytest.raises(ec.ModelError):
        net.replace_head(3, ["a", "b"])


def test_a_head_that_is_a_convolution():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 1), nn.GlobalAvgPool2d(), nn.Flatten())
    net.replace_head(3)
    assert net(picture()).shape == (2, 3)


@pytest.mark.parametrize("x, error, word", [
    (np.zeros((1, 3, 32, 32)), ec.DTypeError, "float32"), ([[1.0]], ec.DTypeError, "numpy array"),
    (np.zeros((1, 4, 32, 32), np.float32), ec.ShapeError, "takes"),
    (np.zeros((3, 32, 32), np.float32), ec.ShapeError, "takes"),
    (np.zeros((2, 3, 0, 32), np.float32), ec.ShapeError, "larger"),
])
def test_wrong_inputs(net, x, error, word):
    with pytest.raises(error, match=word):
        net(x)


def test_no_pictures_give_no_scores(net):
    assert net(np.zeros((0, 3, 32, 32), np.float32)).shape == (0, 4)


def test_nothing_cannot_be_averaged():
    net = nn.Sequential(nn.ReLU(), nn.GlobalAvgPool2d())
    with pytest.raises(ec.ShapeError, match="empty"):
        net(np.zeros((2, 3, 0, 8), np.float32))


def test_several_python_threads_share_a_model(net):
    pictures = [picture(seed=i) for i in range(4)]
    want, wrong = [net(x).tobytes() for x in pictures], []

    def work(i):
        for _ in range(10):
            if net(pictures[i]).tobytes() != want[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_runs_and_gives_the_same_bits(net):
    ec.set_num_threads(2)
    want = net(picture(8)).tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if net(picture(8)).tobytes() == want else 1)
    deadline = threading.Event()
    for _ in range(300):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        deadline.wait(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0
