"""ReduceMean."""

from .reduce_sum import ReduceSum


class ReduceMean(ReduceSum):
    """The mean over `axes`, chosen as in ReduceSum."""

    name = "ReduceMean"
    mean = True
