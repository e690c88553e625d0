"""The trainer: one compiled training step, and the loop around it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..config import get_num_threads
from ..errors import DataError, DTypeError, ModelError, ShapeError
from ..graph.ir import Graph
from ..graph.plan import Plan
from ..graph.profile import StepProfile, profile
from ..graph.training import HYPER, TARGET, TrainingGraph, add_updates, loss_graph
from ..model import Model
from ..ops.dropout import STEP
from .callbacks import Callback, Progress
from .features import FeatureCache
from .memory import memory_report
from .result import Epoch, Evaluation, History

PLANS_KEPT = 3


class Trainer:
    """Trains a model in place.

    Args:
        model: its unfrozen parameters are changed; what is frozen behaves as in inference.
        optimizer: one of edgecnn.optim.
        loss: "cross_entropy" (targets int64 class indices (N,)) or "mse" (targets float32 like the output).
        loss_options: attributes of the loss operator, e.g. {"label_smoothing": 0.1}.
        gradient_norms: keep the norm of each parameter's gradient of the last step in `norms`.
        running_statistics: batch norms use their running statistics and keep them, while their scale and shift are trained:
            for fine-tuning on few pictures, whose own statistics are noisy.
        output_weights: of the loss of each output, where the network has several (auxiliary heads); the first is evaluated.

    Attributes:
        steps: how many updates were made. norms: parameter name -> gradient norm of the last step.
    """

    def __init__(self, model: Model, optimizer: Any, loss: str = "cross_entropy",
                 loss_options: dict[str, Any] | None = None, gradient_norms: bool = False,
                 running_statistics: bool = False, output_weights: Sequence[float] = (1.0,)):
        self.model, self.optimizer, self.loss, self.loss_options = model, optimizer, loss, loss_options
        self.gradient_norms, self.running_statistics = gradient_norms, running_statistics
        self.output_weights = tuple(output_weights)
        self.steps = 0
        self.norms: dict[str, float] = {}
        self.states: dict[str, dict[str, np.ndarray]] = {}
        self.correct = 0
        self._plans: dict[tuple, tuple[Plan, TrainingGraph]] = {}
        self._known: dict[str, np.ndarray] = {}  # parameters that plans and states were made for
        self._optimizer_of_plans = optimizer
        self._classes_key: tuple[int, str] | None = None

    # ---- one step ----------------------------------------------------------------------------------------------
    def step(self, x: np.ndarray, y: np.ndarray) -> float:
        """One update on a batch: forward, backward, optimizer. Returns the loss before the update.

        Args: x float32 (N, C, H, W); y int64 class indices (N,) (or float32 targets for "mse").
        """
        return self._step(self.model.graph, x, y)

    def profile(self, x: np.ndarray, y: np.ndarray, runs: int = 20, warm_up: int = 3) -> tuple[Plan, list[StepProfile]]:
        """The plan of a training step and where its time goes. Every run is a real step on this batch: keep a copy of a
        model that matters."""
        plan, _ = self._plan(self.model.graph, x, y, update=True)
        self.steps += warm_up + runs
        self.model.changed()
        return plan, profile(plan, self._feeds(plan, x, y), runs, warm_up)

    def _step(self, graph: Graph, x: np.ndarray, y: np.ndarray) -> float:
        plan, training = self._plan(graph, x, y, update=True)
        self.steps += 1
        results = plan.run(*self._feeds(plan, x, y))
        self.model.changed()
        self._count(results)
        if self.gradient_norms:
            squares = results[-len(training.trained):]
            self.norms = {n: float(np.sqrt(s[0])) for n, s in zip(training.trained, squares, strict=True)}
        return float(results[0][0])

    def gradients(self, x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        """Loss and the gradient of every trainable parameter by name; nothing is changed but running statistics."""
        plan, training = self._plan(self.model.graph, x, y, update=False)
        results = plan.run(*self._feeds(plan, x, y))
        self._count(results)
        grads = results[-len(training.trained):]
        return float(results[0][0]), dict(zip(training.trained, grads, strict=True))

    def _count(self, results: list[np.ndarray]) -> None:
        self.correct = int(results[1][0]) if self.loss == "cross_entropy" else 0

    def _feeds(self, plan: Plan, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        known = {TARGET: y, STEP: np.array([self.steps], np.int64)}
        if HYPER in plan.graph.inputs:
            known[HYPER] = self.optimizer.hyper(self.steps)
        return [known.get(name, x) for name in plan.graph.inputs]

    def _plan(self, graph: Graph, x: np.ndarray, y: np.ndarray, update: bool) -> tuple[Plan, TrainingGraph]:
        self._follow(graph)
        self._check(graph, x, y)
        key = (id(graph), x.shape, update, frozenset(self.model.frozen), get_num_threads(), self.gradient_norms,
               self.running_statistics)
        if key not in self._plans:
            training = self._graph(graph, x.shape, self.model.trainable(), update)
            while len(self._plans) >= PLANS_KEPT:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = Plan(training.graph, get_num_threads()), training
        return self._plans[key]

    def _follow(self, graph: Graph) -> None:
        """Drops plans of another optimizer, and with the parameters that were replaced (a new head) their states too."""
        replaced = [name for name, array in graph.params.items() if self._known.get(name, array) is not array]
        if replaced or self.optimizer is not self._optimizer_of_plans:
            self._plans.clear()
            self._optimizer_of_plans = self.optimizer
        if replaced:
            self._classes_key = None
        for name in replaced:
            self.states.pop(name, None)
        self._known.update(graph.params)

    def _graph(self, graph: Graph, shape: tuple[int, ...], trainable: list[str], update: bool) -> TrainingGraph:
        names = list(graph.inputs)
        if len(names) != 1:
            raise ModelError(f"training needs a network with one input, this one has {names}")
        if not trainable:
            raise ModelError(f"{self.model.name}: nothing to train, every parameter is frozen; call model.unfreeze()")
        training = loss_graph(graph, {names[0]: shape}, trainable, self.loss, self.loss_options,
                              self.running_statistics, self.output_weights)
        if update:
            add_updates(training, self.optimizer, graph.params, self.states, self.gradient_norms)
            self.states.update(training.states)
        else:
            training.graph.outputs += list(training.trained.values())
        return training

    def _check(self, graph: Graph, x: np.ndarray, y: np.ndarray) -> None:
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            raise DTypeError(f"step: x is {getattr(x, 'dtype', type(x).__name__)}, needed a float32 array")
        if self.loss != "cross_entropy":
            return
        if not isinstance(y, np.ndarray) or y.dtype != np.int64:
            raise DTypeError(f"step: y is {getattr(y, 'dtype', type(y).__name__)}, needed int64 class indices; "
                             "use y.astype('int64')")
        if y.shape != x.shape[:1]:
            raise ShapeError(f"step: y has shape {y.shape}, needed one class index for each of the {len(x)} pictures")
        classes = self._classes()
        if y.min() < 0 or y.max() >= classes:
            raise DataError(f"step: labels go from {y.min()} to {y.max()}, the network has classes 0 to {classes - 1}")

    def _classes(self) -> int:
        key = id(self.model.graph), self.model.graph.outputs[0]
        if self._classes_key != key:
            spec = next(iter(self.model.outputs.values()))
            self._classes_key, self._classes_count = key, int(spec.shape[1])
        return self._classes_count

    def restore(self, states: dict[str, dict[str, np.ndarray]], steps: int) -> None:
        """Goes on from an optimizer state: see save_checkpoint."""
        self.states, self.steps = states, steps
        self._plans.clear()

    # ---- reports -----------------------------------------------------------------------------------------------
    def memory_plan(self, batch: int = 8, shape: tuple[int, ...] | None = None) -> dict[str, int]:
        """Bytes that a training step on `batch` pictures takes, by kind, before anything is allocated.

        Args: shape: input shape with the batch, if not the model's own size."""
        name = next(iter(self.model.graph.inputs))
        shape = shape or self.model.input_shapes(batch)[name]
        training = self._graph(self.model.graph, tuple(shape), self.model.trainable(), True)
        return memory_report(training, self.model.graph, get_num_threads())

    def evaluate(self, data: Iterable[tuple[np.ndarray, np.ndarray]]) -> Evaluation:
        """Loss and accuracy of the model as it is used (inference) over batches (x, y)."""
        return self._evaluate(self.model.graph, data)

    def _evaluate(self, graph: Graph, data: Iterable[tuple[np.ndarray, np.ndarray]]) -> Evaluation:
        self._follow(graph)
        result = Evaluation(classes=self._classes() if self.loss == "cross_entropy" else 0)
        view = self.model if graph is self.model.graph else Model(graph, name=self.model.name)
        for x, y in data:
            self._check(graph, x, y)
            scores = view(x)
            result.add(scores[0] if isinstance(scores, tuple) else scores, y, self.loss)
        if not result.count:
            raise DataError("evaluate: the data is empty")
        return result

    # ---- the loop ----------------------------------------------------------------------------------------------
    def fit(self, train: Any, val: Any = None, epochs: int = 1, callbacks: Sequence[Callback] = (),
            progress: bool = True, cache: bool = True, start: tuple[int, int] = (0, 0)) -> History:
        """Trains for some epochs.

        Args:
            train: batches (x, y), iterable once per epoch: an edgecnn.data.Loader or a list.
            val: batches to evaluate after each epoch, or None.
            callbacks: told of everything that happens, see edgecnn.train.callbacks.
            progress: a bar on a terminal, a line per epoch otherwise.
            cache: run a frozen beginning of the network once per picture instead of once per epoch, where the pictures are
                not augmented and the results fit into memory.
            start: epochs, and batches of the next one, that are done already (see checkpoint_info).
        Returns: History: one Epoch each.
        """
        listeners = [*([Progress()] if progress else []), *callbacks]
        features = FeatureCache.prepare(self.model, self.model.trainable(), train, val) if cache else None
        graph = features.graph if features else self.model.graph
        history = History()
        for listener in listeners:
            listener.begin(self, epochs - start[0], train)
        for number in range(start[0], epochs):
            if hasattr(train, "set_epoch"):
                train.set_epoch(number)
            batches = features.train(number) if features else train
            epoch = self._epoch(graph, batches, Epoch(number, start[1] if number == start[0] else 0), listeners)
            if val is not None:
                epoch.validation = self._evaluate(graph, features.val() if features else val)
            history.epochs.append(epoch)
            for listener in listeners:
                listener.epoch_end(self, epoch)
            if any(listener.stop for listener in listeners):
                break
        for listener in listeners:
            listener.end(self, history)
        return history

    def _epoch(self, graph: Graph, data: Any, epoch: Epoch, listeners: list[Callback]) -> Epoch:
        start = time.perf_counter()
        for x, y in itertools.islice(data, epoch.steps, None):
            before = time.perf_counter()
            loss = self._step(graph, x, y)
            epoch.add(loss, self.correct, len(x), time.perf_counter() - before)
            if not np.isfinite(loss):
                raise ModelError(f"epoch {epoch.number + 1}, step {self.steps}: the loss is {loss}; use a smaller "
                                 "learning rate or clip_norm, and check the pictures' scale")
            for listener in listeners:
                listener.step_end(self, epoch)
        if not epoch.count:
            raise DataError("fit: the training data is empty")
        epoch.seconds = time.perf_counter() - start
        return epoch
