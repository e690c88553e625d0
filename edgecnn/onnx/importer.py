"""From an ONNX file to a Graph. Operators keep their ONNX names and attributes; what an operator means at an older opset,
its own file knows (`Op.from_onnx`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from ..errors import ModelError, UnsupportedError
from ..graph.ir import Graph, format_shape
from ..ops import Node, TensorSpec, get_op, has_op

DOMAINS = ("", "ai.onnx")
INPUT_TYPES = ("float32", "int64")
CONSTANT_KINDS = {"value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64,
                  "value_ints": np.int64}
OTHER_FLOATS = ("float64", "float16", "bfloat16")  # computed in float32
FLOATS = ("float32", *OTHER_FLOATS)


def import_model(source: bytes | Any, where: str, folder: Path | None,
                 constants: Mapping[str, Any] | None = None) -> tuple[Graph, dict[str, Any]]:
    """Graph and info (class_names, preprocessing, edge_types) of an ONNX model.

    Args: source: the file's bytes or a ModelProto; where: its name for messages; folder: where external data lies;
        constants: values of inputs that are fixed now.
    Raises: ModelError for a damaged file or constants that do not fit; UnsupportedError listing every operator that
        cannot be used.
    """
    proto = _parse(source, where) if isinstance(source, bytes) else source
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    _load_external(proto, where, folder)
    opset = _opset(proto, where)
    if proto.graph.sparse_initializer:
        raise UnsupportedError(f"{where}: sparse weights are not supported; export the network with dense ones")
    given = {t.name: _array(t, where) for t in proto.graph.initializer} | _bound(proto, where, constants or {})
    g = Graph(_inputs(proto, where, given), [o.name for o in proto.graph.output], constants=given)
    problems: list[str] = []
    for item in proto.graph.node:
        problems += _add_node(g, item, opset)
    if problems:
        raise UnsupportedError(f"{where} (opset {opset}) cannot be used:\n  " + "\n  ".join(problems))
    _narrow(g)
    _find_parameters(g)
    g.sort()
    g.verify()
    return g, _info(proto, where)


def _parse(data: bytes, where: str) -> Any:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
        valid = bool(proto.graph.node) or bool(proto.graph.output)
    except Exception:
        valid = False
    if not valid:
        raise ModelError(f"{where}: not an ONNX or .ecnn file, or truncated ({len(data)} bytes); copy or export it again")
    return proto


def _opset(proto: Any, where: str) -> int:
    opset = next((o.version for o in proto.opset_import if o.domain in DOMAINS), 1)
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UnsupportedError(f"{where}: opset {opset}, the installed onnx {onnx.__version__} knows opsets up to {newest}; "
                               "export the network with an older opset, or install a newer onnx")
    return opset


def _load_external(proto: Any, where: str, folder: Path | None) -> None:
    """Reads weights that lie in files next to the network's."""
    data = onnx.external_data_helper
    files = sorted({entry.value for t in proto.graph.initializer if data.uses_external_data(t)
                    for entry in t.external_data if entry.key == "location"})
    if files and folder is None:
        raise ModelError(f"{where}: its weights lie in further files ({', '.join(files)}); load the network by its path, "
                         "not from bytes or an object")
    try:
        data.load_external_data_for_model(proto, str(folder))
    except Exception as error:
        raise ModelError(f"{where}: its weights lie in {', '.join(files)}, which cannot be read ({error}); keep the files "
                         "together") from None


def _array(tensor: Any, where: str) -> np.ndarray:
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:
        raise ModelError(f"{where}: tensor {tensor.name!r} is damaged ({error}); copy or export the file again") from None
    return np.array(array)


def _narrow(g: Graph) -> None:
    """Constants become float32, except results that are known already and that nothing else reads."""
    read = {i for node in g.nodes for i in node.inputs}
    with np.errstate(over="ignore"):  # too large for float32: infinite, as a file in float32 would have it
        for name, array in g.constants.items():
            if array.dtype.name in OTHER_FLOATS and (name in read or name not in g.outputs):
                g.constants[name] = array.astype(np.float32)


def _dtype(value: Any) -> str:
    """Name of the numpy type of a ValueInfoProto, "none" if it is no tensor."""
    kind = value.type.tensor_type.elem_type
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind else "none"


def _shape(value: Any) -> tuple:
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else (d.dim_param or None)
                 for d in value.type.tensor_type.shape.dim)


def _inputs(proto: Any, where: str, given: Mapping[str, Any]) -> dict[str, TensorSpec]:
    inputs = {}
    for value in proto.graph.input:
        if value.name in given:
            continue
        dtype = _dtype(value)
        if dtype not in (*INPUT_TYPES, *OTHER_FLOATS):
            raise UnsupportedError(f"{where}: input {value.name!r} is {dtype}, allowed are {', '.join(INPUT_TYPES)}; export "
                                   f"it as float32, or fix its value: load(..., constants={{{value.name!r}: array}})")
        if not value.type.tensor_type.HasField("shape"):
            raise UnsupportedError(f"{where}: the file does not say how many axes input {value.name!r} has; export it with "
                                   "its shape, free sizes may be names")
        inputs[value.name] = TensorSpec(_shape(value), "float32" if dtype in OTHER_FLOATS else dtype)
    return inputs


