"""Initial weights. shape is (OC, C / groups, KH, KW) of a convolution or (out, in) of a fully connected
layer, rng a numpy Generator, gain a factor on the standard deviation; the result is float32."""

from __future__ import annotations

import math

import numpy as np

from .errors import ShapeError


def fans(shape: tuple[int, ...], groups: int = 1) -> tuple[int, int]:
    """(n_in, n_out): of how many inputs an output is the sum, and to how many outputs an input goes:
    C / groups KH KW and OC / groups KH KW.

    Raises ShapeError for fewer than two axes and for OC that is no multiple of groups."""
    if len(shape) < 2 or groups < 1 or shape[0] % groups:
        raise ShapeError(f"weights of shape {shape} in {groups} groups: needed are (OC, C / groups, ...) "
                         "with OC a multiple of groups; for biases use zeros")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] // groups * window


def zeros(shape: tuple[int, ...], rng: np.random.Generator | None = None) -> np.ndarray:
    """Zeros, for biases."""
    return np.zeros(shape, np.float32)


def glorot_normal(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1,
                  gain: float = 1.0) -> np.ndarray:
    """N(0, gain sqrt(2 / (n_in + n_out))), the mean of what keeps the variance forward and backward.

    Reference: Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural
    networks, equation 12."""
    return _normal(shape, rng, gain * math.sqrt(2 / sum(fans(shape, groups))))


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1,
                   gain: float = 1.0) -> np.ndarray:
    """Uniform with the standard deviation of glorot_normal: within +-gain sqrt(6 / (n_in + n_out)).

    Reference: Glorot and Bengio 2010, equation 16."""
    return _uniform(shape, rng, gain * math.sqrt(2 / sum(fans(shape, groups))))


def he_normal(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1,
              gain: float = 1.0) -> np.ndarray:
    """N(0, gain sqrt(2 / n_in)), which keeps the variance through ReLU.

    Reference: He, Zhang, Ren, Sun 2015, Delving deep into rectifiers, equation 10."""
    return _normal(shape, rng, gain * math.sqrt(2 / fans(shape, groups)[0]))


def he_uniform(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1,
               gain: float = 1.0) -> np.ndarray:
    """Uniform with the standard deviation of he_normal: within +-gain sqrt(6 / n_in).

    Reference: He, Zhang, Ren, Sun 2015, section 2.2."""
    return _uniform(shape, rng, gain * math.sqrt(2 / fans(shape, groups)[0]))


def _normal(shape: tuple[int, ...], rng: np.random.Generator, std: float) -> np.ndarray:
    return (rng.standard_normal(shape) * std).astype(np.float32)


def _uniform(shape: tuple[int, ...], rng: np.random.Generator, std: float) -> np.ndarray:
    limit = math.sqrt(3) * std
    return rng.uniform(-limit, limit, shape).astype(np.float32)
