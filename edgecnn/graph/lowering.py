"""From a graph to kernel steps: decides where values lie and collects the steps that operators emit."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core
from ..config import chosen_isa
from ..errors import EdgeCNNError, UnsupportedError
from ..ops import Lane, Node, TensorSpec, get_op
from ..ops.view import Arg, Buffer, View, channels_last, collapse, extent, image_strides, row_major
from .ir import Graph

ITEM = {"float32": 4, "int64": 8}
C_TYPES = {"float": "float32", "int64_t": "int64"}
SERIAL_BELOW = 200_000  # FLOPs or half bytes: one to five us on a fast core; a second one must be woken and joined


SERIAL = Lane(0, 0)  # of little work


@dataclass(frozen=True)
class Field:
    """One field of a kernel's arguments: kind is "<" in, ">" out, "=" both, "i" int64, "f" double."""

    kind: str
    name: str
    dtype: str
    count: int


def _parse(description: str) -> list[Field]:
    fields = []
    for word in description.split():
        kind, rest = word[0], word[1:].split(":")
        if kind in "<>=":
            fields.append(Field(kind, rest[0], C_TYPES[rest[1]], int(rest[2])))
        else:
            fields.append(Field(kind, rest[0], "", int(rest[1]) if kind == "i" else 1))
    return fields


KERNELS = {name: (index, _parse(fields)) for index, (name, fields) in enumerate(_core.signatures())}


@dataclass
class Step:
    """One call of a kernel. lane: None if the threads share it; cost as in Lowering.emit, algorithm as chosen for its node,
    "" where there is no choice."""

    kernel: str
    args: dict[str, Any]
    lane: Lane | None
    node: Node | None
    cost: float
    algorithm: str


