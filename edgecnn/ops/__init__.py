"""The registry of operators, filled by the existence of files in this folder."""

import importlib
import pkgutil

from .base import ROWS_OF_THREAD, Lane, Node, Op, Rows, TensorSpec

__all__ = ["ROWS_OF_THREAD", "Lane", "Node", "Op", "Rows", "TensorSpec", "all_ops", "get_op", "has_op"]

_registry: dict[str, Op] = {}


def _subclasses(cls: type[Op]):
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
for _cls in _subclasses(Op):
    if "name" in vars(_cls):
        _registry[_cls.name] = _cls()


def has_op(name: str) -> bool:
    return name in _registry


def get_op(name: str) -> Op:
    return _registry[name]


def all_ops() -> dict[str, Op]:
    return dict(_registry)
