"""Modules: networks written in Python. A module is a Model whose graph is traced from its forward."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelError
from ..graph.ir import Graph
from ..model import Model
from ..ops import TensorSpec


class Tensor:
    """A value while a module is traced: what forward gets and returns. Supports +, -, * and what layers do with it."""

    def __init__(self, graph: Graph, value: str, scope: str = ""):
        self.graph, self.value = graph, value

    def apply(self, op: str, *others: Any, name: str = "", outputs: int = 1, **attrs: Any) -> Any:
        """The result of an operator on this tensor and further inputs (tensors, arrays as constants, None); a list of
        tensors if it has several."""
        values = self.graph.emit(op, [self.value, *map(self._value, others)], outputs, name, **attrs)
        return Tensor(self.graph, values) if outputs == 1 else [Tensor(self.graph, value) for value in values]

    def _value(self, other: Any) -> str | None:
        if other is None or isinstance(other, str):
            return other
        return other.value if isinstance(other, Tensor) else self.graph.constant(np.asarray(other, np.float32))

    def __add__(self, other: Any) -> Tensor:
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> Tensor:
        return self.apply("Sub", other)

    def __mul__(self, other: Any) -> Tensor:
        return self.apply("Mul", other)

    __radd__, __rmul__ = __add__, __mul__

    def expect(self, *shape: int | None) -> None:
        """If this is the network's input, whose shape nobody told, it is this one."""
        spec = self.graph.inputs.get(self.value)
        if spec is not None and not spec.shape:
            self.graph.inputs[self.value] = TensorSpec(tuple(shape))


class Module(Model):
    """Base of networks written in Python: set layers and float32 arrays (parameters) as attributes, write forward.

    A parameter's name is its path, `layer1.0.conv1.weight`. Everything a Model can do works: calling it with an array,
    freeze, save, export_onnx, a Trainer.
    """

    input_shape: tuple[int | None, ...] = ()

    def __init__(self) -> None:
        super().__init__(name=type(self).__name__)
        self._prefix = ""

    @property
    def graph(self) -> Graph:
        if self._graph is None:
            self._graph = self._trace()
        return self._graph

    def _trace(self) -> Graph:
        g = Graph(inputs={"input": TensorSpec(self.input_shape)})
        self._register(g, "")
        result = self.forward(Tensor(g, "input"))
        if not g.inputs["input"].shape:
            g.inputs["input"] = TensorSpec((None, None, None, None))
        results = result if isinstance(result, (tuple, list)) else (result,)
        g.outputs = [r.value for r in results]
        g.verify()
        return g

    def _register(self, g: Graph, prefix: str) -> None:
        """Gives every parameter below this module its name in the graph."""
        self._prefix = prefix
        for name, child in self.parts():
            if isinstance(child, Module):
                child._register(g, f"{prefix}{name}.")
            else:
                g.params[f"{prefix}{name}"] = child

    def parts(self) -> list[tuple[str, Any]]:
        """Names and values of the child modules and parameters, in the order in which they were set."""
        return [(k, v) for k, v in vars(self).items()
                if isinstance(v, Module) or (isinstance(v, np.ndarray) and v.dtype == np.float32)]

    def path(self, name: str = "") -> str:
        """Full name of a parameter of this module, or of the module itself."""
        return f"{self._prefix}{name}" if name else self._prefix[:-1]

    def forward(self, x: Tensor) -> Any:
        """The tensors that this module makes of x; to be written by subclasses."""
        raise ModelError(f"{type(self).__name__} has no forward(self, x)")

    def __call__(self, *inputs: Any) -> Any:
        if inputs and isinstance(inputs[0], Tensor):
            return self.forward(*inputs)
        return super().__call__(*inputs)


class Sequential(Module):
    """Modules one after the other; also Sequential(("name", module), ...)."""

    def __init__(self, *modules: Any):
        super().__init__()
        self._order: list[str] = []
        for i, item in enumerate(modules):
            name, module = item if isinstance(item, tuple) else (str(i), item)
            if not isinstance(module, Module):
                raise ModelError(f"Sequential: item {i} is a {type(module).__name__}, needed an nn.Module")
            setattr(self, name, module)
            self._order.append(name)

    def forward(self, x: Tensor) -> Tensor:
        for name in self._order:
            x = getattr(self, name)(x)
        return x
