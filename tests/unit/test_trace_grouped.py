"""Sums by key, against plain dictionaries."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from frameroof.trace.grouped import Grouped

rows = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 50), st.integers(-2, 4)), max_size=40)


@given(rows)
def test_every_key_has_its_rows_and_sums(made):
    keys = [key for key, _, _ in made]
    duration = np.array([time for _, time, _ in made], dtype=np.int64)
    number = np.array([n for _, _, n in made], dtype=np.int64)
    found = Grouped(keys, duration)
    times = {key: sum(t for k, t, _ in made if k == key) for key in dict.fromkeys(keys)}
    assert list(zip(found.keys, found.times, strict=True)) == sorted(times.items(), key=lambda item: -item[1])
    known = found.known_sums(number.astype(float))
    for i, key in enumerate(found.keys):
        here = [row for row, other in enumerate(keys) if other == key]
        assert found.rows(i).tolist() == here
        assert found.counts[i] == len(here)
        values = [made[row][2] for row in here]
        positive = [v for v in values if v >= 0]
        assert found.distinct(number)[i] == len(set(positive)) + len(values) - len(positive)
        assert known[i] == (sum(positive) if positive else None)
