"""Parametric records: equal to fresh counts, folded, and honest where structure changes."""

import random

import pytest
import torch
from tiny import RECIPE, build, undeclared
from torch import nn

from frameroof.count import StructureChanges, fixed_recipe, recipe_of, record_recipe, record_stage
from frameroof.count.record import declared
from frameroof.count.verify import count_with_torch, matches
from frameroof.workload.recipe import Part, Size, sizes


def test_evaluation_equals_a_fresh_count_at_sizes_never_traced(tiny):
    rng, spec = random.Random(3), declared(build)
    part, stage = RECIPE.parts[0], record_stage("denoise", build)
    for _ in range(6):
        values = {
            "batch": rng.choice([1, 1, 5]),
            "height": 8 * rng.randint(3, 90),
            "width": 8 * rng.randint(3, 90),
            "text_tokens": rng.randint(2, 300),
        }
        assert matches(part, stage, spec, values, "bf16"), values


def test_flops_are_torchs(tiny):
    values = {"batch": 3, "height": 200, "width": 136, "text_tokens": 12}
    torch_flops = count_with_torch(RECIPE.parts[0], values, "bf16")
    env = tiny.stages[0].bind({"batch": 3, "height": 200, "width": 136, "steps": 1, "guidance": 1})
    assert sum(op.flops()(env) * op.times(env) for op in tiny.stages[0].ops) == torch_flops


def test_equal_layers_are_one_row(tiny):
    rows = [op for op in tiny.stages[0].ops if op.kind == "attention"]
    assert sorted((op.path, op.count({})) for op in rows) == [
        ("blocks.[0-2]", 3), ("blocks.[0-2]", 3), ("low", 1), ("low", 1),
    ]  # fmt: skip
    assert {op.attrs["role"] for op in rows} == {"self", "cross"}


def test_parameters_are_the_modules(tiny):
    from tiny import Tiny

    assert tiny.stages[0].weights == {"bf16": sum(p.numel() for p in Tiny().parameters())}


def test_one_size_needs_one_trace_and_agrees(tiny):
    fixed = record_recipe(fixed_recipe(RECIPE, {"height": 72}))
    env = tiny.stages[0].bind({"batch": 1, "height": 72, "width": 128, "steps": 4, "guidance": 2})
    once = fixed.stages[0].bind(fixed.sizes())
    total = sum(op.flops()(env) * op.times(env) for op in tiny.stages[0].ops)
    assert sum(op.flops()(once) * op.times(once) for op in fixed.stages[0].ops) == total


def test_a_builder_without_declaration_is_found_out():
    recipe = recipe_of(undeclared, "mine", {"height": 192})
    workload = record_recipe(recipe)
    assert recipe.params["height"].step in (1, 16)  # rows at half size are ceil(h/2): floors of the height
    assert workload.params["height"].default == 192
    env = workload.stages[0].bind(workload.sizes({"height": 320, "batch": 2, "text_tokens": 33}))
    part = Part("denoise", build)
    expected = count_with_torch(part, {"batch": 2, "height": 320, "width": 320, "text_tokens": 33}, "bf16")
    assert sum(op.flops()(env) * op.times(env) for op in workload.stages[0].ops) == expected


def test_a_size_that_changes_the_structure_stays_fixed_and_says_so():
    def deep(layers: int = 3, tokens: int = 8):
        model = nn.Sequential(*(nn.Linear(4 + i % 3, 4 + (i + 1) % 3) for i in range(layers)))
        return model, (torch.empty(tokens, 4),), {}

    recipe = recipe_of(deep, "deep")
    assert recipe.params["layers"].most == recipe.params["layers"].lowest == 3
    assert any("layers is fixed at 3" in note for note in recipe.notes)
    with pytest.raises(ValueError, match="largest is 3"):
        record_recipe(recipe).sizes({"layers": 4})


def test_a_wrong_declaration_is_an_error_not_a_wrong_count():
    @sizes(let={"n": "tokens"}, tokens=Size(8, least=2))
    def halves(tokens=8):
        return nn.AvgPool1d(2), (torch.empty(1, 4, tokens),), {}

    with pytest.raises(StructureChanges, match="no polynomial"):
        record_stage("forward", halves)


def test_a_loop_that_grows_with_a_size_becomes_one_row_with_a_count():
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            out = []
            for t in range(x.shape[2]):
                out.append(self.conv(x[:, :, t]))
            return torch.stack(out, 2)

    @sizes(let={"b": "batch", "t": "frames"}, batch=Size(1), frames=Size(5, least=2))
    def video(batch=1, frames=5):
        return Frames(), (torch.empty(batch, 4, frames, 6, 6),), {}

    stage = record_stage("decode", video)
    first, conv = [op for op in stage.ops if op.kind == "conv2d"]  # the first reads the weight first
    assert (str(first.count), str(conv.count)) == ("1", "t-1")
    assert conv.dims["n"]({"b": 2, "t": 9}) == 2 * 4 * 36


