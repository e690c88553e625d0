"""The arena planner never lets two live buffers overlap, and wastes little."""

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.graph.memory import ALIGNMENT, plan_arena
from edgecnn.ops.view import Buffer

lifetimes = st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 8))


@given(st.lists(lifetimes, max_size=30))
def test_live_buffers_do_not_overlap(items):
    buffers = [Buffer(size, first=first, last=first + length) for size, first, length in items]
    total = plan_arena(buffers)
    for i, a in enumerate(buffers):
        assert a.offset % ALIGNMENT == 0 and a.offset + a.nbytes <= total
        for b in buffers[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset


@given(st.lists(lifetimes, min_size=1, max_size=30))
def test_at_least_what_is_alive_at_once(items):
    buffers = [Buffer(size, first=first, last=first + length) for size, first, length in items]
    padded = {id(b): -(-b.nbytes // ALIGNMENT) * ALIGNMENT for b in buffers}
    needed = max(sum(padded[id(b)] for b in buffers if b.first <= t <= b.last) for t in range(30))
    assert needed <= plan_arena(buffers) <= sum(padded.values())


def test_a_chain_needs_two_buffers():
    chain = [Buffer(1024, first=i, last=i + 1) for i in range(10)]
    assert plan_arena(chain) == 2 * 1024


def test_unused_buffers_take_nothing():
    assert plan_arena([Buffer(4096)]) == 0
