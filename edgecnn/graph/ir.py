"""The graph: nodes over named values, with parameters and constants; and its verification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import ModelError, ShapeError, UnsupportedError
from ..ops import Node, Op, TensorSpec, get_op, has_op


@dataclass
class Graph:
    """A network: SSA values by name, nodes in an order in which every input is defined before its use.

    Attributes:
        inputs: what is given at run time; a free dimension is None or a name.
        outputs: names of the results.
        nodes: operations, topologically ordered.
        params: master copies of the state, float32, by stable name: weights and running statistics.
        constants: other known values.
        specs: shapes of values, complete only in a graph specialised to one input shape; in others None stands for what is
            not known of them.
    """

    inputs: dict[str, TensorSpec] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    specs: dict[str, TensorSpec] = field(default_factory=dict)
    _names: Counter = field(default_factory=Counter)

    # ---- building ----------------------------------------------------------------------------------------------
    def fresh(self, base: str) -> str:
        """A value name not yet taken."""
        taken = self._names
        if not taken:
            taken.update([*self.inputs, *self.params, *self.constants, *(o for n in self.nodes for o in n.outputs)])
        name, i = base, 0
        while name in taken:
            i += 1
            name = f"{base}_{i}"
        taken[name] += 1
        return name

    def constant(self, value, base: str = "const") -> str:
        name = self.fresh(base)
        self.constants[name] = np.asarray(value)
        return name

    def emit(self, op: str, inputs: Iterable[str | None], outputs: int | list[str] = 1, name: str = "",
             **attrs: Any) -> Any:
        """Appends a node and infers its shapes if what they follow from is known.

        Returns the output name, or the list of them when there are several. A None input is an absent one; absent ones
        at the end are left out (onnxruntime fuses a convolution with an empty bias no more)."""
        ins = [i or "" for i in inputs]
        while ins and not ins[-1]:
            ins.pop()
        base = name or op.lower()
        outs = outputs if isinstance(outputs, list) else [self.fresh(base) for _ in range(outputs)]
        node = Node(op, ins, outs, attrs, name)
        self.nodes.append(node)
        if self._infers(node):
            self.infer_node(node)
        return outs[0] if len(outs) == 1 else outs

    def _infers(self, node: Node) -> bool:
        """Whether all is known that the shapes of a node's outputs follow from."""
        op = get_op(node.op)
        given = {i: self.spec_or_none(value) for i, value in enumerate(node.inputs) if value}
        return all(spec and None not in spec.shape and op.formal(i) not in op.static for i, spec in given.items())

    # ---- reading -----------------------------------------------------------------------------------------------
    def spec_or_none(self, value: str) -> TensorSpec | None:
        if value in self.specs:
            return self.specs[value]
        array = self.value_of(value)
        return TensorSpec(array.shape, str(array.dtype)) if array is not None else None

    def spec(self, value: str) -> TensorSpec:
        spec = self.spec_or_none(value)
        if spec is None:
            raise ModelError(f"the shape of value {value!r} is not known")
        return spec

    def value_of(self, value: str) -> np.ndarray | None:
        """The array behind a parameter or constant, None for anything computed."""
        found = self.params.get(value)
        return found if found is not None else self.constants.get(value)

    def op(self, node: Node) -> Op:
        return get_op(node.op)

    def input_specs(self, node: Node) -> list[TensorSpec | None]:
        return [self.spec(i) if i else None for i in node.inputs]

    def flops(self, node: Node) -> int:
        return get_op(node.op).flops(node, self.input_specs(node), [self.spec(o) for o in node.outputs if o])

    def producers(self) -> dict[str, Node]:
        return {out: node for node in self.nodes for out in node.outputs if out}

    def uses(self) -> Counter:
        """How often each value is read, an output of the graph counting once more."""
        return Counter([i for n in self.nodes for i in n.inputs if i] + self.outputs)

    def trainable(self) -> list[str]:
        """Names of the parameters that training may change, in the order of the network."""
        wanted = self.wanted(lambda op, formal, array: op.is_parameter(formal, array))
        return [name for name in self.params if name in wanted]

    def wanted(self, test: Callable[[Op, str, np.ndarray], bool]) -> set[str]:
        """Known values of which `test(op, formal input name, array)` holds for some reader, seen through views."""
        found: set[str] = set()
        known = {name: name for name in (*self.params, *self.constants)}
        for node in self.nodes:
            if get_op(node.op).is_view and node.inputs[0] in known:
                known[node.outputs[0]] = known[node.inputs[0]]
        for node in self.nodes:
            op = get_op(node.op)
            for index, value in enumerate(node.inputs):
                source = known.get(value)
                array = self.value_of(source) if source else None
                if source and array is not None and test(op, op.formal(index), array):
                    found.add(source)
        return found

    # ---- changing ----------------------------------------------------------------------------------------------
    def infer_node(self, node: Node) -> None:
        specs = get_op(node.op).infer(node, self.input_specs(node))
        for out, spec in zip(node.outputs, specs, strict=False):
            if out:
                self.specs[out] = spec

    def replace_value(self, old: str, new: str) -> None:
        """Lets every reader of `old` read `new`; the caller removes the node that computed `old`.

        An output of the graph keeps its name: the node that computes `new` takes it over."""
        producer = self.producers().get(new) if old in self.outputs and new not in self.outputs else None
        if producer is not None:
            producer.outputs = [old if o == new else o for o in producer.outputs]
            self.specs[old] = self.specs[new]
            old, new = new, old
        elif old in self.outputs:
            self.nodes.append(Node("Identity", [new], [old], name=old))
        for node in self.nodes:
            node.inputs = [new if i == old else i for i in node.inputs]

    def remove(self, dead: Iterable[Node]) -> None:
        gone = {id(n) for n in dead}
        self.nodes = [n for n in self.nodes if id(n) not in gone]

    def sort(self) -> None:
        """Restores topological order, keeping the present one where it may."""
        defined = {*self.inputs, *self.params, *self.constants, ""}
        waiting, ordered = self.nodes, []
        while waiting:
            left = []
            for node in waiting:
                if all(i in defined for i in node.inputs):
                    ordered.append(node)
                    defined.update(node.outputs)
                else:
                    left.append(node)
            if len(left) == len(waiting):
                missing = sorted({i for n in left for i in n.inputs} - defined - {o for n in left for o in n.outputs})
                raise ModelError(f"graph: {left[0]} waits for {missing or 'itself (a cycle)'}, which nothing defines")
            waiting = left
        self.nodes = ordered

    def copy(self) -> Graph:
        """A copy whose nodes and tables can be changed; arrays are shared."""
        return Graph(dict(self.inputs), list(self.outputs),
                     [replace(n, inputs=list(n.inputs), outputs=list(n.outputs), attrs=dict(n.attrs)) for n in self.nodes],
                     dict(self.params), dict(self.constants), dict(self.specs))

    # ---- checking ----------------------------------------------------------------------------------------------
    def verify(self) -> None:
        """Raises ModelError or UnsupportedError if the graph is not well formed; run after every pass."""
        unknown = [str(n) for n in self.nodes if not has_op(n.op)]
        if unknown:
            raise UnsupportedError(f"operators that edgecnn does not have: {', '.join(unknown)}")
        defined = Counter([*self.inputs, *self.params, *self.constants])
        for node in self.nodes:
            op = get_op(node.op)
            for value in node.inputs:
                if value and value not in defined:
                    raise ModelError(f"{node} reads {value!r}, which is not defined before it")
            if len(node.inputs) > len(op.inputs) and not op.inputs[-1].endswith("*"):
                raise ModelError(f"{node} has {len(node.inputs)} inputs, at most {len(op.inputs)} are allowed")
            extra = set(node.attrs) - set(op.attrs) - set(op.static)
            if extra:
                raise ModelError(f"{node} has unknown attributes {sorted(extra)}, allowed: {sorted(op.attrs)}")
            defined.update(o for o in node.outputs if o)
        twice = [v for v, n in defined.items() if n > 1]
        if twice:
            raise ModelError(f"values defined more than once: {twice}")
        undefined = [o for o in self.outputs if o not in defined]
        if undefined:
            raise ModelError(f"outputs {undefined} are not computed by any node")


