# cython: language_level=3, boundscheck=False, wraparound=False
"""The only binding to the C kernels: programs of kernel steps over one arena.

Everything a kernel is given was checked by the graph layer; here pointers are put into the argument slots and the
program runs with the GIL released.
"""
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

cdef extern from "edgecnn.h" nogil:
    ctypedef void (*ec_kernel)(const void *args, int tid, int nthreads)
    ctypedef struct ec_isa:
        const char *name
        int64_t lanes, mr, nr, x_block_bytes
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
    void ec_run(const ec_step *steps, int64_t n, int nthreads, int64_t *ns)
    void *ec_alloc(int64_t bytes)
    void ec_free(void *p, int64_t bytes)


def signatures():
    """(name, field description) of every kernel, in table order; see edgecnn.h for the description's grammar."""
    return [(ec_signatures[i].name.decode(), ec_signatures[i].fields.decode()) for i in range(ec_kernel_count)]


def isas():
    """The compiled instruction sets that this CPU runs, best first: name -> {lanes, mr, nr, x_block_bytes}."""
    found = {}
    cdef int64_t i = 0
    while ec_isa_at(i) != NULL:
        if ec_isa_supported(i):
            isa = ec_isa_at(i)
            found[isa.name.decode()] = {"lanes": isa.lanes, "mr": isa.mr, "nr": isa.nr,
                                        "x_block_bytes": isa.x_block_bytes}
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
        externals: how many run-time buffers `run` takes.
    """
    cdef ec_step *steps
    cdef int64_t n, arena_bytes, n_patches
    cdef char *arena
    cdef uint64_t[::1] slots
    cdef int64_t[:, ::1] patches
    cdef object constants
    cdef int externals
    cdef uint64_t[::1] offsets

    def __cinit__(self, str isa, int64_t[::1] kernels, int64_t[::1] starts, int64_t[:, ::1] lanes, uint64_t[::1] slots,
                  int64_t[:, ::1] relocations, uint64_t[::1] constants, object keep, int64_t arena_bytes,
                  int64_t[:, ::1] patches, uint64_t[::1] offsets, int externals):
        cdef const ec_isa *chosen = _isa_named(isa)
        cdef int64_t i, base
        self.n, self.arena_bytes = kernels.shape[0], arena_bytes
        self.slots, self.constants, self.externals = slots, keep, externals
        self.patches, self.offsets, self.n_patches = patches, offsets, patches.shape[0]
        self.arena = <char *>ec_alloc(arena_bytes)
        self.steps = <ec_step *>calloc(max(1, self.n), sizeof(ec_step))
        if self.arena == NULL or self.steps == NULL:
            raise MemoryError(f"edgecnn: {arena_bytes / 1e6:.1f} MB of working memory are not available; "
                              "use a smaller batch or a smaller picture size")
        for i in range(relocations.shape[0]):
            base = relocations[i, 1]
            slots[relocations[i, 0]] += <uintptr_t>self.arena if base < 0 else constants[base]
        for i in range(self.n):
            self.steps[i].kernel = chosen.kernels[kernels[i]]
            self.steps[i].args = &slots[starts[i]]
            self.steps[i].section, self.steps[i].thread = lanes[i, 0], lanes[i, 1]

    def __dealloc__(self):
        ec_free(self.arena, self.arena_bytes)
        free(self.steps)

    def run(self, uint64_t[::1] pointers, int nthreads):
        """Runs all steps. pointers: addresses of the run-time buffers, which the caller keeps alive."""
        cdef int64_t i
        if pointers.shape[0] != self.externals:
            raise ValueError(f"program takes {self.externals} buffers, got {pointers.shape[0]}")
        for i in range(self.n_patches):
            self.slots[self.patches[i, 0]] = self.offsets[i] + pointers[self.patches[i, 1]]
        with nogil:
            ec_run(self.steps, self.n, nthreads, NULL)

    def profile(self, uint64_t[::1] pointers, int nthreads, int64_t[::1] ns):
        """Like run, adding the nanoseconds of each step to ns (n,)."""
        cdef int64_t i
        if ns.shape[0] != self.n or pointers.shape[0] != self.externals:
            raise ValueError(f"profile takes {self.externals} buffers and {self.n} counters")
        for i in range(self.n_patches):
            self.slots[self.patches[i, 0]] = self.offsets[i] + pointers[self.patches[i, 1]]
        with nogil:
            ec_run(self.steps, self.n, nthreads, &ns[0])
