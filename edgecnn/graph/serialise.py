"""The native file `.ecnn`: a safetensors file. Its tensors are the parameters and constants by name; its metadata holds
`edgecnn` (the format's version) and `graph`, a JSON object:

    {"inputs": {name: [shape, dtype]}, "outputs": [names], "params": [names],
     "nodes": [[op, inputs, outputs, attributes, name]], "info": {...}}

A free dimension is null or a string; an attribute that is an array is {"array": [values], "dtype": name}; an infinite
float is {"float": "inf"}. `info` is what the caller wants to travel with the network. Nothing in the file is executed,
and loading needs numpy and safetensors only."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ..errors import ModelError
from ..ops import Node, TensorSpec
from .ir import Graph

VERSION = 1


def to_bytes(g: Graph, info: dict[str, Any]) -> bytes:
    tensors = {name: np.asarray(a, order="C") for name, a in {**g.params, **g.constants}.items()}
    graph = {
        "inputs": {name: [list(s.shape), s.dtype] for name, s in g.inputs.items()},
        "outputs": g.outputs,
        "params": list(g.params),
        "nodes": [[n.op, n.inputs, n.outputs, {k: _encode(v) for k, v in n.attrs.items()}, n.name] for n in g.nodes],
        "info": info,
    }
    return safetensors.numpy.save(tensors, {"edgecnn": str(VERSION), "graph": json.dumps(graph)})


def from_bytes(data: bytes, source: str) -> tuple[Graph, dict[str, Any]]:
    """Raises ModelError, naming `source`, when the bytes are not a valid native file."""
    try:
        tensors = safetensors.numpy.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8:8 + length]).get("__metadata__", {})
        if metadata.get("edgecnn") != str(VERSION):
            raise ModelError(f"{source}: format version {metadata.get('edgecnn')!r}, this edgecnn reads {VERSION}; "
                             "export it again with the present version")
        g, info = _decode_graph(json.loads(metadata["graph"]), tensors)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{source}: not a valid .ecnn file ({error}); it may be truncated, copy it again") from None
    g.verify()
    return g, info


def _decode_graph(graph: dict[str, Any], tensors: dict[str, np.ndarray]) -> tuple[Graph, dict[str, Any]]:
    params = set(graph["params"])
    g = Graph(
        inputs={name: TensorSpec(tuple(shape), dtype) for name, (shape, dtype) in graph["inputs"].items()},
        outputs=list(graph["outputs"]),
        nodes=[Node(op, ins, outs, {k: _decode(v) for k, v in attrs.items()}, name)
               for op, ins, outs, attrs, name in graph["nodes"]],
        params={name: tensors[name] for name in graph["params"]},
        constants={name: a for name, a in tensors.items() if name not in params})
    return g, graph["info"]


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"array": [_encode(v) for v in value.ravel().tolist()], "dtype": str(value.dtype), "shape": value.shape}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, np.generic):
        return _encode(value.item())
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and "array" in value:
        return np.array([_decode(v) for v in value["array"]], value["dtype"]).reshape(value["shape"])
    if isinstance(value, dict) and "float" in value:
        return float(value["float"])
    return value


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file so that a power cut leaves either the old or the new one, never half of it."""
    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
