"""The compiled training step and the loop around it."""

import numpy as np
import pytest
from helpers import every_isa

import edgecnn as ec
from edgecnn import nn
from edgecnn.data import ArrayDataset, Loader


class Residual(nn.Module):
    """A little of everything: convolution, batch norm, residual, pooling, fully connected."""

    input_shape = (None, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(48, 5)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)) + x)
        x = self.relu(self.conv3(self.pool(x)))
        return self.fc(self.flatten(x))


def batch(n=6, seed=0, shape=(3, 8, 8), classes=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, classes, n)


def network(seed=0):
    nn.manual_seed(seed)
    return Residual()


@every_isa
def test_gradients_are_those_of_the_loss(isa, monkeypatch):
    """Along each gradient the loss changes as the gradient says. A ReLU or a maximum that changes sides within the
    difference spoils a single measurement, so the median of three networks counts."""
    monkeypatch.setenv("EDGECNN_ISA", isa)
    errors: dict[str, list[float]] = {}
    for seed in range(3):
        net, (x, y) = network(seed), batch(seed=seed)
        trainer = ec.Trainer(net, ec.optim.SGD(lr=0.1))
        _, grads = trainer.gradients(x, y)
        assert set(grads) == set(net.trainable())
        start = net.state_dict()
        for name, grad in grads.items():
            norm, losses = np.linalg.norm(grad), []
            for sign in (1, -1):
                moved = start[name] + sign * 1e-3 * grad / max(norm, 1e-6)
                net.load_state_dict({**start, name: moved.astype(np.float32)})
                losses.append(trainer.gradients(x, y)[0])
            net.load_state_dict(start)
            errors.setdefault(name, []).append(abs((losses[0] - losses[1]) / 2e-3 - norm) / max(norm, 0.1))
    assert {name: e for name, e in errors.items() if np.median(e) > 0.02} == {}