def test_a_growing_concatenation_keeps_its_exact_sum():
    class Grow(nn.Module):
        def forward(self, x):
            out = x[:1]
            for t in range(1, x.shape[0]):
                out = torch.cat([out, x[t : t + 1]])
            return out

    @sizes(let={"t": "frames"}, frames=Size(5, least=3))
    def build_it(frames=5):
        return Grow(), (torch.empty(frames, 6),), {}

    (cat,) = record_stage("x", build_it).ops
    assert cat.count({"t": 7}) == 6
    # call i writes i rows of 6 and reads as many: 2..7 rows written
    assert sum(w.elements({"t": 7}) for w in cat.writes) == 6 * sum(range(2, 8))


def test_copies_that_a_batch_of_one_does_not_need():
    class Slice(nn.Module):
        def forward(self, x):
            return x[:, 2:].contiguous() + 1

    @sizes(let={"b": "batch", "s": "tokens"}, batch=Size(1), tokens=Size(8, least=4))
    def build_it(batch=1, tokens=8):
        return Slice(), (torch.empty(batch, tokens, 6),), {}

    stage = record_stage("x", build_it)
    copy = next(op for op in stage.ops if op.kind == "copy")
    assert [copy.count(stage.bind({"batch": b, "tokens": 8})) for b in (1, 2, 9)] == [0, 1, 1]


def test_memory_held_is_what_is_alive():
    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)

        def forward(self, x):
            return x + self.down(torch.relu(self.up(x)))

    @sizes(let={"n": "tokens"}, tokens=Size(8, least=2))
    def build_it(tokens=8):
        return Mlp(), (torch.empty(tokens, 8),), {}

    held = record_stage("x", build_it).held
    # during relu: x, the wide tensor and its copy
    assert max(h.elements({"n": 5}) for h in held) == 5 * (8 + 32 + 32)


def test_samples_tell_the_levels_of_a_unet_apart():
    """With h4 = 2*h8 in every trace, 640*h4 and 1280*h8 would be the same numbers and one of them wrong."""
    from frameroof.count.sample import sample_points

    @sizes(
        let={"b": "batch", "h": "height//8", "h2": "ceil(h, 2)", "h4": "ceil(h2, 2)", "h8": "ceil(h4, 2)"},
        batch=Size(1),
        height=Size(512, step=8, least=128),
    )
    def unet(batch=1, height=512):
        raise AssertionError("not called")

    for seed in range(30):
        rows = [p["height"] // 8 for p in sample_points(declared(unet), seed) if p["batch"] > 1]
        levels = [[-(-h // 2**k) for k in range(4)] for h in rows]
        for i in range(4):
            for j in range(i):
                assert len({level[i] / level[j] for level in levels}) > 1


def test_a_rule_that_only_holds_for_small_sizes_is_found_out():
    @sizes(let={"n": "tokens"}, tokens=Size(1024, least=1))
    def sliced(tokens=1024):
        class Slice(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(8, 8)

            def forward(self, x):
                return self.fc(x[:, :512])

        return Slice(), (torch.empty(1, tokens, 8),), {}

    with pytest.raises(StructureChanges, match="no polynomial"):
        record_stage("x", sliced)


def test_attention_that_is_causal_at_some_sizes_only_is_an_error():
    @sizes(let={"n": "tokens"}, tokens=Size(64, least=1))
    def sometimes(tokens=64):
        class Attend(nn.Module):
            def forward(self, x):
                return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=x.shape[-2] > 1)

        return Attend(), (torch.empty(1, 2, tokens, 8),), {}

    with pytest.raises(StructureChanges, match="causal"):
        record_stage("x", sometimes)


@pytest.mark.parametrize("division", [8, 14, 16, 32, 128])
def test_a_divided_size_is_a_floor_or_gets_its_step(division):
    def build_it(pixels: int = 896):
        return nn.Linear(4, 4), (torch.empty(pixels // division, 4),), {}

    recipe = recipe_of(build_it, "divided")
    assert recipe.params["pixels"].step == 1
    workload = record_recipe(recipe)
    for pixels in (4 * 896, 4 * 896 + 5, 1001):
        env = workload.stages[0].bind(workload.sizes({"pixels": pixels}))
        assert sum(op.flops()(env) for op in workload.stages[0].ops) == 2 * (pixels // division) * 16


@pytest.mark.parametrize(
    "rule", [lambda n: n if n <= 100 else n + 1, lambda n: min(n, 77), lambda n: max(n, 100), lambda n: n * n * n // 7]
)
def test_a_size_with_a_branch_stays_fixed(rule):
    def build_it(tokens: int = 64):
        return nn.Linear(4, 4), (torch.empty(rule(tokens), 4),), {}

    recipe = recipe_of(build_it, "branch")
    assert recipe.params["tokens"].most == 64
    assert recipe.notes


def test_sizes_that_follow_no_rule_together_are_fixed():
    def build_it(height: int = 64, width: int = 64):
        return nn.Linear(4, 4), (torch.empty(height * width if height * width < 9000 else 5, 4),), {}

    recipe = recipe_of(build_it, "together")
    assert all(size.most == 64 for size in recipe.params.values())
    record_recipe(recipe)


def test_a_size_that_changes_the_parameters_is_fixed():
    def build_it(width: int = 16):
        return nn.Linear(width, width), (torch.empty(3, width),), {}

    recipe = recipe_of(build_it, "wide")
    assert recipe.params["width"].most == 16
    assert record_recipe(recipe).stages[0].weights == {"bf16": 16 * 17}
