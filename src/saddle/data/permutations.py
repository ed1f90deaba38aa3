"""Keyed permutations: where a key sends an index, without a table of all indices.

A Feistel network on pairs (l, r), l below a = ⌈√M⌉ and r below b = ⌈M/a⌉. Each of its rounds adds to one
half a number mixed from the other half and the key, modulo that half's range. So each is invertible, and
the network permutes the a·b numbers l + a·r. An index that it sends to M or beyond walks on, through the
network again, until it is sent below M: that permutes the indices below M. One in about √M walks, for
a·b − M < a.

Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains", sec. 4 and 5.
"""

from math import isqrt

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]  # sums and products wrap around

# even; 5 and 6 mix slowest, and of 4 million keys no two places held two of their indices 1 % too often
ROUNDS = 20
# of splitmix64 (Steele, Lea and Flood 2014)
GOLDEN, FIRST, SECOND = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def permuted(indices: Numbers, size: int, keys: Numbers) -> Numbers:
    """Send each index to where its key's permutation of 0 … ``size`` − 1 sends it.

    Time and memory are of the indices alone, whatever the size.

    Args:
        indices: (n,), from 0 to ``size`` − 1.
        size: M, at least 1.
        keys: (n,); equal ones are one permutation, unlike ones unrelated permutations.

    Returns:
        (n,), from 0 to ``size`` − 1.
    """
    found = _network(indices, size, keys)
    while (outside := found >= size).any():
        found = np.where(outside, _network(found, size, keys), found)
    return found


def _network(indices: Numbers, size: int, keys: Numbers) -> Numbers:
    side = isqrt(size - 1) + 1  # ⌈√M⌉
    width, height = np.uint64(side), np.uint64(-(-size // side))
    left, right = indices % width, indices // width
    for _ in range(ROUNDS // 2):
        left = (left + _mixed(right, keys)) % width
        right = (right + _mixed(left, keys + GOLDEN)) % height
        keys = keys + GOLDEN + GOLDEN
    return left + width * right


def _mixed(numbers: Numbers, keys: Numbers) -> Numbers:
    """splitmix64's finalizer of a number and a key; 32 bits, so that sums with it do not wrap around."""
    mixed = (numbers * SECOND) ^ keys
    mixed = (mixed ^ (mixed >> np.uint64(30))) * FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * SECOND
    return mixed >> np.uint64(32)