class Lowering:
    """What an operator's `lower` works with.

    Attributes: isa (the constants of edgecnn.h's ec_isa), threads (the number that runs the present node), steps,
    algorithm (an operator that chooses between several says here which, for reports)."""

    def __init__(self, graph: Graph, threads: int, options: dict[str, Any] | None = None):
        self.graph, self.options = graph, options or {}
        self._threads = threads
        self.isa_name, self.isa = chosen_isa()
        self.steps: list[Step] = []
        self.once: list[Step] = []
        self.kept_bytes = 0
        self.algorithm = ""
        self.buffers: list[Buffer] = []
        self.externals: dict[str, int] = {}
        self._views: dict[str, View] = {}
        self._images: dict[tuple[str, Lane | None], View] = {}
        self._placed: dict[str, View] = {}
        self._uses = graph.uses()
        self._readers: Counter = Counter()  # uses still to come of each buffer, by id
        self._prepared: dict[tuple, View] = {}
        self._node: Node | None = None
        self._live = {id(a) for a in graph.params.values()}

    @property
    def threads(self) -> int:
        return 1 if self._node and self._node.lane else self._threads

    # ---- values ------------------------------------------------------------------------------------------------
    def spec(self, value: str) -> TensorSpec:
        return self.graph.spec(value)

    def input(self, value: str) -> View:
        """Where a value lies, whatever its strides."""
        if value not in self._views:
            array = self.graph.value_of(value)
            if array is None:
                raise EdgeCNNError(f"{self._node}: value {value!r} was not lowered")
            self._views[value] = self.constant(array)
        return self._views[value]

    def image(self, value: str) -> View:
        """A 4-D value with the channels of a pixel side by side; copied if it lies otherwise, by each lane for itself: lanes
        do not wait for each other."""
        view, lane = self.input(value), self._node.lane if self._node else None
        if view.is_image:
            return view
        if (value, lane) not in self._images:
            self._images[value, lane] = self.copy(view, self.temp(view.shape, strides=image_strides(view.shape)))
        return self._images[value, lane]

    def output(self, value: str, over: str = "", strides: tuple[int, ...] | None = None) -> View:
        """Memory for a node's output: its place in a larger value, else the memory of input `over` if nobody reads that
        afterwards and the strides agree with the default layout, else new memory. strides: of new memory, if not those of
        image_strides."""
        spec = self.spec(value)
        if value in self._placed:
            return self._bind(value, self._placed[value])
        if over and spec.dtype == "float32":
            old = self.input(over)
            if self.may_overwrite(over) and old.shape == spec.shape and old.strides == image_strides(spec.shape):
                return self._bind(value, old)
        return self._bind(value, self.temp(spec.shape, spec.dtype, strides or image_strides(spec.shape)))

    def may_overwrite(self, value: str) -> bool:
        """Whether the memory behind `value` is free after the present node: nobody reads it later, no other input of the
        node lies in it, and it is no constant or user memory."""
        buffer = self.input(value).buffer
        if self._node and self._node.lane != buffer.lane:
            return False  # other lanes may still read it
        mine = [v for v in self._node.inputs if v in self._views and self._views[v].buffer is buffer] if self._node else []
        return (buffer.data is None and buffer.external is None and mine == [value]
                and self._readers[id(buffer)] == 1)

    def alias(self, value: str, view: View) -> None:
        """The output lies where `view` says: no step needed. A placed output is copied to its place."""
        if value in self._placed:
            self.copy(view, self._bind(value, self._placed[value]))
        else:
            self._bind(value, view)

    def place(self, value: str, view: View) -> bool:
        """In `Op.place`: lets `value` be computed right into `view`. False if it already has a place or is no computed
        value, then the caller copies."""
        if value in self._placed or value in self.graph.inputs or self.graph.value_of(value) is not None:
            return False
        self._placed[value] = view
        return True

    def placed(self, value: str) -> View | None:
        return self._placed.get(value)

    def reserve(self, value: str) -> View:
        """In `Op.place`: the memory of an output, fixed before the operators that write into it are lowered."""
        if value not in self._placed:
            spec = self.spec(value)
            self._placed[value] = self.temp(spec.shape, spec.dtype, image_strides(spec.shape))
        return self._placed[value]

    def _bind(self, value: str, view: View) -> View:
        self._views[value] = view
        self._readers[id(view.buffer)] += self._uses[value]
        return view

    # ---- memory ------------------------------------------------------------------------------------------------
    def temp(self, shape: tuple[int, ...], dtype: str = "float32", strides: tuple[int, ...] | None = None) -> View:
        """New arena memory, channels last without gaps if not told otherwise, alive from its first to its last step."""
        strides = strides or channels_last(tuple(shape))
        buffer = Buffer(extent(shape, strides) * ITEM[dtype], label=self._node.outputs[0] if self._node else "")
        self.buffers.append(buffer)
        return View(buffer, tuple(shape), strides, 0, dtype)

    def constant(self, array: np.ndarray) -> View:
        """Memory outside the arena, as the array lies (row-major). Steps that write to it change the array."""
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        return View(Buffer(array.nbytes, data=array), array.shape, row_major(array.shape), 0, str(array.dtype))

    def external(self, name: str, spec: TensorSpec) -> View:
        """Row-major memory that is given at each run."""
        buffer = Buffer(0, external=self.externals.setdefault(name, len(self.externals)))
        return View(buffer, tuple(spec.shape), row_major(tuple(spec.shape)), 0, spec.dtype)

    # ---- steps -------------------------------------------------------------------------------------------------
    def is_constant(self, view: View) -> bool:
        """Whether the memory behind a view never changes while the program lives: results of it can be kept."""
        return view.buffer.data is not None and id(view.buffer.data) not in self._live

    def keep(self, size: int) -> View:
        """Float memory that outlives a run, for what is prepared once."""
        self.kept_bytes += 4 * size
        return self.constant(np.asarray(_core.Memory(size)))

    def prepare(self, source: View, what: Any, size: int, write: Callable[[View, bool], None]) -> View:
        """`size` floats that write(memory, once) makes from `source`. Where that is constant, when the plan is made and for
        all who ask for the same (`what`); else at each run."""
        if not self.is_constant(source):
            memory = self.temp((size,))
            write(memory, False)
            return memory
        key = (id(source.buffer.data), source.shape, source.strides, source.offset, what)
        if key not in self._prepared:
            self._prepared[key] = self.keep(size)
            write(self._prepared[key], True)
        return self._prepared[key]

    def emit(self, kernel: str, cost: float, once: bool = False, **args: Any) -> None:
        """Adds a step. args by the names of kernels.def: a View or Arg for a pointer (None for NULL), numbers, tuples.

        cost: the larger of its FLOPs and half its bytes; little work runs on one thread.
        once: run it when the plan is made, not at every run; all its buffers are constants or from `keep`."""
        fields, lane = KERNELS[kernel][1], self._node.lane if self._node else None
        names = {f.name for f in fields}
        if names != set(args):
            raise EdgeCNNError(f"kernel {kernel} takes {sorted(names)}, got {sorted(args)}")
        for field in fields:
            value = args[field.name]
            if field.kind in "<>=" and value is not None:
                view = value.view if isinstance(value, Arg) else value
                strides = value.strides if isinstance(value, Arg) else ()
                if view.dtype != field.dtype or len(strides) != field.count:
                    raise EdgeCNNError(f"kernel {kernel}: {field.name} wants {field.dtype} with {field.count} strides, "
                                       f"got {view.dtype} with {len(strides)}")
                view.buffer.used_at(len(self.steps), lane)
        steps = self.once if once else self.steps
        if lane is None and cost < SERIAL_BELOW:
            lane = SERIAL
        steps.append(Step(kernel, args, lane, self._node, cost, self.algorithm))

    @staticmethod
    def loops(rank: int, *views: View) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """The loops that walk views of one shape together, ordered by the last one's strides and padded in front to
        `rank`: sizes, and each view's strides."""
        sizes, strides = collapse(views[0].shape, *views)
        if len(sizes) > rank:
            raise EdgeCNNError(f"{len(sizes)} loops are needed, a kernel has {rank}")
        lead = rank - len(sizes)
        return (1,) * lead + tuple(sizes), [(0,) * lead + tuple(s) for s in strides]

    def copy(self, src: View, dst: View, once: bool = False) -> View:
        """dst = src, shapes equal, any strides; once as in emit. Returns dst."""
        if src.dtype != "float32":
            where = self._node or f"the result of shape {src.shape}"
            raise UnsupportedError(f"{where}: {src.dtype} values cannot be computed or returned, only float32; end the "
                                   "network before them")
        sizes, (s, d) = self.loops(6, src, dst)
        self.emit("copy", 2 * src.size, once, x=Arg(src, s), y=Arg(dst, d), dims=sizes)
        return dst

    def fill(self, dst: View, value: float) -> None:
        sizes, (d,) = self.loops(6, dst)
        self.emit("fill", 2 * dst.size, y=Arg(dst, d), dims=sizes, value=value)

    def row_major(self, value: str) -> View:
        """A value in logical order without gaps, as parameters lie; copied if it lies otherwise."""
        view = self.input(value)
        flat = view.reshape((view.size,))
        if flat is not None and flat.stride(0) == 1:
            return view
        return self.copy(view, self.temp(view.shape, strides=row_major(view.shape)))

    def run(self) -> None:
        """Lowers the whole graph: inputs and outputs first, placements from the outputs up, then the nodes in order."""
        for name, spec in self.graph.inputs.items():
            self._bind(name, self.external(name, spec))
        outputs = {name: self.external("output:" + name, self.spec(name)) for name in self.graph.outputs
                   if self.graph.value_of(name) is None}
        for name, view in outputs.items():
            if view.strides == channels_last(view.shape) or view.dtype != "float32":  # only floats can be copied
                self.place(name, view)
        for node in reversed(self.graph.nodes):
            self._node = node
            get_op(node.op).place(self, node)
        for node in self.graph.nodes:
            self._node, self.algorithm = node, ""
            if not self._has_nothing_to_do(node):
                get_op(node.op).lower(self, node)
            for value in node.inputs:
                if value and value in self._views:
                    self._readers[id(self._views[value].buffer)] -= 1
        self._node, self.algorithm = None, ""
        for name, view in outputs.items():
            if self._views[name].buffer is not view.buffer:
                self.copy(self._views[name], view)
        self._outlive_sections()

    def _outlive_sections(self) -> None:
        """What lanes share lives as long as the section: they run at the same time, each at its own pace."""
        sections: dict[int, list[int]] = {}
        for i, step in enumerate(self.steps):
            if step.lane and step.lane.section:
                sections.setdefault(step.lane.section, []).append(i)
        for steps in sections.values():
            for buffer in self.buffers:
                if buffer.lane is None and buffer.first <= steps[-1] and steps[0] <= buffer.last:
                    buffer.first, buffer.last = min(buffer.first, steps[0]), max(buffer.last, steps[-1])

    def _has_nothing_to_do(self, node: Node) -> bool:
        """Whether no result has elements; then they only get their places."""
        results = [o for o in node.outputs if o]
        if not results or any(self.spec(o).size for o in results):
            return False
        for value in results:
            self._bind(value, self.temp(self.spec(value).shape, self.spec(value).dtype))
        return True

    def program(self, steps: list[Step], arena_bytes: int, copies: int = 1) -> Any:
        """The runnable program of some steps, or copies of it; the memory plan must have set the offsets."""
        slots: list[bytes] = []
        relocations: list[tuple[int, int]] = []
        patches: list[tuple[int, int, int]] = []
        constants: dict[int, tuple[int, np.ndarray]] = {}
        starts = []
        for step in steps:
            starts.append(len(slots))
            for field in KERNELS[step.kernel][1]:
                value = step.args[field.name]
                if field.kind in "<>=":
                    self._pack_pointer(field, value, slots, relocations, patches, constants)
                elif field.kind == "i":
                    values = value if isinstance(value, (tuple, list)) else (value,)
                    if len(values) != field.count:
                        raise EdgeCNNError(f"kernel {step.kernel}: {field.name} takes {field.count} values")
                    slots += [struct.pack("<q", int(v)) for v in values]
                else:
                    slots.append(struct.pack("<d", float(value)))
        bases = [a for _, a in constants.values()]
        return _core.Program(
            self.isa_name,
            np.array([KERNELS[s.kernel][0] for s in steps], np.int64), np.array(starts, np.int64),
            np.array([(s.lane.section, s.lane.thread) if s.lane else (-1, -1) for s in steps], np.int64).reshape(-1, 2),
            np.frombuffer(b"".join(slots), np.uint64).copy(),
            np.array(relocations, np.int64).reshape(-1, 2),
            np.array([a.ctypes.data for a in bases], np.uint64), bases, arena_bytes,
            np.array([p[:2] for p in patches], np.int64).reshape(-1, 2),
            np.array([p[2] for p in patches], np.uint64), copies)

    def _pack_pointer(self, field: Field, value: Any, slots: list[bytes], relocations: list, patches: list,
                      constants: dict) -> None:
        if value is None:
            slots += [struct.pack("<q", 0)] * (1 + field.count)
            return
        view, strides = (value.view, value.strides) if isinstance(value, Arg) else (value, ())
        offset = view.offset * ITEM[view.dtype]
        buffer = view.buffer
        if buffer.external is not None:
            patches.append((len(slots), buffer.external, offset))
        elif buffer.data is not None:
            index = constants.setdefault(id(buffer.data), (len(constants), buffer.data))[0]
            relocations.append((len(slots), index))
        else:
            offset += buffer.offset
            relocations.append((len(slots), -1))
        slots.append(struct.pack("<q", offset))
        slots += [struct.pack("<q", s) for s in strides]
