"""Every error edgecnn raises on purpose. A message says what is wrong, where, what was received, what is allowed and
how to fix it."""


class EdgeCNNError(Exception):
    """Root of all errors raised by edgecnn."""


class ShapeError(EdgeCNNError, ValueError):
    """A shape that does not fit."""


class DTypeError(EdgeCNNError, TypeError):
    """A data type that does not fit."""


class UnsupportedError(EdgeCNNError, NotImplementedError):
    """Something edgecnn knows of and does not do; names the operator, the node and the opset."""


class ModelError(EdgeCNNError, ValueError):
    """A model file or graph that is not valid."""


class DataError(EdgeCNNError, ValueError):
    """A picture, data set or label that cannot be used."""


class CheckpointError(EdgeCNNError, ValueError):
    """A checkpoint that cannot be read or does not belong to this training."""


class ResourceError(EdgeCNNError, MemoryError):
    """Not enough memory, disk or processors."""
