"""A network that can be called, changed, saved: the graph with what is needed to use it."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import init
from .config import get_num_threads
from .errors import DTypeError, ModelError, ShapeError
from .graph.bands import in_bands
from .graph.ir import Graph, format_shape, specialise
from .graph.passes import dead_code, optimise
from .graph.plan import Plan, program_memory
from .graph.portions import images_at_once, side_by_side
from .graph.serialise import from_bytes, to_bytes, write_atomically
from .graph.training import freeze_constants
from .ops import Node, TensorSpec
from .preprocessing import Preprocessing

PLANS_KEPT = 4


class Model:
    """A network with its parameters, class names and preprocessing. Calling it is inference, always.

    Args:
        graph: the network; its params are the master copies of the weights.
        class_names: names of the classes in the order of the scores, or None.
        preprocessing: how a picture becomes the input, or None.
        name: for reports.

    Attributes: default_size: height and width where neither the graph nor the preprocessing says them.
    """

    default_size: tuple[int, int] = (224, 224)

    def __init__(self, graph: Graph | None = None, class_names: list[str] | None = None,
                 preprocessing: Preprocessing | None = None, name: str = "model"):
        self._graph = graph
        self.class_names, self.preprocessing, self.name = class_names, preprocessing, name
        self.frozen: set[str] = set()
        self.edge_types: dict[str, str] = {}  # inputs and outputs that callers see as float64 or float16
        self._plans: OrderedDict[tuple, Plan] = OrderedDict()
        self._recent: tuple[int, Plan] | None = None  # the threads and the plan of the last call

    # ---- what it is --------------------------------------------------------------------------------------------
    @property
    def graph(self) -> Graph:
        assert self._graph is not None
        return self._graph

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """Name -> shape and dtype; a free dimension is None or a name."""
        return {n: TensorSpec(s.shape, self.edge_types.get(n, s.dtype)) for n, s in self.graph.inputs.items()}

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """Name -> shape and dtype; what follows from free dimensions is None."""
        specs = self._specs()
        return {o: TensorSpec(specs[o].shape, self.edge_types.get(o, specs[o].dtype)) for o in self.graph.outputs}

    def _specs(self) -> dict[str, TensorSpec]:
        """Shape and dtype of every value; what follows from free dimensions is None."""
        graph, shapes = self._constant_graph(), self.input_shapes()
        larger = {name: tuple(n if isinstance(free, int) or axis == 1 else 2 * n
                              for axis, (n, free) in enumerate(zip(shapes[name], spec.shape, strict=True)))
                  for name, spec in self.graph.inputs.items()}
        one = specialise(graph, shapes)
        try:
            two = specialise(graph, larger)
        except ShapeError:  # it takes pictures of one size
            two = specialise(graph, self.input_shapes(2))
        values = [*self.graph.inputs, *self.graph.outputs, *(o for node in self.graph.nodes for o in node.outputs if o)]
        return {v: TensorSpec(tuple(a if a == b else None for a, b in zip(one.spec(v).shape, two.spec(v).shape,
                                                                          strict=True)), one.spec(v).dtype)
                for v in values}

    def input_shapes(self, batch: int = 1) -> dict[str, tuple[int, ...]]:
        """Concrete input shapes: free batch as given, free height and width as the preprocessing says (or default_size)."""
        size = (self.preprocessing.size if self.preprocessing else None) or self.default_size
        shapes = {}
        for name, spec in self.graph.inputs.items():
            guess = (batch, 3, *size)
            shapes[name] = tuple(d if isinstance(d, int) else guess[i] if i < 4 else 1 for i, d in enumerate(spec.shape))
        return shapes

    # ---- running -----------------------------------------------------------------------------------------------
    def __call__(self, *inputs: np.ndarray) -> Any:
        """Inference: running statistics, no dropout.

        Args:
            inputs: float32 arrays in the order of `inputs`, images as (N, C, H, W).
        Returns:
            The output array, or a tuple of them when the network has several. Same bits for any number of threads.
        Raises:
            ShapeError, DTypeError when an input does not fit.
        Notes:
            A file's float64 and float16 inputs and outputs keep their types; what is between is computed in float32.
        """
        outputs = self._run(inputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inference by names: input name -> array; returns output name -> array."""
        if set(inputs) != set(self.graph.inputs):
            raise ModelError(f"run: got inputs {sorted(inputs)}, the network takes {sorted(self.graph.inputs)}")
        return dict(zip(self.graph.outputs, self._run(tuple(inputs[n] for n in self.graph.inputs)), strict=True))

    def _run(self, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        types = self.edge_types
        if not types:
            if self._recent is not None and self._recent[0] == get_num_threads() and self._recent[1].fits(inputs):
                return self._recent[1].execute(inputs)
            return self._plan(inputs).run(*inputs)
        names = [*self.graph.inputs, *[""] * len(inputs)]
        inputs = tuple(x.astype(np.float32) if isinstance(x, np.ndarray) and types.get(n) == str(x.dtype) else x
                       for n, x in zip(names, inputs, strict=False))
        outputs = self._plan(inputs).run(*inputs)
        return [y.astype(types.get(n, y.dtype), copy=False) for n, y in zip(self.graph.outputs, outputs, strict=True)]

    def _plan(self, inputs: tuple[np.ndarray, ...]) -> Plan:
        key: tuple = (get_num_threads(), *map(_shape_of, inputs))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._compile(inputs)
            while len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        self._recent = key[0], plan
        return plan

    def _compile(self, inputs: tuple[np.ndarray, ...]) -> Plan:
        specs = self.graph.inputs
        if len(inputs) != len(specs):
            raise ShapeError(f"{self.name}: got {len(inputs)} inputs, the network takes {len(specs)}: {', '.join(specs)}")
        for (name, spec), x in zip(specs.items(), inputs, strict=True):
            if not isinstance(x, np.ndarray):
                raise DTypeError(f"input {name!r}: got {type(x).__name__}, needed a numpy array of {spec.dtype}")
            if str(x.dtype) != spec.dtype:
                raise DTypeError(f"input {name!r}: got {x.dtype}, needed {spec.dtype}; use x.astype('{spec.dtype}')")
        return self.plan({name: x.shape for name, x in zip(specs, inputs, strict=True)})

    def plan(self, shapes: dict[str, tuple[int, ...]], options: dict[str, Any] | None = None) -> Plan:
        """The network compiled for inference at these input shapes with its present weights."""
        graph, threads, portions, copies = self._portion(shapes)
        return Plan(graph, threads, options, portions, copies)

    def memory_plan(self, batch: int = 1) -> dict[str, int]:
        """Bytes that inference on `batch` pictures takes, by kind, before a plan is made; `total` is the sum of the others,
        `folded weights` are those that optimisation has changed, kept beside the parameters."""
        graph, threads, _, copies = self._portion(self.input_shapes(batch))
        own = {id(a) for a in self.graph.params.values()}
        report = {"parameters": sum(a.nbytes for a in self.graph.params.values()),
                  "folded weights": sum(a.nbytes for a in graph.constants.values() if id(a) not in own),
                  **program_memory(graph, threads, copies)}
        return {**report, "total": sum(report.values())}

    def _portion(self, shapes: dict[str, tuple[int, ...]]) -> tuple[Graph, int, int, int]:
        """The optimised graph of as many images as go through the network at once; how many threads share it, how often it
        runs, and how many copies of it run side by side."""
        constant, threads, portions = self._constant_graph(), get_num_threads(), 1
        graph = optimise(specialise(constant, shapes))
        batch, images = max((shape[0] for shape in shapes.values() if shape), default=0), images_at_once(graph)
        if images < batch and not any(isinstance(spec.shape[0], int) for spec in constant.inputs.values()):
            graph = optimise(specialise(constant, {name: (images, *shape[1:]) for name, shape in shapes.items()}))
            portions = batch // images
        copies = side_by_side(portions, threads)
        threads = 1 if copies > 1 else threads
        return in_bands(graph, threads), threads, portions, copies

    def _constant_graph(self) -> Graph:
        return freeze_constants(self.graph, ())

    def changed(self) -> None:
        """To be called after weights were written in place: plans made with the old ones are dropped."""
        self._plans.clear()
        self._recent = None

    # ---- parameters --------------------------------------------------------------------------------------------
    def trainable(self) -> list[str]:
        """Names of the parameters that training would change, in the order of the network."""
        return [p for p in self.graph.trainable() if p not in self.frozen]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and running statistics by name."""
        return {name: array.copy() for name, array in self.graph.params.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copies values in. Raises ModelError, listing everything that is missing, unknown or of another shape; then
        nothing was changed."""
        params = self.graph.params
        wrong = [f"missing {n}" for n in params if n not in state] + [f"unknown {n}" for n in state if n not in params]
        wrong += [f"{n}: got {np.shape(state[n])}, needed {a.shape}" for n, a in params.items()
                  if n in state and np.shape(state[n]) != a.shape]
        if wrong:
            raise ModelError(f"load_state_dict: {'; '.join(wrong)}")
        for name, array in params.items():
            array[...] = state[name]
        self.changed()

    def freeze(self, until: str | None = None) -> None:
        """Keeps everything up to and including `until` as it is in training.

        Args:
            until: a tensor, a node, or a layer (the beginning of parameter names such as "layer3"); None freezes all but
                the last layer with parameters (the classifier).
        """
        g = self.graph
        if until is None:
            last = self._head()
            kept = {i for i in last.inputs if i in g.params}
            self.frozen = {p for p in g.trainable() if p not in kept}
            return
        reached = set().union(*(self._ancestors(node) for node in self._find(until)))
        self.frozen = {p for p in g.trainable()
                       if any(p in n.inputs for n in g.nodes if id(n) in reached)}

    def unfreeze(self) -> None:
        """Lets training change every parameter."""
        self.frozen = set()

    def _find(self, name: str) -> list[Node]:
        """The node that computes tensor `name`, else all that are called so or have parameters that start so."""
        def matches(node: Node) -> bool:
            return name == node.name or any(i == name or i.startswith(name + ".") for i in node.inputs
                                            if i in self.graph.params)

        found = [n for n in self.graph.nodes if name in n.outputs] or [n for n in self.graph.nodes if matches(n)]
        if not found:
            layers = list(dict.fromkeys(p.rsplit(".", 1)[0] for p in self.graph.trainable()))
            raise ModelError(f"{self.name} has no tensor, node or layer {name!r}; layers are {', '.join(layers[:40])}")
        return found

    def _ancestors(self, node: Node) -> set[int]:
        """ids of the node and of all nodes it depends on."""
        wanted, found = set(node.inputs), {id(node)}
        for n in reversed(self.graph.nodes):
            if wanted.intersection(n.outputs):
                wanted.update(n.inputs)
                found.add(id(n))
        return found

    def _head(self) -> Node:
        nodes = [n for n in self.graph.nodes if self.graph.op(n).output_axes(n) and any(
            i in self.graph.params for i in n.inputs)]
        if not nodes:
            raise ModelError(f"{self.name} has no layer with weights")
        return nodes[-1]

    def features(self, tensor: str) -> Model:
        """The part of the network that ends at a tensor (or a node or layer), sharing the weights."""
        g = self.graph.copy()
        node = self._find(tensor)[-1]
        g.outputs = [tensor if tensor in node.outputs else node.outputs[0]]
        dead_code.run(g)
        part = Model(g, None, self.preprocessing, f"{self.name}:{g.outputs[0]}")
        part.frozen = self.frozen & set(g.params)
        part.edge_types = dict(self.edge_types)
        return part

    def replace_head(self, num_classes: int, class_names: list[str] | None = None, seed: int = 0) -> None:
        """Gives the last layer with weights `num_classes` outputs: Glorot-normal weights, zero bias.

        The parameters keep their names. Raises ModelError if the result is not a valid network."""
        if num_classes < 1 or (class_names is not None and len(class_names) != num_classes):
            raise ModelError(f"replace_head: {num_classes} classes and {class_names and len(class_names)} names")
        g, head = self.graph, self._head()
        op, old = g.op(head), dict(g.params)
        width = None
        for node in g.nodes[next(i for i, n in enumerate(g.nodes) if n is head):]:
            for index, value in enumerate(node.inputs):
                formal, added = g.op(node).formal(index), node is not head and g.op(node).adds
                axis = -1 if added else g.op(node).output_axes(node).get(formal)
                if value not in g.params or axis is None or not g.params[value].ndim:
                    continue
                shape = list(g.params[value].shape)
                axis %= len(shape)
                width = width or shape[axis]
                if shape[axis] != width:
                    continue
                shape[axis] = num_classes
                rng = np.random.default_rng(seed)
                weights = node is head and op.formal(index) == next(iter(op.output_axes(head)))
                g.params[value] = _head_weights(rng, shape, axis) if weights else np.zeros(shape, np.float32)
        try:
            specialise(self._constant_graph(), self.input_shapes())
        except ShapeError as error:
            g.params = old
            raise ModelError(f"replace_head: {self.name} does not take another number of classes: {error}") from None
        self.class_names = class_names
        self.changed()

    # ---- reports -----------------------------------------------------------------------------------------------
    def summary(self, batch: int = 1) -> str:
        """A table of layers: output shape, parameters, multiply-accumulates; totals and memory below."""
        g = specialise(self.graph, self.input_shapes(batch))
        rows = [("layer", "output", "parameters", "MMAC")]
        seen: set[str] = set()
        for node in g.nodes:
            mine = [i for i in node.inputs if i in self.graph.params and i not in seen]
            seen.update(mine)
            flops = g.flops(node)
            rows.append((str(node), format_shape(g.spec(node.outputs[0]).shape),
                         f"{sum(g.params[i].size for i in mine):,}", f"{flops / 2e6:,.2f}"))
        widths = [max(len(r[i]) for r in rows) for i in range(4)]
        lines = ["  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
                 for r in rows]
        lines.insert(1, "-" * len(lines[0]))
        memory = self.plan(self.input_shapes(batch)).arena_bytes
        total = sum(a.size for a in self.graph.params.values())
        macs = self.macs(batch)
        lines.append(f"{total:,} parameters ({total * 4 / 1e6:.1f} MB), {macs / 1e6:,.1f} MMAC, "
                     f"working memory {memory / 1e6:.1f} MB for batch {batch}")
        return "\n".join(lines)

    def macs(self, batch: int = 1) -> int:
        """Multiply-accumulates of one inference."""
        g = specialise(self.graph, self.input_shapes(batch))
        return sum(g.flops(n) for n in g.nodes if g.op(n).parameters) // 2

    # ---- files -------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike) -> None:
        """Writes the native `.ecnn` file, whole or not at all."""
        info = {"name": self.name, "class_names": self.class_names, "frozen": sorted(self.frozen),
                "edge_types": self.edge_types,
                "preprocessing": self.preprocessing.to_json() if self.preprocessing else None}
        write_atomically(path, to_bytes(self.graph, info))

    def export_onnx(self, path: str | os.PathLike, opset: int = 17) -> None:
        """Writes an ONNX file with dynamic batch; class names and preprocessing go into its metadata."""
        from .onnx import export_model

        proto = export_model(self.graph, opset=opset, name=self.name, class_names=self.class_names,
                             preprocessing=self.preprocessing.to_json() if self.preprocessing else None,
                             specs=self._specs(), edge_types=self.edge_types)
        write_atomically(path, proto.SerializeToString())


def _shape_of(x: Any) -> Any:
    """Shape and dtype of an array; something else is told apart by its type and refused when the plan is made."""
    return (x.shape, x.dtype.char) if isinstance(x, np.ndarray) else type(x)


def _head_weights(rng: np.random.Generator, shape: list[int], axis: int) -> np.ndarray:
    """Glorot-normal weights whose output channels lie along `axis` instead of 0."""
    first = [shape[axis], *(n for i, n in enumerate(shape) if i != axis)]
    return np.ascontiguousarray(np.moveaxis(init.glorot_normal(tuple(first), rng), 0, axis))


def load(source: Any, constants: Mapping[str, Any] | None = None) -> Model:
    """A model from an .onnx or .ecnn path, the bytes of such a file, or an onnx.ModelProto.

    Args:
        source: where the network is.
        constants: values for inputs of an ONNX file that are fixed now and are no inputs of the model any more. Inputs
            of integers or booleans (sizes, axes, a training flag) have to be: what follows from them is computed at load.
    Raises:
        ModelError for a missing, truncated or foreign file, or constants that the file does not take; UnsupportedError
        with every operator that edgecnn lacks.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}); give the path of an .onnx or .ecnn file") from None
        return _from_bytes(data, str(path), path.stem, path.parent, constants)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source), "bytes", "model", None, constants)
    if hasattr(source, "graph") and hasattr(source, "opset_import"):
        return _from_onnx(source, "ModelProto", "model", None, constants)
    raise ModelError(f"load: got {type(source).__name__}, needed a path, bytes or an onnx.ModelProto")


def _from_bytes(data: bytes, source: str, name: str, folder: Path | None, constants: Mapping[str, Any] | None) -> Model:
    if len(data) > 16 and data[8:10] == b'{"':  # safetensors: a header length, then JSON
        if constants:
            raise ModelError(f"{source}: constants are for ONNX files; in an .ecnn file they have been fixed")
        return _model(*from_bytes(data, source), name)
    return _from_onnx(data, source, name, folder, constants)


def _from_onnx(source: Any, where: str, name: str, folder: Path | None, constants: Mapping[str, Any] | None) -> Model:
    from .onnx import import_model

    return _model(*import_model(source, where, folder, constants), name)


def _model(graph: Graph, info: dict[str, Any], name: str) -> Model:
    preprocessing = info.get("preprocessing")
    model = Model(graph, info.get("class_names"), preprocessing and Preprocessing.from_json(preprocessing),
                  info.get("name", name))
    model.frozen = set(info.get("frozen", ()))
    model.edge_types = dict(info.get("edge_types", {}))
    return model
