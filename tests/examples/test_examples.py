"""Every example once, on a tiny budget: it runs to its end, explains its numbers and saves its plot."""

import gzip
import importlib
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import edgecnn as ec

pytest.importorskip("matplotlib")
FOLDER = Path(__file__).resolve().parents[2] / "examples"
BUDGET = {
    "batchnorm": ["--count", 32, "--epochs", 1],
    "depth": ["--count", 32, "--epochs", 1, "--depths", "8,14"],
    "filters": ["--count", 64, "--epochs", 1],
    "gradients": ["--depth", 4, "--steps", 2],
    "optimizers": ["--count", 32, "--epochs", 1, "--saddle-steps", 5],
}


@pytest.fixture
def idx_files(tmp_path):
    """Ten classes, each with a bright row of its own, in the files of Fashion-MNIST."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 80), ("t10k", 40)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pixels = rng.integers(0, 60, (count, 28, 28), np.uint8)
        pixels[np.arange(count), 2 + 2 * labels] += 150
        for name, array in ((f"{part}-images-idx3-ubyte.gz", pixels), (f"{part}-labels-idx1-ubyte.gz", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (tmp_path / name).write_bytes(gzip.compress(head + array.tobytes()))
    return tmp_path


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))

    def call(name, *arguments):
        result = CliRunner().invoke(importlib.import_module(name).main, [str(a) for a in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result
    return call


def is_plot(path):
    with Image.open(path) as image:
        return image.width > 600 and len(np.unique(np.asarray(image.convert("L")))) > 20


@pytest.mark.parametrize("name", BUDGET)
def test_example(run, idx_files, name):
    out = idx_files / "plots" / f"{name}.png"
    result = run(name, "--data", idx_files, "--out", out, *BUDGET[name])
    assert result.exit_code == 0 and f"plot: {out}" in result.output and is_plot(out)
    assert len(result.output.splitlines()) >= 4 and any(len(line) > 100 for line in result.output.splitlines())


def test_transfer(run, tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for bright, name in enumerate(("crown", "ground")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(8):
                Image.fromarray((rng.integers(0, 90, (20, 20, 3)) + 120 * bright).astype(np.uint8)).save(
                    tmp_path / part / name / f"{i}.png")
    ec.nn.manual_seed(0)
    net = ec.nn.Sequential(
        ("first", ec.nn.Conv2d(3, 8, 3, stride=2)), ("relu1", ec.nn.ReLU()), ("second", ec.nn.Conv2d(8, 8, 3)),
        ("relu2", ec.nn.ReLU()), ("mean", ec.nn.GlobalAvgPool2d()), ("flatten", ec.nn.Flatten()), ("fc", ec.nn.Linear(8, 5)))
    net.input_shape = (None, 3, 16, 16)
    net.preprocessing = ec.Preprocessing((16, 16), "RGB", (127.0,) * 3, (64.0,) * 3)
    net.save(tmp_path / "net.ecnn")
    result = run("transfer", "--model", tmp_path / "net.ecnn", "--data", tmp_path, "--cuts", "first,second",
                 "--finetune-from", "first", "--epochs", 5, "--out", tmp_path / "plot.png")
    assert result.exit_code == 0 and is_plot(tmp_path / "plot.png")
    assert "first: 8 features, test accuracy 100.0%" in result.output  # brightness alone tells them apart


def test_lenet5(run, idx_files):
    result = run("lenet5", "--data", idx_files, "--epochs", 1, "--out", idx_files / "net.ecnn")
    assert result.exit_code == 0 and "test accuracy" in result.output
    assert ec.load(idx_files / "net.ecnn")(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 10)


def test_what_is_missing_is_told(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("filters")
    assert result.exit_code == 1 and "pip install 'edgecnn[plots]'" in result.output
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(importlib.import_module("common"), "ROOT", tmp_path)
    result = run("filters")
    assert result.exit_code == 1 and "python tools/fetch_assets.py mnist" in result.output
