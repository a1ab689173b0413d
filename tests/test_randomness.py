from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.randomness import derive_seed, generator

PLACES = st.lists(st.one_of(st.integers(-5, 300), st.text(max_size=6)), max_size=4).map(tuple)


@given(st.integers(0, 2**40), PLACES, st.integers(0, 2**40), PLACES)
def test_distinct_places_have_distinct_seeds(seed: int, place: tuple, other_seed: int, other: tuple) -> None:
    same = (seed, place) == (other_seed, other)
    assert (derive_seed(seed, *place) == derive_seed(other_seed, *other)) is same


def test_parts_of_a_place_do_not_run_together() -> None:
    places = [("a", 1, 2), ("a", 12), ("a", "1", 2), ("a1", 2), ("a", 1), ("a", 2, 1), ("a",), (1, 2), ()]
    assert len({derive_seed(0, *place) for place in places}) == len(places)


def test_seeds_fill_63_bits() -> None:
    seeds = [derive_seed(7, "order", epoch) for epoch in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])
    assert scipy.stats.binomtest(int(bits.sum()), bits.size).pvalue > 0.01
    assert bits.mean(axis=0).min() > 0.4


def test_seeds_are_the_documented_ones() -> None:
    """A change here makes every recorded result one that cannot be repeated."""
    digest = hashlib.blake2b(b"(0, 'augment', 3, 14)", digest_size=8).digest()
    assert derive_seed(0, "augment", 3, 14) == int.from_bytes(digest, "little") // 2


def test_seeds_are_the_same_in_another_process() -> None:
    code = "from fsgl.randomness import derive_seed; print(derive_seed(3, 'order', 5))"
    salt = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"  # of Python's own hashes: other than here
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": salt}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive_seed(3, "order", 5)


def test_generator_neither_reads_nor_moves_the_global_one() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = torch.rand(5, generator=generator(0, "mix", 1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(torch.rand(5, generator=generator(0, "mix", 1)), first)
    assert not torch.equal(torch.rand(5, generator=generator(0, "mix", 2)), first)


def test_neighbouring_places_are_uncorrelated() -> None:
    draws = torch.stack([torch.rand(50, generator=generator(0, "mix", step)) for step in range(200)])
    assert scipy.stats.kstest(draws[:, 0].numpy(), "uniform").pvalue > 0.01
    correlation = scipy.stats.pearsonr(draws[:-1].flatten().numpy(), draws[1:].flatten().numpy())
    assert correlation.pvalue > 0.01
