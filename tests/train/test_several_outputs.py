"""Training a network with auxiliary heads: the loss is the weighted sum of the outputs' losses."""

import numpy as np
import pytest

import edgecnn as ec

WEIGHTS = (1, 0.3, 0.5)


class Three(ec.nn.Module):
    """Scores from three depths of one trunk."""

    def __init__(self, only=None):
        super().__init__()
        self.trunk, self.relu, self.deep = ec.nn.Linear(6, 8), ec.nn.ReLU(), ec.nn.Linear(8, 8)
        self.scores, self.first, self.second = (ec.nn.Linear(8, 4) for _ in range(3))
        self.input_shape, self.only = (None, 6), only

    def forward(self, x):
        h = self.relu(self.trunk(x))
        d = self.relu(self.deep(h))
        outputs = self.scores(d), self.first(h), self.second(d)
        return outputs if self.only is None else outputs[self.only]


def build(only=None):
    ec.nn.manual_seed(3)
    return Three(only)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((5, 6)).astype(np.float32), rng.integers(0, 4, 5)


def test_loss_and_gradients_are_weighted_sums(batch):
    loss, grads = ec.Trainer(build(), ec.optim.SGD(), output_weights=WEIGHTS).gradients(*batch)
    parts = []
    for i in range(3):
        net = build(i)
        used = {p for n in net.graph.nodes for p in n.inputs}
        net.frozen = set(net.graph.trainable()) - used
        parts.append(ec.Trainer(net, ec.optim.SGD()).gradients(*batch))
    assert loss == pytest.approx(sum(w * p[0] for w, p in zip(WEIGHTS, parts, strict=True)), rel=1e-5)
    for name, grad in grads.items():
        want = sum(w * p[1][name] for w, p in zip(WEIGHTS, parts, strict=True) if name in p[1])
        np.testing.assert_allclose(grad, want, rtol=1e-5, atol=1e-6, err_msg=name)


def test_training_and_evaluation(batch):
    net, x, y = build(), *batch
    trainer = ec.Trainer(net, ec.optim.Adam(lr=0.02), output_weights=WEIGHTS)
    losses = [trainer.step(x, y) for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]
    result = trainer.evaluate([(x, y)])
    assert result.accuracy == (net(x)[0].argmax(1) == y).mean() == 1  # of the first output


@pytest.mark.parametrize("weights", [(1.0,), (1, 2)])
def test_every_output_needs_a_weight(batch, weights):
    with pytest.raises(ec.ModelError, match="a weight for the loss of each output"):
        ec.Trainer(build(), ec.optim.SGD(), output_weights=weights).step(*batch)


def test_googlenet_with_its_auxiliary_heads(tmp_path):
    ec.nn.manual_seed(0)
    net = ec.models.googlenet(auxiliary=True)
    assert sum(net.graph.params[p].size for p in net.trainable()) == 13_004_888  # torchvision 0.28, aux_logits=True
    plain = net.features("fc")
    assert sum(plain.graph.params[p].size for p in plain.trainable()) == 6_624_904
    x, y = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32), np.arange(2)
    scores = net(x[:1])
    assert [s.shape for s in scores] == [(1, 1000)] * 3
    np.testing.assert_allclose(plain(x[:1]), scores[0], rtol=0, atol=1e-6 * np.abs(scores[0]).max())
    trainer = ec.Trainer(net, ec.optim.Adam(lr=1e-4), output_weights=(1, 0.3, 0.3))
    losses = [trainer.step(x, y) for _ in range(4)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
