"""Initial weights. shape is (OC, C / groups, KH, KW) of a convolution or (out, in) of a fully connected layer; rng a
numpy Generator; the result is float32."""

from __future__ import annotations

import math

import numpy as np


def fans(shape: tuple[int, ...], groups: int = 1) -> tuple[int, int]:
    """(n_in, n_out): inputs that an output sums over, outputs that an input goes to: C/groups KH KW and OC/groups KH KW."""
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] // groups * window


def glorot_normal(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1, gain: float = 1.0) -> np.ndarray:
    """N(0, gain sqrt(2 / (n_in + n_out))) (Glorot and Bengio 2010, Understanding the difficulty of training deep
    feedforward neural networks, equation 12)."""
    return _normal(shape, rng, gain * math.sqrt(2 / sum(fans(shape, groups))))


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1, gain: float = 1.0) -> np.ndarray:
    """Uniform in +-gain sqrt(6 / (n_in + n_out)) (Glorot and Bengio 2010, equation 16)."""
    return _uniform(shape, rng, gain * math.sqrt(6 / sum(fans(shape, groups))))


def he_normal(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1, gain: float = 1.0) -> np.ndarray:
    """N(0, gain sqrt(2 / n_in)), for ReLU (He, Zhang, Ren, Sun 2015, Delving deep into rectifiers, equation 10)."""
    return _normal(shape, rng, gain * math.sqrt(2 / fans(shape, groups)[0]))


def he_uniform(shape: tuple[int, ...], rng: np.random.Generator, groups: int = 1, gain: float = 1.0) -> np.ndarray:
    """Uniform in +-gain sqrt(6 / n_in), the same variance as he_normal."""
    return _uniform(shape, rng, gain * math.sqrt(6 / fans(shape, groups)[0]))


def _normal(shape: tuple[int, ...], rng: np.random.Generator, std: float) -> np.ndarray:
    return (rng.standard_normal(shape) * std).astype(np.float32)


def _uniform(shape: tuple[int, ...], rng: np.random.Generator, limit: float) -> np.ndarray:
    return rng.uniform(-limit, limit, shape).astype(np.float32)