def specialise(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> Graph:
    """A copy of the graph for one set of input shapes: every shape known, static inputs turned into attributes, shape
    arithmetic and other constant parts evaluated.

    Raises ShapeError when the network cannot take these shapes, UnsupportedError when a static input depends on data.
    """
    g = graph.copy()
    g.specs = {}
    for name, spec in graph.inputs.items():
        shape = tuple(shapes[name])
        if len(shape) != len(spec.shape) or any(isinstance(w, int) and w != s
                                                for w, s in zip(spec.shape, shape, strict=False)):
            raise ShapeError(f"input {name!r}: got shape {shape}, the network takes {format_shape(spec.shape)}")
        g.inputs[name] = g.specs[name] = TensorSpec(shape, spec.dtype)
    kept = []
    for node in g.nodes:
        _resolve_static(g, node)
        if not _fold(g, node):
            g.infer_node(node)
            _refuse_empty(g, node)
            kept.append(node)
    g.nodes = kept
    return g


def _refuse_empty(g: Graph, node: Node) -> None:
    """Kernels need not know what to make of nothing."""
    empty = [i for i in node.inputs if i and g.spec(i).size == 0]
    if empty and not get_op(node.op).accepts_empty and any(g.spec(o).size for o in node.outputs if o):
        raise ShapeError(f"{node}: its input {empty[0]!r} is empty: {g.spec(empty[0]).shape}")


def _resolve_static(g: Graph, node: Node) -> None:
    op = get_op(node.op)
    for index, value in enumerate(node.inputs):
        formal = op.formal(index)
        if not value or formal not in op.static:
            continue
        array = g.value_of(value)
        if array is None:
            raise UnsupportedError(f"{node}: input {formal!r} ({value}) depends on the data that the network is given; "
                                   "edgecnn needs it to follow from the input's shape alone")
        node.attrs[formal] = array
        node.inputs[index] = ""
    while node.inputs and not node.inputs[-1]:
        node.inputs.pop()


def _fold(g: Graph, node: Node) -> bool:
    """Evaluates a node whose inputs are constants; parameters are not: they change. What has no elements is constant."""
    op = get_op(node.op)
    arrays = [_known(g, i) for i in node.inputs]
    if op.shape_only:
        arrays = [np.broadcast_to(np.float32(0), g.spec(i).shape) for i in node.inputs]
    elif any(i and a is None for i, a in zip(node.inputs, arrays, strict=True)):
        return False
    results = op.evaluate(node, *arrays)
    if results is None:
        return False
    g.constants.update(zip(node.outputs, (np.asarray(r) for r in results), strict=False))
    return True


def _known(g: Graph, value: str) -> np.ndarray | None:
    if value in g.constants or not value or g.spec(value).size:
        return g.constants.get(value)
    return np.empty(g.spec(value).shape, g.spec(value).dtype)


def format_shape(shape: tuple) -> str:
    return "(" + ", ".join("any" if d is None else str(d) for d in shape) + ")"
