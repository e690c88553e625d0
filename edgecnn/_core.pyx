# cython: language_level=3, boundscheck=False, wraparound=False
"""The only binding to the C kernels: programs of kernel steps over one arena.

Everything a kernel is given was checked by the graph layer; here pointers are put into the argument slots and the
program runs with the GIL released.
"""
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

import numpy as np

cdef extern from "edgecnn.h" nogil:
    ctypedef void (*ec_kernel)(const void *args, int tid, int nthreads)
    ctypedef struct ec_isa:
        const char *name
        int64_t lanes, mr, nr, x_block_bytes, byte_flops
        const ec_kernel *kernels
    ctypedef struct ec_signature:
        const char *name
        const char *fields
    ctypedef struct ec_step:
        ec_kernel kernel
        const void *args
        int64_t section, thread
    const ec_signature ec_signatures[]
    const int64_t ec_kernel_count
    const ec_isa *ec_isa_at(int64_t i)
    int ec_isa_supported(int64_t i)
    int64_t ec_byte_flops(const ec_isa *isa)
    ctypedef struct ec_program:
        const ec_step *steps
        int64_t n
        uint64_t *slots
        const int64_t (*patches)[2]
        const uint64_t *offsets
        int64_t n_patches
    void ec_run_portions(const ec_program *copies, int64_t n_copies, const uint64_t *buffers, const uint64_t *strides,
                         int64_t portions, int nthreads, int64_t *ns)
    void *ec_alloc(int64_t bytes)
    void ec_free(void *p, int64_t bytes)


def signatures():
    """(name, field description) of every kernel, in table order; see edgecnn.h for the description's grammar."""
    return [(ec_signatures[i].name.decode(), ec_signatures[i].fields.decode()) for i in range(ec_kernel_count)]


def isas():
    """The compiled instruction sets that this CPU runs, best first: name -> {lanes, mr, nr, x_block_bytes, byte_flops}."""
    found = {}
    cdef int64_t i = 0
    while ec_isa_at(i) != NULL:
        if ec_isa_supported(i):
            isa = ec_isa_at(i)
            found[isa.name.decode()] = {"lanes": isa.lanes, "mr": isa.mr, "nr": isa.nr,
                                        "x_block_bytes": isa.x_block_bytes, "byte_flops": ec_byte_flops(isa)}
        i += 1
    return found


cdef class Memory:
    """Zeroed float32 memory, aligned to 64 bytes, in huge pages when large; numpy.asarray(memory) is an array on it."""
    cdef float *data
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __cinit__(self, int64_t size):
        self.shape[0], self.strides[0] = size, sizeof(float)
        self.data = <float *>ec_alloc(size * sizeof(float))
        if self.data == NULL:
            raise MemoryError(f"edgecnn: {size * 4 / 1e6:.1f} MB for prepared weights are not available")

    def __dealloc__(self):
        ec_free(self.data, self.shape[0] * sizeof(float))

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        buffer.buf, buffer.obj, buffer.internal = self.data, self, NULL
        buffer.format, buffer.itemsize, buffer.readonly = "f", sizeof(float), 0
        buffer.len, buffer.ndim = self.shape[0] * sizeof(float), 1
        buffer.shape, buffer.strides, buffer.suboffsets = self.shape, self.strides, NULL


cdef const ec_isa *_isa_named(str name) except NULL:
    cdef int64_t i = 0
    while ec_isa_at(i) != NULL:
        if ec_isa_at(i).name.decode() == name and ec_isa_supported(i):
            return ec_isa_at(i)
        i += 1
    raise ValueError(f"instruction set {name!r} is not compiled in or not supported by this CPU")