def test_a_step_of_sgd_is_the_parameter_minus_rate_times_gradient():
    net, (x, y) = network(), batch()
    trainer = ec.Trainer(net, ec.optim.SGD(lr=0.25))
    loss, grads = trainer.gradients(x, y)
    before = net.state_dict()
    assert trainer.step(x, y) == loss
    for name, grad in grads.items():
        np.testing.assert_allclose(net.state_dict()[name], before[name] - 0.25 * grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("optimizer", [ec.optim.Momentum(lr=0.05), ec.optim.Nesterov(lr=0.05), ec.optim.Adam(lr=0.01),
                                       ec.optim.Adam(lr=0.01, clip_norm=0.5)])
def test_same_bits_for_any_number_of_threads(optimizer):
    states = []
    for threads in (1, 2, 3):
        ec.set_num_threads(threads)
        net = network()
        trainer = ec.Trainer(net, optimizer)
        losses = [trainer.step(*batch(seed=i)) for i in range(3)]
        states.append((losses, {k: v.tobytes() for k, v in net.state_dict().items()}))
    ec.set_num_threads(2)
    assert states[0] == states[1] == states[2]


def test_training_learns_and_inference_follows():
    net, (x, y) = network(), batch(16)
    trainer = ec.Trainer(net, ec.optim.Adam(lr=0.01))
    losses = [trainer.step(x, y) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0] and trainer.correct == 16
    assert (net(x).argmax(1) == y).mean() > 0.9  # with running statistics


def test_what_is_frozen_stays_and_costs_less():
    net, (x, y) = network(), batch()
    trainer = ec.Trainer(net, ec.optim.Adam())
    whole = trainer.memory_plan(6)
    net.freeze(until="bn2")
    assert set(net.trainable()) == {"conv3.weight", "conv3.bias", "fc.weight", "fc.bias"}
    part = trainer.memory_plan(6)
    assert part["arena"] < whole["arena"] and part["optimizer"] < whole["optimizer"]
    before = net.state_dict()
    trainer.step(x, y)
    changed = {k for k, v in net.state_dict().items() if not np.array_equal(v, before[k])}
    assert changed == {"conv3.weight", "conv3.bias", "fc.weight", "fc.bias"}
    _, grads = trainer.gradients(x, y)
    assert set(grads) == changed


def test_frozen_gradients_equal_those_of_a_network_in_inference_below():
    """The frozen part uses running statistics, and what is above it gets the same gradients as on its features."""
    net, (x, y) = network(), batch()
    net.freeze(until="bn2")
    _, whole = ec.Trainer(net, ec.optim.SGD(lr=0.1)).gradients(x, y)
    net.unfreeze()
    x32, _ = batch(32, seed=5)
    for _ in range(3):  # running statistics other than the initial ones
        ec.Trainer(net, ec.optim.SGD(lr=1e-6)).step(x32, np.zeros(32, np.int64))
    net.freeze(until="bn2")
    _, moved = ec.Trainer(net, ec.optim.SGD(lr=0.1)).gradients(x, y)
    assert not np.allclose(whole["fc.weight"], moved["fc.weight"])


def test_features_kept_or_computed_give_the_same_weights():
    """But for rounding: a batch of another size may be computed by another algorithm."""
    x, y = batch(20)
    data = ArrayDataset(x, y)
    results = []
    for cache in (True, False):
        net = network()
        net.freeze(until="bn2")
        trainer = ec.Trainer(net, ec.optim.Momentum(lr=0.05))
        trainer.fit(Loader(data, 6, shuffle=True), Loader(data, 8), epochs=3, progress=False, cache=cache)
        results.append({k: v.copy() for k, v in net.state_dict().items()})
    for name, kept in results[0].items():
        np.testing.assert_allclose(kept, results[1][name], 1e-4, 1e-6, err_msg=name)


def test_nesterov_shows_theta_not_the_look_ahead_point():
    net, (x, y) = network(), batch()
    trainer = ec.Trainer(net, ec.optim.Nesterov(lr=0.1))
    before = net.state_dict()
    _, grads = trainer.gradients(x, y)
    trainer.step(x, y)  # the velocity is zero: an ordinary step
    np.testing.assert_allclose(net.state_dict()["fc.weight"], before["fc.weight"] - 0.1 * grads["fc.weight"],
                               rtol=1e-5, atol=1e-6)


def test_gradient_norms():
    net, (x, y) = network(), batch()
    trainer = ec.Trainer(net, ec.optim.SGD(lr=0.1), gradient_norms=True)
    _, grads = trainer.gradients(x, y)
    trainer.step(x, y)
    assert trainer.norms.keys() == grads.keys()
    for name, norm in trainer.norms.items():
        assert norm == pytest.approx(np.linalg.norm(grads[name].astype(np.float64)), rel=1e-4)


@pytest.mark.parametrize("x, y, error, word", [
    (np.zeros((2, 3, 8, 8)), np.zeros(2, np.int64), ec.DTypeError, "float32"),
    (np.zeros((2, 3, 8, 8), np.float32), np.zeros(2, np.int32), ec.DTypeError, "int64"),
    (np.zeros((2, 3, 8, 8), np.float32), np.zeros(3, np.int64), ec.ShapeError, "each of the 2"),
    (np.zeros((2, 3, 8, 8), np.float32), np.array([0, 5]), ec.DataError, "0 to 4"),
    (np.zeros((2, 1, 8, 8), np.float32), np.zeros(2, np.int64), ec.ShapeError, "input"),
])
def test_bad_batches_are_refused(x, y, error, word):
    net = network()
    before = net.state_dict()
    with pytest.raises(error, match=word):
        ec.Trainer(net, ec.optim.SGD(lr=0.1)).step(x, y)
    assert all(np.array_equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_new_head_is_trained():
    """The trainer notices that a parameter was replaced: its plans, optimizer state and number of classes are new."""
    x, y = batch()
    model = Residual()
    trainer = ec.Trainer(model, ec.optim.Momentum(lr=0.1))
    trainer.step(x, y)
    trainer.evaluate([(x, y)])
    model.replace_head(3)
    before = model.state_dict()
    with pytest.raises(ec.DataError, match="classes 0 to 2"):
        trainer.step(x, np.full(len(y), 4))
    with pytest.raises(ec.DataError, match="classes 0 to 2"):
        trainer.evaluate([(x, np.full(len(y), 4))])
    trainer.step(x, y % 3)
    after = model.state_dict()
    assert after["fc.weight"].shape == (3, 48)
    assert all((before[name] != after[name]).any() for name in ("fc.weight", "fc.bias", "conv1.weight"))


def test_everything_frozen_is_an_error():
    net, (x, y) = network(), batch()
    net.freeze(until="fc")
    with pytest.raises(ec.ModelError, match="unfreeze"):
        ec.Trainer(net, ec.optim.SGD(lr=0.1)).step(x, y)
