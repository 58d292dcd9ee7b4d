"""Counter-based randomness: a draw depends on what it is for, never on how many draws came before.

Raw Philox words are turned into numbers by our own arithmetic: numpy keeps its bit generators stable from version to version, but not what
it builds on them.
"""

import hashlib

import numpy as np

Counter = tuple[int, int, int]


def random_words(key: tuple[object, ...], counter: Counter, count: int) -> np.ndarray:
    """`count` random uint64 numbers for this key and counter."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    generator = np.random.Philox(key=int.from_bytes(digest[:16], "little"), counter=[0, *counter])
    return generator.random_raw(count)


def uniforms(key: tuple[object, ...], counter: Counter, count: int) -> np.ndarray:
    """`count` random float64 numbers in [0, 1) for this key and counter."""
    return (random_words(key, counter, count) >> np.uint64(11)) * 2.0**-53


def permutation(key: tuple[object, ...], length: int) -> np.ndarray:
    """A random order of 0..length-1 for this key."""
    return np.argsort(random_words(key, (0, 0, 0), length), kind="stable")
