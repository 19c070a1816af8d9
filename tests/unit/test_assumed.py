"""What is assumed where shapes alone do not tell, and that it is said: masks, experts, buffers, training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from frameroof.count import CannotCount, recipe_of, record_recipe, trace

WIDTH, TOKENS = 64, 16


def attentions(found):
    return [op for op in found.ops if op.kind == "attention"]


def flops(found):
    """By hand from the dims: 2 per multiply-add."""
    total = 0
    for op in found.ops:
        d = op.dims
        if op.kind in ("linear", "matmul"):
            total += 2 * d["b"] * d["m"] * d["n"] * d["k"]
        elif op.kind == "attention":
            total += 2 * d["b"] * d["heads"] * d["q"] * d["kv"] * (d["d"] + d["dv"])
    return total


# ------------------------------------------------------------------------------ attention masks


def language_model(name, attention):
    import transformers as t

    small = {"num_hidden_layers": 2, "hidden_size": WIDTH, "intermediate_size": 128, "vocab_size": 99}
    small |= {"num_attention_heads": 4, "attn_implementation": attention}
    if name == "t5":
        return t.T5EncoderModel(t.T5Config(num_layers=2, d_model=WIDTH, d_kv=16, num_heads=4, d_ff=128, vocab_size=99))
    if name == "llama":
        return t.LlamaModel(t.LlamaConfig(num_key_value_heads=2, **small))
    if name == "clip":
        return t.CLIPTextModel(t.CLIPTextConfig(bos_token_id=1, eos_token_id=2, **small))
    return t.BertModel(t.BertConfig(**small), add_pooling_layer=False)


def builder(name, attention="sdpa", mask=True):
    def build(batch=2):
        ids = torch.zeros(batch, TOKENS, dtype=torch.int64)
        inputs = {"input_ids": ids, **({"attention_mask": torch.ones_like(ids)} if mask else {})}
        return language_model(name, attention).eval(), (), inputs

    return build


@pytest.mark.parametrize("name", ["bert", "clip", "llama", "t5"])
def test_a_mask_is_kept_with_a_note_and_changes_no_flops(name):
    with_mask, without = trace(builder(name), {}), trace(builder(name, mask=False), {})
    assert [len(op.reads) for op in attentions(with_mask)] == [4, 4]
    assert [op.attrs["causal"] for op in attentions(with_mask)] == [False, False]
    assert any("attention masks are kept" in note for note in with_mask.notes)
    assert flops(with_mask) == flops(without)
    assert not without.notes


def test_torch_itself_agrees_on_cpu_where_the_mask_masks_something():
    model, _, inputs = builder("bert", "eager")()
    inputs["attention_mask"][:, -3:] = 0
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    assert flops(trace(builder("bert"), {})) == counter.get_total_flops()


def test_positions_do_not_pack_sequences():
    def build(batch=1):
        model, _, inputs = builder("llama", mask=False)(batch)
        positions = torch.arange(TOKENS).expand(batch, TOKENS)
        return model, (), {**inputs, "position_ids": positions, "use_cache": False}

    found = trace(build, {})
    assert [op.attrs["causal"] for op in attentions(found)] == [True, True]
    assert any("one sequence" in note for note in found.notes)


def test_the_note_reaches_the_workload():
    workload = record_recipe(recipe_of(builder("bert"), "bert", parametric=False))
    assert any("attention masks are kept" in note for note in workload.notes)


ASKED = ["x[:, : int({0}.max())]", "x if {0}.sum() > 0 else -x", "x[{0} > 0]", "x.split({0}.long().flatten().tolist())"]


@pytest.mark.parametrize("ask", ASKED)
def test_a_question_about_an_activation_names_its_line_and_one_about_an_input_is_answered(ask, tmp_path):
    def build(about):
        path = tmp_path / f"ask_{about}.py"
        text = f"from torch import nn\nclass Ask(nn.Module):\n def forward(self, x, n):\n  return {ask.format(about)}\n"
        path.write_text(text)
        made: dict[str, type[nn.Module]] = {}
        exec(compile(text, str(path), "exec"), made)
        return lambda: (made["Ask"]().eval(), (torch.empty(2, 4), torch.tensor([1, 1])), {})

    with pytest.raises(CannotCount, match=r"ask_x\.py:4 in forward"):
        trace(build("x"), {})
    trace(build("n"), {})


# ------------------------------------------------------------------------------ matrix products


class Experts(nn.Module):
    def __init__(self, experts, k, n):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, k, n))

    def forward(self, x, ends):
        return torch._grouped_mm(x, self.weight, offs=ends)


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="this torch has no _grouped_mm")
@pytest.mark.parametrize(("rows", "read"), [(64, 8), (8, 8), (2, 2)])
def test_experts_by_hand(rows, read):
    inputs = lambda: (torch.empty(rows, 32), torch.empty(8, dtype=torch.int32))  # noqa: E731
    found = trace(lambda: (Experts(8, 32, 48).eval(), inputs(), {}), {})
    (op,) = found.ops
    assert (op.kind, flops(found)) == ("linear", 2 * rows * 32 * 48)
    assert op.reads[1].shape == (read, 32, 48)
    assert op.reads[1].weight
    assert not found.uncounted
    assert any("experts" in note for note in found.notes)


def test_a_mixture_of_experts_costs_what_its_chosen_experts_cost():
    t = pytest.importorskip("transformers")
    config = t.MixtralConfig(
        num_hidden_layers=1, hidden_size=WIDTH, num_attention_heads=4, num_key_value_heads=4, intermediate_size=128,
        vocab_size=99, num_local_experts=8, num_experts_per_tok=2, use_cache=False,
    )  # fmt: skip

    def build(batch=1):
        return t.MixtralModel(config).eval(), (), {"input_ids": torch.zeros(batch, TOKENS, dtype=torch.int64)}

    found = trace(build, {})
    if any("_grouped_mm" in name for name in found.uncounted) or not any("experts" in n for n in found.notes):
        pytest.skip("this transformers does not use _grouped_mm")
    experts = 2 * TOKENS * (2 * WIDTH * (2 * 128) + 2 * 128 * WIDTH)  # two chosen experts: gate and up, then down
    attention = 4 * 2 * TOKENS * WIDTH * WIDTH + 2 * 2 * TOKENS * TOKENS * WIDTH
    found.ops = [op for op in found.ops if "rotary" not in op.path]
    assert flops(found) == experts + attention + 2 * TOKENS * WIDTH * 8


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize(
    ("function", "shapes", "multiply_adds"),
    [
        (torch.dot, [(7,), (7,)], 7),
        (torch.addmv, [(3,), (3, 5), (5,)], 15),
        (torch.addbmm, [(3, 4), (6, 3, 5), (6, 5, 4)], 6 * 3 * 5 * 4),
    ],
)
def test_other_products_by_hand(function, shapes, multiply_adds):
    found = trace(lambda: (Function(function).eval(), tuple(torch.empty(s) for s in shapes), {}), {})
    assert flops(found) == 2 * multiply_adds
    assert not found.uncounted


def test_complex_products_follow_torchs_counter_and_say_so():
    inputs = lambda: (torch.empty(3, 5, dtype=torch.complex64), torch.empty(5, 4, dtype=torch.complex64))  # noqa: E731
    found = trace(lambda: (Function(torch.matmul).eval(), inputs(), {}), {})
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        torch.matmul(*inputs())
    assert flops(found) == counter.get_total_flops() == 2 * 3 * 5 * 4
    assert any("complex" in note for note in found.notes)


# -------------------------------------------------------------------------- buffers and state


class Cached(nn.Module):
    """Decoding with a cache that is a buffer."""

    def __init__(self, entries, eager=False):
        super().__init__()
        self.eager = eager
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.register_buffer("keys", torch.empty(1, 4, entries, 16))
        self.register_buffer("values", torch.empty(1, 4, entries, 16))

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        self.keys[:, :, -1:].copy_(k)
        self.values[:, :, -1:].copy_(v)
        if self.eager:
            return (q @ self.keys.mT).softmax(-1) @ self.values
        return F.scaled_dot_product_attention(q, self.keys, self.values)


@pytest.mark.parametrize("eager", [False, True])
def test_a_cache_in_a_buffer_is_in_the_memory(eager):
    from frameroof.estimate import memory_of
    from frameroof.hardware import parse_node

    build = lambda entries=256: (Cached(entries, eager).eval(), (torch.empty(1, 1, WIDTH),), {})  # noqa: E731
    workload = record_recipe(recipe_of(build, "cached"))
    (stage,) = workload.stages
    attention = next(op for op in stage.ops if op.kind == "attention")
    assert not any(t.weight for t in attention.reads)
    for entries in (256, 1000):
        memory = memory_of(workload, parse_node("H100"), workload.sizes({"entries": entries}))
        assert memory.cache_bytes == 2 * 2 * entries * WIDTH
        assert memory.weight_bytes == 2 * 3 * WIDTH * WIDTH
        assert 0 < memory.activation_bytes < 2 * 10 * WIDTH


@pytest.mark.parametrize(("rows", "counted"), [(4, False), (4000, True)])
def test_constant_tables_count_where_they_matter(rows, counted):
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(WIDTH, WIDTH)
            self.register_buffer("table", torch.empty(rows, 8))

        def forward(self, x):
            return self.fc(x) + self.table[:1, :1]

    workload = record_recipe(recipe_of(lambda batch=1: (Table().eval(), (torch.empty(batch, WIDTH),), {}), "t"))
    held = max(h.elements({"b": 1}) for h in workload.stages[0].held)
    assert held == 3 * WIDTH + counted * rows * 8  # input, product, sum
    assert workload.stages[0].weights == {"bf16": WIDTH * WIDTH + WIDTH}


# ------------------------------------------------------------------------- recorder's manners


def test_an_exception_that_the_model_catches_leaves_no_frame():
    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("not here")

    class Tries(nn.Module):
        def __init__(self):
            super().__init__()
            self.fails, self.fc = nn.Sequential(Fails()), nn.Linear(8, 8)

        def forward(self, x):
            try:
                x = self.fails(x)
            except RuntimeError:
                x = x * 2
            return self.fc(x) + 1

    found = trace(lambda: (Tries().eval(), (torch.empty(2, 8),), {}), {})
    assert [(op.name, op.path) for op in found.ops] == [("mul", ""), ("linear", "fc"), ("add", "")]


@pytest.mark.parametrize(
    ("layer", "noted"),
    [
        (lambda: nn.Dropout(0.1), "Dropout"),
        (lambda: nn.Dropout(0.0), ""),
        (lambda: nn.Dropout(0.1).eval(), ""),
        (lambda: nn.BatchNorm1d(8), "BatchNorm1d"),
        (lambda: nn.Linear(8, 8), ""),
        (lambda: nn.MultiheadAttention(8, 2, dropout=0.1), "MultiheadAttention"),
    ],
)
def test_a_forgotten_eval_is_noted(layer, noted):
    def build():
        one = layer()
        many = isinstance(one, nn.MultiheadAttention)
        return one, (torch.empty(4, 8),) * (3 if many else 1), {}

    notes = [note for note in trace(build, {}).notes if "training mode" in note]
    assert len(notes) == bool(noted)
    assert not noted or (noted in notes[0] and ".eval()" in notes[0])


def test_averaged_attention_weights_are_written_and_read():
    class Weights(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

        def forward(self, x):
            return self.mha(x, x, x)

    found = trace(lambda: (Weights().eval(), (torch.empty(2, 24, WIDTH),), {}), {})
    (attention,) = attentions(found)
    (mean,) = [op for op in found.ops if op.name == "mean"]
    scores = 2 * 4 * 24 * 24
    assert [torch.Size(w.shape).numel() for w in attention.writes] == [2 * 24 * WIDTH, scores]
    assert torch.Size(mean.reads[0].shape).numel() == scores
    assert mean.reads[0].value == attention.writes[1].value
    assert found.ops[mean.reads[0].value[1]] is attention
