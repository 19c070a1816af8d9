"""What is recorded of a forward on meta tensors, against hand counts and torch's own counter."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from frameroof.count import CannotCount, trace


class Attend(nn.Module):
    """Self-attention in one of the ways that models call it; x_BSD."""

    def __init__(self, how, heads=4, width=64):
        super().__init__()
        self.how, self.heads = how, heads
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.mha = nn.MultiheadAttention(width, heads, batch_first=True)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, context=None):
        y = x if context is None else context
        if self.how == "mha":
            return self.mha(x, y, y, need_weights=False)[0]
        if self.how == "mha with weights":
            return self.mha(x, y, y)[0]
        q, k, v = self.split(self.q(x)), self.split(self.k(y)), self.split(self.v(y))
        return self.out(getattr(self, self.how)(q, k, v).transpose(1, 2).flatten(2))

    def sdpa(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)

    def causal(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def eager(self, q, k, v):
        return (q @ k.transpose(-1, -2) * 0.25).softmax(-1, dtype=torch.float32).to(q.dtype) @ v

    def masked(self, q, k, v):
        mask = q.new_zeros(q.shape[-2], k.shape[-2])
        return F.dropout((q @ k.mT * 0.25 + mask).softmax(-1), training=False) @ v

    def baddbmm(self, q, k, v):
        q, k, v = (t.flatten(0, 1) for t in (q, k, v))
        empty = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
        scores = torch.baddbmm(empty, q, k.mT, beta=0, alpha=0.25).softmax(-1)
        return torch.bmm(scores, v).unflatten(0, (-1, self.heads))

    def einsum(self, q, k, v):
        weights = torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1)
        return torch.einsum("bhqk,bhkd->bhqd", weights, v)


WAYS = ["sdpa", "causal", "eager", "masked", "baddbmm", "einsum", "mha", "mha with weights"]


def attentions(found):
    return [op for op in found.ops if op.kind == "attention"]


@pytest.mark.parametrize("how", WAYS)
def test_attention_is_seen_as_a_call_however_it_is_written(how):
    found = trace(lambda: (Attend(how).eval(), (torch.empty(2, 24, 64),), {}), {})
    (op,) = attentions(found)
    assert op.dims == {"b": 2, "heads": 4, "kv_heads": 4, "q": 24, "kv": 24, "d": 16, "dv": 16}
    assert op.attrs["role"] == "self"
    assert op.attrs["causal"] is (how == "causal")
    assert not [o for o in found.ops if o.kind in ("softmax", "matmul")]


@pytest.mark.parametrize("how", ["sdpa", "eager", "mha"])
def test_cross_attention_is_told_apart_even_at_equal_lengths(how):
    found = trace(lambda: (Attend(how).eval(), (torch.empty(2, 24, 64), torch.empty(2, 24, 64)), {}), {})
    assert [op.attrs["role"] for op in attentions(found)] == ["cross"]


def test_encoder_layer_in_eval_has_its_attention():
    layer = lambda: nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval()  # noqa: E731
    found = trace(lambda: (layer(), (torch.empty(2, 24, 64),), {}), {})
    (op,) = attentions(found)
    assert (op.dims["q"], op.dims["heads"]) == (24, 4)


def test_transformers_eager_and_sdpa_count_the_same():
    from transformers import BertConfig, BertModel

    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    dims = {}
    for how in ("eager", "sdpa"):

        def build(how=how):
            made = BertConfig(vocab_size=99, **config, attn_implementation=how)
            return (
                BertModel(made, add_pooling_layer=False).eval(),
                (torch.zeros(1, 10, dtype=torch.int64),),
                {},
            )

        dims[how] = [op.dims for op in attentions(trace(build, {}))]
    assert len(dims["eager"]) == 2
    assert dims["eager"] == dims["sdpa"]


def test_a_softmax_that_is_no_attention_stays_a_softmax():
    class Gate(nn.Module):
        def forward(self, x):
            return (x @ x.mT).softmax(-1).sum(-1)

    found = trace(lambda: (Gate(), (torch.empty(2, 8, 16),), {}), {})
    assert [op.kind for op in found.ops] == ["matmul", "softmax", "reduction"]


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (lambda: nn.Linear(16, 32), (2, 5, 16), "linear"),
        (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9), "conv1d"),
        (lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2), (2, 4, 9, 9), "conv2d"),
        (lambda: nn.Conv2d(4, 6, 3, padding="same"), (2, 4, 9, 9), "conv2d"),
        (lambda: nn.Conv3d(4, 6, (3, 1, 1)), (2, 4, 9, 9, 5), "conv3d"),
        (lambda: nn.ConvTranspose2d(4, 6, 4, stride=2), (2, 4, 9, 9), "conv2d"),
    ],
)
def test_matrix_flops_are_those_of_torchs_counter(layer, shape, kind):
    found = trace(lambda: (layer(), (torch.empty(shape),), {}), {})
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer()(torch.empty(shape))
    (op,) = [o for o in found.ops if o.kind == kind]
    d = op.dims
    flops = 2 * d["n"] * d["k"] if kind.startswith("conv") else 2 * d["b"] * d["m"] * d["n"] * d["k"]
    assert flops == counter.get_total_flops()


def test_bytes_are_operands_read_once_and_outputs_written():
    class Square(nn.Module):
        def forward(self, x):
            return (x * x + x[:, :1]).to(torch.float32)

    found = trace(lambda: (Square(), (torch.empty(4, 8),), {}), {})
    sizes = [([r.shape for r in op.reads], [(w.shape, w.dtype) for w in op.writes]) for op in found.ops]
    assert sizes == [
        ([(4, 8)], [((4, 8), "bf16")]),
        ([(4, 8), (4, 1)], [((4, 8), "bf16")]),
        ([(4, 8)], [((4, 8), "fp32")]),
    ]


def test_a_broadcast_operand_is_read_at_its_own_size():
    class Scale(nn.Module):
        def forward(self, x):
            return x * torch.empty(1, 8).expand(4, 8)

    found = trace(lambda: (Scale(), (torch.empty(4, 8),), {}), {})
    assert [r.shape for r in found.ops[0].reads] == [(4, 8), (1, 8)]


def test_a_lookup_reads_the_chosen_rows_only():
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(50_000, 8)

        def forward(self, ids):
            return self.table(ids)[:, torch.zeros(2, dtype=torch.int64)]

    found = trace(lambda: (Lookup(), (torch.zeros(1, 5, dtype=torch.int64),), {}), {})
    embedding, index = (op for op in found.ops if op.name in ("embedding", "index"))
    assert [r.shape for r in embedding.reads] == [(1, 5, 8), (1, 5)]
    assert [r.shape for r in index.reads] == [(1, 2, 8), (2,)]


def test_views_move_nothing_and_unknown_operations_are_listed():
    class Views(nn.Module):
        def forward(self, x):
            return x.view(4, 2, 4).transpose(1, 2)[:, 1:].flip(0), torch.linalg.inv(x[:4, :4].float())

    found = trace(lambda: (Views(), (torch.empty(4, 8),), {}), {})
    assert [op.name for op in found.ops][:1] == ["flip"]
    assert found.uncounted == {"aten.linalg_inv_ex.default": 1}


def test_paths_name_the_modules():
    model = lambda: nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 4)))  # noqa: E731
    found = trace(lambda: (model(), (torch.empty(2, 8),), {}), {})
    assert [(op.path, op.kind) for op in found.ops] == [("0", "linear"), ("1.0", "norm"), ("1.1", "linear")]


def test_data_dependent_work_says_which_line():
    class Peek(nn.Module):
        def forward(self, x):
            return x * x.sum().item()

    with pytest.raises(CannotCount, match=r"test_recorder\.py:\d+ in forward: `return x \* x.sum\(\).item\(\)`"):
        trace(lambda: (Peek(), (torch.empty(3),), {}), {})


def run(forward, *shapes):
    class Forward(nn.Module):
        pass

    Forward.forward = lambda self, *tensors: forward(*tensors)
    return trace(lambda: (Forward(), tuple(torch.empty(s) for s in shapes), {}), {})


def test_attention_of_one_tensor_with_itself_keeps_three_operands():
    (op,) = run(lambda x: F.scaled_dot_product_attention(x, x, x), (1, 4, 16, 8)).ops
    assert len(op.reads) == 3


def test_attention_broadcasts_its_batch():
    (op,) = run(F.scaled_dot_product_attention, (1, 4, 16, 8), (3, 4, 32, 8), (3, 4, 32, 8)).ops
    assert (op.dims["b"], op.writes[0].shape) == (3, (3, 4, 16, 8))


def test_a_write_of_some_entries_moves_those_entries():
    def forward(cache, k):
        cache.index_copy_(2, torch.zeros(1, dtype=torch.int64), k)
        return cache

    op = next(o for o in run(forward, (1, 8, 4096, 64), (1, 8, 1, 64)).ops if o.name == "index_copy_")
    assert op.writes[0].shape == (1, 8, 1, 64)
    assert (1, 8, 4096, 64) not in [r.shape for r in op.reads]


def test_rolling_a_cache_reads_what_it_moves():
    def forward(x):
        x[:, :8].copy_(x[:, 8:])
        return x

    (op,) = run(forward, (4, 16)).ops
    assert ([r.shape for r in op.reads], op.writes[0].shape) == ([(4, 8)], (4, 8))


def test_fills_read_nothing_and_list_operations_are_listed():
    assert run(torch.zeros_like, (4, 8)).ops[0].reads == []

    def update(x):
        torch._foreach_add_([x, x], 1.0)
        return x

    assert "foreach_add_" in next(iter(run(update, (4, 8)).uncounted))


def test_a_softmax_over_another_dimension_is_no_attention():
    found = run(lambda q, k, v: (q @ k.mT).softmax(-2) @ v, (2, 8, 4), (2, 8, 4), (2, 8, 4))
    assert [op.kind for op in found.ops] == ["matmul", "softmax", "matmul"]