def _bound(proto: Any, where: str, constants: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The values that the user fixes, in the types and shapes that the file declares."""
    declared = {v.name: v for v in proto.graph.input}
    bound = {}
    for name, value in constants.items():
        if name not in declared:
            raise ModelError(f"{where}: constants has {name!r}, the inputs are {', '.join(declared)}")
        array, shape, dtype = np.asarray(value), _shape(declared[name]), _dtype(declared[name])
        fits = len(shape) == array.ndim and all(not isinstance(w, int) or w == n
                                                for w, n in zip(shape, array.shape, strict=True))
        if dtype == "none" or not fits or not np.can_cast(array.dtype, dtype, "same_kind"):
            raise ModelError(f"{where}: constants[{name!r}] is {array.dtype} {array.shape}, the input is {dtype} "
                             f"{format_shape(shape)}")
        bound[name] = array.astype(dtype)
    return bound


def _add_node(g: Graph, item: Any, opset: int) -> list[str]:
    """Appends a node (or evaluates a constant one); returns what is wrong with it."""
    label = f"{item.op_type} (node {item.name or ', '.join(item.output)})"
    known = item.domain in DOMAINS and has_op(item.op_type) and get_op(item.op_type).onnx
    if item.op_type == "Constant" and item.domain in DOMAINS:
        return _add_constant(g, item, label)
    constant = all(i in g.constants for i in item.input if i) and item.domain in DOMAINS and bool(item.input)
    weight = constant and known and get_op(item.op_type).is_view and g.constants[item.input[0]].dtype.name in FLOATS
    if constant and not weight and _evaluate(g, item, opset):
        return []
    if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in item.attribute):
        return [f"{label}: it holds a network of its own, run or not as the data say; edgecnn runs one fixed sequence of "
                "operators: export without control flow"]
    if not known:
        domain = f" of domain {item.domain}" if item.domain not in DOMAINS else ""
        return [f"{label}{domain}: edgecnn has no such operator"]
    op = get_op(item.op_type)
    node = Node(item.op_type, list(item.input), list(item.output), {a.name: _attribute(a) for a in item.attribute},
                item.name)
    if len(node.inputs) > len(op.inputs) and not op.inputs[-1].endswith("*"):
        return [f"{label}: {len(node.inputs)} inputs, edgecnn knows {len(op.inputs)}"]
    for index, value in enumerate(node.inputs):
        if op.formal(index) in op.static and value in g.constants:
            node.attrs[op.formal(index)] = g.constants[value]
            node.inputs[index] = ""
    while node.inputs and not node.inputs[-1]:
        node.inputs.pop()
    op.from_onnx(node, opset)
    extra = sorted(set(node.attrs) - set(op.attrs) - set(op.static))
    reason = f"attributes {extra} are not known" if extra else op.unsupported(node)
    g.nodes.append(node)
    return [f"{label}: {reason}"] if reason else []


def _add_constant(g: Graph, item: Any, label: str) -> list[str]:
    kind = item.attribute[0].name if item.attribute else "no value"
    if kind not in CONSTANT_KINDS:
        return [f"{label}: {kind} is not supported, only dense numbers are"]
    g.constants[item.output[0]] = np.asarray(_attribute(item.attribute[0]), CONSTANT_KINDS[kind])
    return []


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return tuple(value)
    return value


def _evaluate(g: Graph, item: Any, opset: int) -> bool:
    """Folds a node of constants with onnx's own reference implementation."""
    from onnx.reference import ReferenceEvaluator

    if item.op_type.startswith("Random") or any(a.type == onnx.AttributeProto.GRAPH for a in item.attribute):
        return False
    names = list(dict.fromkeys(i for i in item.input if i))
    values = [onnx.helper.make_value_info(n, onnx.TypeProto()) for n in names]
    outputs = [onnx.helper.make_value_info(o, onnx.TypeProto()) for o in item.output if o]
    graph = onnx.helper.make_graph([item], "constant", values, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        results = ReferenceEvaluator(model).run(None, {n: g.constants[n] for n in names})
    except Exception:
        return False
    g.constants.update(zip((o for o in item.output if o), map(np.asarray, results), strict=True))
    return True


def _find_parameters(g: Graph) -> None:
    """Moves the constants that are weights or running statistics to the parameters, in the order of the network."""
    state = g.wanted(lambda op, formal, array: array.dtype == np.float32 and (
        op.is_parameter(formal, array) or formal in op.buffers))
    order: dict[str, None] = {}
    for node in g.nodes:
        order.update(dict.fromkeys(i for i in node.inputs if i in state))
    for name in order:
        g.params[name] = np.ascontiguousarray(g.constants.pop(name)).copy()


def _info(proto: Any, where: str) -> dict[str, Any]:
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    info: dict[str, Any] = {"preprocessing": properties.get("edgecnn.preprocessing")}
    info["edge_types"] = {v.name: _dtype(v) for v in (*proto.graph.input, *proto.graph.output)
                          if _dtype(v) in OTHER_FLOATS[:2]}
    if "edgecnn.class_names" in properties:
        try:
            info["class_names"] = json.loads(properties["edgecnn.class_names"])
        except ValueError:
            raise ModelError(f"{where}: metadata edgecnn.class_names is not valid JSON; export the file again") from None
    return info
