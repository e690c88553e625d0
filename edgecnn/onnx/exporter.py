"""From a Graph to an ONNX file. Whether a static value is written as attribute or as input, onnx's own schema of the
wanted opset says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelError, UnsupportedError
from ..graph.ir import Graph
from ..ops import Node, Op, TensorSpec, get_op

OLDEST = 13


def export_model(graph: Graph, opset: int = 17, name: str = "edgecnn", class_names: list[str] | None = None,
                 preprocessing: str | None = None, specs: Mapping[str, TensorSpec] | None = None,
                 edge_types: Mapping[str, str] | None = None) -> Any:
    """An onnx.ModelProto of the network with its parameters under their own names, checked by onnx.

    specs: what is known of the shapes of values, those of the results for where onnx's own shape inference does not
    find them. edge_types: inputs and outputs that callers see as float64 or float16.

    Raises: ModelError for an opset that is not offered; UnsupportedError for an operator that ONNX lacks there."""
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise ModelError(f"export: opset {opset}, allowed are {OLDEST} to {newest} (the installed onnx {onnx.__version__})")
    g = _in_opset(graph, opset, specs or {})
    _cast_edges(g, edge_types or {})
    extra: dict[str, np.ndarray] = {}
    nodes = [_node(g, node, opset, extra) for node in g.nodes]
    _name_apart(nodes)
    used = {i for n in nodes for i in n.input} | set(g.outputs)
    arrays = {k: v for k, v in {**g.params, **g.constants, **extra}.items() if k in used}
    proto = helper.make_graph(
        nodes, name, [_value(n, spec) for n, spec in g.inputs.items()],
        [_value(o, g.spec_or_none(o)) for o in g.outputs],
        [numpy_helper.from_array(np.asarray(a, order="C"), n) for n, a in arrays.items()])
    version = [helper.make_opsetid("", opset)]
    model = helper.make_model(proto, opset_imports=version, producer_name="edgecnn",
                              ir_version=helper.find_min_ir_version_for(version))
    _add_output_shapes(model)
    if class_names is not None:
        model.metadata_props.add(key="edgecnn.class_names", value=json.dumps(class_names))
    if preprocessing is not None:
        model.metadata_props.add(key="edgecnn.preprocessing", value=preprocessing)
    onnx.checker.check_model(model, full_check=True)
    return model


def _in_opset(graph: Graph, opset: int, specs: Mapping[str, TensorSpec]) -> Graph:
    """A copy in which every node exists at this opset."""
    g = graph.copy()
    g.specs.update(specs)
    for node in list(g.nodes):
        get_op(node.op).export_form(g, node, opset)
    g.sort()
    for node in g.nodes:
        if _schema(node, opset) is None:
            newer = _newer(node, opset, lambda schema: True)
            raise UnsupportedError(f"export: ONNX opset {opset} has no form for {node}{newer}")
    return g


def _newer(node: Node, opset: int, can: Callable[[Any], bool]) -> str:
    """The end of a message: the oldest opset after this one whose schema of the node can do it."""
    newer = range(opset + 1, onnx.defs.onnx_opset_version() + 1)
    found = next((v for v in newer if (schema := _schema(node, v)) and can(schema)), None)
    return f"; use opset {found}" if found else ""


def _cast_edges(g: Graph, types: Mapping[str, str]) -> None:
    """Inside, all numbers are float32."""
    computed = g.producers()
    for edge, dtype in types.items():
        if edge not in g.inputs and edge not in computed:
            continue  # a constant, in its own type already
        inner = g.fresh(f"{edge}_float32")
        for node in g.nodes:
            node.inputs, node.outputs = ([inner if v == edge else v for v in values]
                                         for values in (node.inputs, node.outputs))
        if edge in g.inputs:
            g.nodes.insert(0, Node("Cast", [edge], [inner], {"to": TensorProto.FLOAT}))
            g.inputs[edge] = replace(g.inputs[edge], dtype=dtype)
        else:
            g.nodes.append(Node("Cast", [inner], [edge], {"to": _type(dtype)}))
            if edge in g.specs:
                g.specs[edge] = replace(g.specs[edge], dtype=dtype)


def _name_apart(nodes: list[Any]) -> None:
    """onnxruntime wants node names to differ; a module that is used twice has given its name twice."""
    taken: set[str] = set()
    for node in nodes:
        base, i = node.name, 0
        while node.name in taken:
            i += 1
            node.name = f"{base}_{i}"
        taken.update([node.name] if base else [])


def _schema(node: Node, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(node.op, opset) if get_op(node.op).onnx else None
    except onnx.defs.SchemaError:
        return None


def _node(g: Graph, node: Node, opset: int, extra: dict[str, np.ndarray]) -> Any:
    op, schema = get_op(node.op), _schema(node, opset)
    inputs, attributes = list(node.inputs), {}
    if len(inputs) > schema.max_input:
        newer = _newer(node, opset, lambda schema: len(inputs) <= schema.max_input)
        raise UnsupportedError(f"export: {node} takes computed {op.formal(len(inputs) - 1)}, ONNX opset {opset} fixed "
                               f"ones only{newer}")
    for key, value in node.attrs.items():
        if value is None:
            continue
        if key in schema.attributes:
            attributes[key] = _as_attribute(value, schema.attributes[key].type)
            continue
        index = _index(op, schema, key)
        if index is None:
            if value == op.attrs.get(key):
                continue
            newer = _newer(node, opset, partial(_takes, op, key))
            raise UnsupportedError(f"export: {node} has {key}={value}, which ONNX opset {opset} cannot say{newer}")
        inputs += [""] * (index + 1 - len(inputs))
        inputs[index] = g.fresh(f"{node.outputs[0]}_{key}")
        extra[inputs[index]] = _as_input(value, schema.inputs[index].type_str)
    return helper.make_node(node.op, inputs, node.outputs, name=node.name, **attributes)


def _index(op: Op, schema: Any, key: str) -> int | None:
    """Which input the schema has for a static value."""
    return next((i for i, formal in enumerate(op.inputs[:len(schema.inputs)]) if formal.rstrip("?*") == key), None)


def _takes(op: Op, key: str, schema: Any) -> bool:
    return key in schema.attributes or _index(op, schema, key) is not None


def _as_attribute(value: Any, kind: Any) -> Any:
    if kind == onnx.defs.OpSchema.AttrType.TENSOR:
        return numpy_helper.from_array(np.asarray(value))
    return value.tolist() if isinstance(value, np.ndarray) else value


def _as_input(value: Any, type_name: str) -> np.ndarray:
    """A static value in the type that the schema's input wants: `T` is the data's type."""
    array = np.asarray(value)
    if type_name == "tensor(bool)" or array.dtype == bool:
        return array.astype(bool)
    return array.astype(np.float32 if type_name == "T" or array.dtype.kind == "f" else np.int64)


def _value(name: str, spec: TensorSpec | None) -> Any:
    if spec is None:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    shape = [d if isinstance(d, int) else d or ("N" if i == 0 else f"dim{i}") for i, d in enumerate(spec.shape)]
    return helper.make_tensor_value_info(name, _type(spec.dtype), shape)


def _type(dtype: str) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _add_output_shapes(model: Any) -> None:
    inferred = onnx.shape_inference.infer_shapes(model)
    for mine, found in zip(model.graph.output, inferred.graph.output, strict=True):
        if found.type.tensor_type.HasField("shape"):
            mine.CopyFrom(found)
