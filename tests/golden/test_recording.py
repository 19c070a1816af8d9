"""The shipped catalogue is what its builders count: a subset re-made, and every family at random sizes.

`python benchmarks/catalogue.py check` does the same for every model at twenty sizes a family;
its last result is `benchmarks/results/catalogue-2026-11-21.json`.
"""

from dataclasses import replace
from importlib import import_module

import pytest

from frameroof import catalogue
from frameroof.count import record_recipe
from frameroof.count.record import declared
from frameroof.count.verify import matches, random_sizes
from frameroof.models import FAMILIES, named_recipe
from frameroof.workload.file import dumps


@pytest.mark.parametrize("name", ["dit-xl-2", "llama3.1-8b", "stable-diffusion-1.5"])
def test_re_made_it_is_the_same(name):
    fresh = record_recipe(named_recipe(name))
    assert dumps(replace(fresh, made_by={})) == dumps(replace(catalogue.load(name), made_by={}))


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_equals_a_fresh_count_at_random_sizes(family):
    recipe = import_module(f"frameroof.models.{family}").recipes()[0]
    workload = catalogue.load(recipe.name)
    pairs = list(zip(recipe.parts, workload.stages, strict=True))
    part, stage = max(pairs, key=lambda pair: sum(pair[1].weights.values()))
    spec = declared(part.build)
    for values in random_sizes(spec, 2, seed=11):
        assert matches(part, stage, spec, values, recipe.dtype), (recipe.name, part.name, values)


def test_every_recipe_is_shipped_and_nothing_else():
    made = {recipe.name for family in FAMILIES for recipe in import_module(f"frameroof.models.{family}").recipes()}
    assert made == set(catalogue.names())