cdef class Program:
    """Steps over an arena, constants, and buffers given at each run.

    Args:
        isa: name of the instruction set whose kernels run.
        kernels, starts: int64 (n,): of each step the kernel index and its first argument slot.
        lanes: int64 (n, 2): its section and thread, as in edgecnn.h.
        slots: uint64 (m,), the argument blocks; a pointer slot holds a byte offset until it is relocated.
        relocations: int64 (k, 2) pairs (slot, base): base -1 is the arena, b >= 0 the b-th constant.
        constants: uint64 addresses; `keep` holds the arrays behind them alive.
        arena_bytes: size of the arena.
        patches, offsets: (p, 2) pairs (slot, run-time buffer) and the byte offset into that buffer.
        copies: with slots and arenas of their own, so that so many threads can run portions side by side.
    """
    cdef ec_program *programs
    cdef ec_step *steps
    cdef char *arena
    cdef int64_t n, copies, arena_bytes, buffers
    cdef uint64_t[:, ::1] slots
    cdef int64_t[:, ::1] patches
    cdef uint64_t[::1] offsets
    cdef uint64_t[:, ::1] given
    cdef object constants

    def __cinit__(self, str isa, int64_t[::1] kernels, int64_t[::1] starts, int64_t[:, ::1] lanes, object slots,
                  int64_t[:, ::1] relocations, uint64_t[::1] constants, object keep, int64_t arena_bytes,
                  int64_t[:, ::1] patches, uint64_t[::1] offsets, int64_t copies=1):
        cdef const ec_isa *chosen = _isa_named(isa)
        cdef int64_t i, base, copy
        self.n, self.copies, self.arena_bytes = kernels.shape[0], copies, -(-arena_bytes // 64) * 64
        self.slots, self.constants = np.tile(np.append(slots, np.uint64(0)), (copies, 1)), keep  # never without an element
        self.patches, self.offsets = patches, offsets
        self.buffers = max((patches[i, 1] + 1 for i in range(patches.shape[0])), default=0)
        self.given = np.zeros((2, self.buffers + 1), np.uint64)  # addresses and strides, for the time of a run
        self.arena = <char *>ec_alloc(self.arena_bytes * copies)
        self.steps = <ec_step *>calloc(max(1, self.n * copies), sizeof(ec_step))
        self.programs = <ec_program *>calloc(copies, sizeof(ec_program))
        if self.arena == NULL or self.steps == NULL or self.programs == NULL:
            raise MemoryError(f"edgecnn: {self.arena_bytes * copies / 1e6:.1f} MB of working memory are not available; "
                              "use a smaller batch or a smaller picture size")
        for copy in range(copies):
            for i in range(relocations.shape[0]):
                base = relocations[i, 1]
                self.slots[copy, relocations[i, 0]] += (<uintptr_t>self.arena + copy * self.arena_bytes if base < 0
                                                        else constants[base])
            for i in range(self.n):
                step = &self.steps[copy * self.n + i]
                step.kernel, step.args = chosen.kernels[kernels[i]], &self.slots[copy, starts[i]]
                step.section, step.thread = lanes[i, 0], lanes[i, 1]
            program = &self.programs[copy]
            program.steps, program.n, program.slots = &self.steps[copy * self.n], self.n, &self.slots[copy, 0]
            program.n_patches = patches.shape[0]
            if program.n_patches:
                program.patches, program.offsets = <const int64_t (*)[2]>&self.patches[0, 0], &self.offsets[0]

    def __dealloc__(self):
        ec_free(self.arena, self.arena_bytes * self.copies)
        free(self.steps)
        free(self.programs)

    def run(self, list buffers, int nthreads, int64_t portions=1, int64_t[:, ::1] ns=None):
        """Runs all steps.

        Args:
            buffers: arrays without gaps that the patches point into; of several portions each begins a portion-th of its
                buffer's bytes after the one before.
            nthreads: how many run a portion together where there is one copy.
            ns: (copies, n), receives the nanoseconds of each step added.
        """
        cdef Py_buffer view
        cdef int64_t i
        cdef int64_t *times = &ns[0, 0] if ns is not None and self.n else NULL
        if len(buffers) < self.buffers:
            raise ValueError(f"program takes {self.buffers} buffers, got {len(buffers)}")
        if ns is not None and (ns.shape[0] != self.copies or ns.shape[1] != self.n):
            raise ValueError(f"profile takes {self.copies} x {self.n} counters")
        for i in range(self.buffers):
            PyObject_GetBuffer(buffers[i], &view, PyBUF_SIMPLE)
            self.given[0, i], self.given[1, i] = <uintptr_t>view.buf, view.len // portions
            PyBuffer_Release(&view)
        with nogil:
            ec_run_portions(self.programs, self.copies, &self.given[0, 0], &self.given[1, 0], portions, nthreads, times)
