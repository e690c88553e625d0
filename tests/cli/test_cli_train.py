"""edgecnn train: what it learns and writes, and that nothing is lost when it is broken off."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny import make_net, make_pictures

import edgecnn as ec
from edgecnn.train import Trainer

OPTIMIZERS = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw"]


def weights(path):
    return ec.load(path).state_dict()


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_train_learns_and_writes_everything(run, net, pictures, tmp_path):
    out, plot = tmp_path / "mine.ecnn", tmp_path / "plot.png"
    test = make_pictures(tmp_path / "test", 10, seed=9)
    code, text, err = run("train", "--model", net, "--data", pictures, "--val", test, "--out", out,
                          "--epochs", 6,
                          "--lr", 0.003, "--batch", 8, "--plot", plot)
    assert (code, err) == (0, "")
    assert "new last layer for 2 classes: left, right" in text and "confusion matrix" in text
    assert text.count("epoch ") == 6 and "20 pictures to train, 20 to validate" in text
    model = ec.load(out)
    assert model.class_names == ["left", "right"] and model.preprocessing == ec.load(net).preprocessing
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in tmp_path.iterdir()} == {"net.ecnn", "mine.ecnn", "plot.png", "pictures", "test"}
    report = run("evaluate", "--model", out, "--data", test)[1]
    assert float(report.split("accuracy ")[1].split("%")[0]) >= 90
    assert report.splitlines()[0] in text  # what train printed is what the file does


def test_only_the_head_is_trained_by_default(run, net, pictures, tmp_path):
    assert run("train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn", "--epochs",
               2)[0] == 0
    before, after = weights(net), weights(tmp_path / "o.ecnn")
    assert after["fc.weight"].shape == (2, 512) and not np.array_equal(after["fc.bias"], np.zeros(2))
    assert_same({k: v for k, v in before.items() if not k.startswith("fc")},
                {k: v for k, v in after.items() if not k.startswith("fc")})


@pytest.mark.parametrize("options, kept", [(["--freeze", "bn1"], {"conv1", "bn1"}), (["--all"], set())])
def test_freeze_and_all(run, net, pictures, tmp_path, options, kept):
    out = tmp_path / "o.ecnn"
    arguments = ["train", "--model", net, "--data", pictures, "--out", out, "--epochs", 2, "--head-epochs", 1,
                 "--split", 0, *options]
    assert run(*arguments)[0] == 0
    before, after = weights(net), weights(out)
    same = {k.split(".")[0] for k in before if np.array_equal(before[k], after[k])}
    assert same == kept


def test_matching_head_is_kept_in_the_models_order(run, named_net, pictures, tmp_path):
    code, text, _ = run("train", "--model", named_net, "--data", pictures, "--out", tmp_path / "o.ecnn",
                        "--epochs", 1,
                        "--lr", 1e-30)
    assert code == 0 and "new last layer" not in text
    assert ec.load(tmp_path / "o.ecnn").class_names == ["right", "left"]
    before, after = weights(named_net), weights(tmp_path / "o.ecnn")
    assert all(np.allclose(before[name], after[name], rtol=0, atol=1e-20) for name in before)


def test_onnx_in_and_out(run, onnx_net, pictures, tmp_path):
    out = tmp_path / "o.onnx"
    code, text, _ = run("train", "--model", onnx_net, "--data", pictures, "--out", out, "--epochs", 2,
                        "--augment")
    assert code == 0 and ec.load(out).class_names == ["left", "right"]
    assert run("evaluate", "--model", out, "--data", pictures)[0] == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(run, net, pictures, tmp_path, optimizer):
    out = tmp_path / "o.ecnn"
    code, *_ = run("train", "--model", net, "--data", pictures, "--out", out, "--epochs", 1, "--optimizer",
                   optimizer)
    assert code == 0 and out.exists()


def test_the_best_is_kept(run, net, pictures, tmp_path, monkeypatch):
    """Validation accuracies are forced; the file must hold the weights of the best epoch."""
    seen = []
    original = Trainer._evaluate

    def evaluate(self, graph, data):
        result = original(self, graph, data)
        seen.append(self.model.state_dict())
        result.confusion[:] = 0
        result.confusion[0, 0] = [1, 3, 2][len(seen) - 1]
        return result

    monkeypatch.setattr(Trainer, "_evaluate", evaluate)
    out = tmp_path / "o.ecnn"
    assert run("train", "--model", net, "--data", pictures, "--out", out, "--epochs", 3)[0] == 0
    assert_same(seen[1], weights(out))


def test_a_final_softmax_is_taken_off(run, tmp_path, pictures):
    plain = make_net(2, ["left", "right"])
    net = ec.nn.Sequential(("body", plain), ("probabilities", ec.nn.Softmax()))
    net.input_shape, net.class_names = plain.input_shape, plain.class_names
    net.preprocessing = plain.preprocessing
    net.save(tmp_path / "soft.ecnn")
    code, text, _ = run("train", "--model", tmp_path / "soft.ecnn", "--data", pictures, "--out",
                        tmp_path / "o.ecnn",
                        "--epochs", 1)
    assert code == 0 and "ends in a Softmax" in text
    assert ec.load(tmp_path / "o.ecnn").graph.nodes[-1].op != "Softmax"


# ---- broken off and resumed ----
def interrupt(monkeypatch, after, act):
    """Calls act() within the step number `after`."""
    original, count = Trainer._step, [0]

    def step(self, *args):
        count[0] += 1
        if count[0] == after:
            act()
        return original(self, *args)

    monkeypatch.setattr(Trainer, "_step", step)


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def long_training(net, pictures, tmp_path):
    """Arguments of a training of 4 epochs of 4 steps, 2 for the head and 2 for all, without --out."""
    return ["train", "--model", net, "--data", pictures, "--epochs", 4, "--head-epochs", 2, "--batch", 4,
            "--all",
            "--augment", "--seed", 3]


@pytest.mark.parametrize("after, saved",
                         [(2, "0 epochs and 2 batches;"), (4, "1 epoch;"), (8, "2 epochs;"),
                                          (11, "2 epochs and 3 batches;"), (16, "4 epochs;")])
@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_ctrl_c_and_resume_end_in_the_same_weights(run, long_training, tmp_path, monkeypatch, after, saved,
                                                   optimizer):
    long_training += ["--optimizer", optimizer]
    whole, parts = tmp_path / "whole.ecnn", tmp_path / "parts.ecnn"
    code, text, _ = run(*long_training, "--out", whole)
    assert code == 0
    with monkeypatch.context() as patch:
        interrupt(patch, after, press_ctrl_c)
        code, _, err = run(*long_training, "--out", parts)
    assert code == 130 and f"parts.ecnn.ckpt holds {saved}" in err
    assert "--resume" in err and "Traceback" not in err
    code, resumed, _ = run(*long_training, "--out", parts, "--resume")
    assert code == 0 and "going on after" in resumed
    assert_same(weights(whole), weights(parts))
    assert resumed.splitlines()[-8:-1] == text.splitlines()[-8:-1]  # the tables
    assert not (tmp_path / "parts.ecnn.ckpt").exists()


@pytest.mark.parametrize("after", [7, 14])
def test_power_cut_loses_at_most_an_epoch(run, long_training, tmp_path, monkeypatch, after):
    def cut():
        raise SystemError("power cut")

    whole, parts = tmp_path / "whole.ecnn", tmp_path / "parts.ecnn"
    run(*long_training, "--out", whole, "--split", 0)
    with monkeypatch.context() as patch:
        interrupt(patch, after, cut)
        assert run(*long_training, "--out", parts, "--split", 0)[0] == 1
    code, text, _ = run(*long_training, "--out", parts, "--split", 0, "--resume")
    assert code == 0 and f"going on after {(after - 1) // 5} epoch" in text
    assert_same(weights(whole), weights(parts))


def test_plot_and_best_survive_a_resume(run, long_training, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("edgecnn.cli.train.draw_history", lambda history, path: drawn.append(history))
    plot = ["--plot", tmp_path / "p.png"]
    run(*long_training, "--out", tmp_path / "whole.ecnn", *plot)
    with monkeypatch.context() as patch:
        interrupt(patch, 12, press_ctrl_c)  # at the end of an epoch: its means are whole
        run(*long_training, "--out", tmp_path / "parts.ecnn", *plot)
    run(*long_training, "--out", tmp_path / "parts.ecnn", *plot, "--resume")
    assert len(drawn[0]) == 4 and drawn[0] == drawn[1]


@pytest.fixture
def broken_off(run, long_training, tmp_path, monkeypatch):
    """Arguments of a training that was broken off in its second epoch."""
    long_training += ["--out", tmp_path / "o.ecnn"]
    with monkeypatch.context() as patch:
        interrupt(patch, 6, press_ctrl_c)
        assert run(*long_training)[0] == 130
    return long_training


def test_a_checkpoint_is_not_overwritten_by_mistake(fails, broken_off, tmp_path):
    before = (tmp_path / "o.ecnn.ckpt").read_bytes()
    assert "--resume" in fails(*broken_off)
    assert (tmp_path / "o.ecnn.ckpt").read_bytes() == before


def test_resume_wants_the_same_command(fails, broken_off, pictures):
    message = fails(*broken_off, "--resume", "--batch", 5, "--seed", 4)
    assert "batch was 4, is 5" in message and "seed was 3, is 4" in message
    (pictures / "left" / "0.png").unlink()
    assert "pictures was" in fails(*broken_off, "--resume")


def test_resume_wants_the_best_network(fails, broken_off, tmp_path):
    (tmp_path / "o.ecnn").unlink()
    assert "o.ecnn, which held the best network so far, is missing" in fails(*broken_off, "--resume")


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_damaged_checkpoint(fails, broken_off, tmp_path, content):
    path = tmp_path / "o.ecnn.ckpt"
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2] if content is None else content)
    assert "not a checkpoint" in fails(*broken_off, "--resume")


def test_a_model_is_no_checkpoint(fails, broken_off, net):
    other = net.with_name("other.ecnn")
    other.write_bytes(net.read_bytes())
    assert "not a checkpoint" in fails(*broken_off, "--resume", "--checkpoint", other)


def test_resume_without_checkpoint_begins(run, net, pictures, tmp_path):
    code, text, _ = run("train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn",
                        "--epochs", 1,
                        "--resume")
    assert code == 0 and "beginning with the first epoch" in text


def test_divergence_is_told(fails, net, pictures, tmp_path):
    for file in (pictures / "left").iterdir():  # the same pictures in both classes: no step is the last
        shutil.copy(file, pictures / "right" / file.name)
    message = fails("train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn", "--lr", 1e30,
                    "--all", "--optimizer", "sgd", "--epochs", 20)
    assert "smaller learning rate" in message


def test_unknown_layer(fails, net, pictures, tmp_path):
    assert "layers are conv1, bn1" in fails("train", "--model", net, "--data", pictures, "--out",
                                            tmp_path / "o.ecnn",
                                            "--freeze", "conv9")


def test_options_that_exclude_each_other(run, net, pictures, tmp_path):
    code, _, err = run("train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn", "--all",
                       "--head-only")
    assert code == 2 and "exclude each other" in err


def test_ctrl_c_of_a_real_process(net, pictures, tmp_path):
    arguments = ["train", "--model", net, "--data", pictures, "--out", tmp_path / "o.ecnn", "--epochs",
                 100_000]
    process = subprocess.Popen([sys.executable, "-m", "edgecnn.cli", *map(str, arguments)],
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "o.ecnn.ckpt").exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "edgecnn: stopped; " in err and "Traceback" not in err
    assert ec.load(tmp_path / "o.ecnn").class_names == ["left", "right"]
