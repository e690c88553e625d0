"""info, convert, export, predict, evaluate, config: what they print and write."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import SIDE, make_net, make_pictures

import edgecnn as ec
from edgecnn.cli import main
from edgecnn.cli.convert import compare, relative_difference
from edgecnn.cli.evaluate import report
from edgecnn.cli.predict import probabilities
from edgecnn.ops import get_op
from edgecnn.train import Evaluation


@pytest.mark.parametrize("command", [(), *((name,) for name in main.commands)])
def test_help_shows_an_example(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0 and "Example" in out and "edgecnn " in out


def test_config(run):
    code, out, _ = run("config")
    assert code == 0 and out == ec.show_config() + "\n"


def test_info(run, named_net, onnx_net):
    code, out, _ = run("info", named_net)
    assert code == 0
    assert "conv1" in out and "fc" in out
    assert f"input: input float32 (any, 3, {SIDE}, {SIDE})" in out and "float32 (any, 2)" in out
    assert "classes: right, left" in out
    assert "preprocessing: size 16x16, RGB, x = (pixel - 127) / 64" in out
    assert run("info", onnx_net)[1].count("classes: not in the file") == 1


def test_info_tells_what_can_be_trained(run, tmp_path, monkeypatch):
    make_net().save(tmp_path / "a.ecnn")
    lines = run("info", tmp_path / "a.ecnn")[1].splitlines()
    forward, backward = (part.split()[-1] for part in lines[-1].split(","))
    assert forward == backward and int(forward.split("/")[0]) >= 4
    monkeypatch.setattr(type(get_op("Conv")), "no_gradient", "for this test")
    lines = run("info", tmp_path / "a.ecnn")[1].splitlines()
    reasons = [line for line in lines if ": for this test" in line]
    left = int(forward.split("/")[0]) - len(reasons)
    assert reasons[0].startswith("  no gradient through Conv(conv1): for this test; freeze the network until ")
    assert f"backward {left}/" in "".join(lines)
    net = make_net()
    net.freeze("conv2")
    net.save(tmp_path / "b.ecnn")
    figures, reason = run("info", tmp_path / "b.ecnn")[1].splitlines()[-2:]
    assert figures.endswith(": Conv(conv1), Conv(conv2) lie below the freeze point")
    assert reason.startswith("  no gradient through Conv(fc): for this test")


# ---- convert and export ----
@pytest.mark.parametrize("source, out", [("onnx", "ecnn"), ("ecnn", "onnx"), ("onnx", "onnx")])
def test_convert_checks_and_keeps_everything(run, tmp_path, named_net, source, out):
    ec.load(named_net).export_onnx(tmp_path / "named.onnx")
    target = tmp_path / f"out.{out}"
    code, text, _ = run("convert", tmp_path / f"named.{source}", target, "--check")
    assert code == 0 and "same top-1" in text and "largest difference" in text
    old, new = ec.load(named_net), ec.load(target)
    assert new.class_names == old.class_names and new.preprocessing == old.preprocessing
    x = np.random.default_rng(0).standard_normal((3, 3, SIDE, SIDE), np.float32)
    np.testing.assert_allclose(new(x), old(x), rtol=0, atol=1e-6 * np.abs(old(x)).max())
    assert {p.name for p in tmp_path.iterdir()} == {"named.ecnn", "named.onnx", target.name}


def test_check_finds_a_difference(onnx_net, tmp_path):
    other = ec.load(onnx_net)
    name = other.trainable()[0]
    other.load_state_dict({**other.state_dict(), name: other.state_dict()[name] * np.float32(1.01)})
    with pytest.raises(ec.ModelError, match="differ by"):
        compare(other, {"IN": onnx_net}, 0)


def test_a_failed_check_leaves_the_old_file(fails, onnx_net, tmp_path, monkeypatch):
    out = tmp_path / "out.ecnn"
    out.write_bytes(b"old")
    monkeypatch.setattr("edgecnn.cli.convert.TOLERANCE", -1.0)
    assert "OUT was not written" in fails("convert", onnx_net, out, "--check")
    assert out.read_bytes() == b"old" and {p.name for p in tmp_path.iterdir()} == {"net.onnx", "out.ecnn"}


def test_check_without_onnxruntime(fails, onnx_net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in fails("convert", onnx_net, tmp_path / "out.ecnn", "--check")
    assert not (tmp_path / "out.ecnn").exists()


def test_relative_difference():
    assert relative_difference(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert relative_difference(np.zeros(2), np.zeros(3)) == np.inf
    assert relative_difference(np.array([np.nan, 1.0]), np.array([1.0, 1.0])) == np.inf


def test_export(run, named_net, tmp_path):
    import onnx

    code, _, _ = run("export", named_net, tmp_path / "out.onnx", "--opset", "15")
    assert code == 0
    assert onnx.load(tmp_path / "out.onnx").opset_import[0].version == 15


def test_nothing_to_convert(run, net, tmp_path):
    assert run("convert", net, tmp_path / "out.ecnn")[0] == 2
    assert run("convert", net, tmp_path / "out.txt")[0] == 2
    assert run("export", net, tmp_path / "out.ecnn")[0] == 2


# ---- predict ----
def expected(path, picture):
    """Names by falling probability, written out."""
    model = ec.load(path)
    pixels = np.asarray(Image.open(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float64)
    scores = model(((pixels - 127) / 64).transpose(2, 0, 1)[None].astype(np.float32))[0].astype(np.float64)
    chances = np.exp(scores) / np.exp(scores).sum()
    return sorted(zip(model.class_names, chances, strict=True), key=lambda item: -item[1])


def test_predict(run, named_net, pictures):
    picture = pictures / "left" / "0.png"
    best = expected(named_net, picture)
    code, out, err = run("predict", "--model", named_net, picture, picture, "--top", 1)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"{picture}: {best[0][0]} {best[0][1]:.1%}"] * 2


def test_predict_json(run, named_net, pictures):
    picture = pictures / "right" / "1.png"
    [result] = json.loads(run("predict", "--model", named_net, picture, "--json")[1])
    assert result["picture"] == str(picture)
    for got, (name, chance) in zip(result["classes"], expected(named_net, picture), strict=True):
        assert got["name"] == name and abs(got["probability"] - chance) < 1e-5


def test_predict_reports_bad_pictures_and_classifies_the_others(run, named_net, pictures, tmp_path):
    bad, good = tmp_path / "bad.png", pictures / "left" / "0.png"
    bad.write_bytes(good.read_bytes()[:100])
    code, out, err = run("predict", "--model", named_net, bad, good, tmp_path / "none.png")
    assert code == 1 and out.startswith(f"{good}: ") and len(out.splitlines()) == 1
    assert str(bad) in err and "none.png: no such file" in err and "Traceback" not in err


def test_probabilities_are_not_taken_twice():
    z = np.array([1.0, 2.0, 4.0], np.float32)
    once = probabilities(z)
    np.testing.assert_allclose(once, np.exp(z) / np.exp(z).sum(), rtol=1e-6)
    np.testing.assert_array_equal(probabilities(once), once)


# ---- preprocessing ----
def test_assumed_preprocessing_is_told(run, tmp_path, pictures):
    make_net(2, ["left", "right"], preprocessing=False).save(tmp_path / "bare.ecnn")
    picture = pictures / "left" / "0.png"
    code, assumed, err = run("predict", "--model", tmp_path / "bare.ecnn", picture)
    assert code == 0
    assert err.startswith("edgecnn: warning: tiny does not say") and "x = (pixel - 0) / 255" in err
    said = ["--size", SIDE, "--channels", "RGB", "--mean", "0,0,0", "--scale", "255"]
    code, out, err = run("predict", "--model", tmp_path / "bare.ecnn", picture, *said)
    assert (code, out, err) == (0, assumed, "")
    _, other, _ = run("predict", "--model", tmp_path / "bare.ecnn", picture, "--mean", "127", "--scale", "64")
    assert other != assumed


@pytest.mark.parametrize("options, reason", [
    (["--size", "8"], "does not fit the input"),
                                             (["--channels", "GRAY", "--mean", "0", "--scale", "1"],
                                              "does not fit"),
    (["--scale", "0"], "no entry may be 0"), (["--mean", "1,2"], "one per channel")])
def test_preprocessing_that_does_not_fit(fails, named_net, pictures, options, reason):
    assert reason in fails("predict", "--model", named_net, pictures / "left" / "0.png", *options)


def test_size_is_needed_where_the_input_takes_any(fails, run, tmp_path, pictures):
    free = ec.nn.Sequential(ec.nn.Conv2d(3, 2, 3), ec.nn.GlobalAvgPool2d(), ec.nn.Flatten())
    free.input_shape = (None, 3, None, None)
    free.save(tmp_path / "free.ecnn")
    assert "--size" in fails("predict", "--model", tmp_path / "free.ecnn", pictures / "left" / "0.png")
    assert run("predict", "--model", tmp_path / "free.ecnn", pictures / "left" / "0.png", "--size",
               "9x8")[0] == 0


@pytest.mark.parametrize("option", [("--size", "9x"), ("--mean", "a,b"), ("--channels", "CMYK")])
def test_unreadable_options_are_wrong_usage(run, net, option):
    assert run("predict", "--model", net, "x.png", *option)[0] == 2


# ---- evaluate ----
def test_evaluate_counts(run, named_net, pictures):
    code, out, _ = run("evaluate", "--model", named_net, "--data", pictures, "--batch", 7)
    assert code == 0
    count = {(true, said): 0 for true in ("left", "right") for said in ("left", "right")}
    for true in ("left", "right"):
        for path in (pictures / true).iterdir():
            count[true, expected(named_net, path)[0][0]] += 1
    right = count["left", "left"] + count["right", "right"]
    assert f"accuracy {right / 20:.1%} ({right} of 20 pictures)" in out
    rows = [line.split() for line in out.splitlines()[-2:]]
    assert rows == [[t, str(count[t, "right"]), str(count[t, "left"])] for t in ("right", "left")]


def test_report():
    result = Evaluation(2)
    result.count, result.confusion = 10, np.array([[3, 1], [0, 6]])
    lines = report(result, ["crown", "no"]).splitlines()
    assert lines[0] == "accuracy 90.0% (9 of 10 pictures)"
    assert [line.split() for line in lines[3:5]] == [["crown", "4", "75.0%", "100.0%"],
                                                     ["no", "6", "100.0%", "85.7%"]]
    assert [line.split() for line in lines[7:]] == [["crown", "no"], ["crown", "3", "1"], ["no", "0", "6"]]


def test_report_of_many_classes_names_the_worst_mix_ups():
    result = Evaluation(30)
    result.confusion[range(30), range(30)] = 5
    result.confusion[3, 7], result.confusion[9, 1], result.count = 2, 4, 156
    lines = report(result, [f"c{i}" for i in range(30)]).splitlines()
    assert [line.split() for line in lines[-2:]] == [["c9", "taken", "for", "c1:", "4"],
                                                     ["c3", "taken", "for", "c7:", "2"]]


def test_evaluate_refuses_other_classes(fails, net, named_net, tmp_path):
    other = make_pictures(tmp_path / "other", 2, ("left", "middle"))
    message = fails("evaluate", "--model", named_net, "--data", other)
    assert "middle" in message and "right" in message
    assert "holds 2 classes, the network tells 4" in fails("evaluate", "--model", net, "--data", other)


def test_evaluate_without_class_names_warns(run, tmp_path, pictures):
    make_net(2).save(tmp_path / "two.ecnn")
    code, _, err = run("evaluate", "--model", tmp_path / "two.ecnn", "--data", pictures)
    assert code == 0 and "alphabetical order" in err
