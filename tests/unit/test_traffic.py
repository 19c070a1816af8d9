"""Regions of small modules, and what each operand moves: against what a hand writes down."""

from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frameroof.count.record import record_stage, trace
from frameroof.count.traffic import mark_traffic
from frameroof.workload.recipe import Size, sizes

CODE = {"": ".", "chip": "~", "given": "+", "again": "="}


def marked(build):
    """The operations of one forward."""
    found = trace(build, {})
    mark_traffic([found])
    return found.ops


def run(forward, *shapes):
    class Forward(nn.Module):
        pass

    Forward.forward = lambda self, *tensors: forward(*tensors)
    return marked(lambda: (Forward(), tuple(torch.empty(s) for s in shapes), {}))


def said(ops):
    """Of every operation ``region name reads>writes``, a sign for each operand."""
    return [
        f"{op.region} {op.name} {''.join(CODE[r.traffic] for r in op.reads)}>"
        f"{''.join(CODE[w.traffic] for w in op.writes)}"
        for op in ops
    ]


def test_an_epilogue_stays_on_chip():
    ops = run(lambda x, w, y: F.silu(x @ w.T) * y, (2, 8), (8, 8), (2, 8))
    assert said(ops) == ["1 matmul ++>~", "1 silu ~>~", "1 mul ~+>+"]


def test_operations_without_matrix_work_are_one_region_that_reads_once():
    ops = run(lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))), (4, 8))
    assert {op.region for op in ops} == {1}
    assert [raw.traffic for op in ops for raw in (*op.reads, *op.writes) if raw.traffic != "chip"] == ["given", "given"]


def test_branches_that_read_the_same_read_it_once():
    assert said(run(lambda x: (torch.relu(x), x.sum(-1)), (4, 8))) == ["1 relu +>+", "1 sum ~>+"]


def test_what_matrix_work_stands_between_is_written():
    """The sum needs x again after the product; the norm before it is another region."""
    ops = run(lambda x, w: x + F.layer_norm(x, (8,)) @ w, (4, 8), (8, 8))
    assert said(ops) == ["1 layer_norm +>.", "2 matmul .+>~", "2 add =~>+"]


def test_the_same_operations_before_and_after_matrix_work_are_two_regions():
    ops = run(lambda x, w: (x - (F.layer_norm(x, (8,)) @ w).cumsum(0)).softmax(-1), (4, 8), (8, 8))
    assert said(ops) == ["1 layer_norm +>.", "2 matmul .+>.", "3 cumsum .>~", "3 sub =~>~", "3 _softmax ~>+"]


def test_a_norm_by_hand_is_no_epilogue_where_it_would_write_more():
    """The kernel could square h, but h would be written all the same, and the squares too."""
    ops = run(lambda x, w: (h := x @ w) * torch.rsqrt(h.pow(2).mean(-1, keepdim=True)), (4, 8), (8, 8))
    assert said(ops) == ["1 matmul ++>.", "2 pow .>~", "2 mean ~>~", "2 rsqrt ~>~", "2 mul ~~>+"]


def test_a_product_that_grows_before_it_is_summed_is_no_epilogue():
    """(4,1) times (4,64), summed: one region that reads 4 + 256 numbers, not a kernel that writes 256."""
    ops = run(lambda x, w, y: ((x @ w) * y).sum(), (4, 8), (8, 1), (4, 64))
    assert said(ops) == ["1 matmul ++>.", "2 mul .+>~", "2 sum ~>+"]


def test_a_norm_keeps_its_modulation_though_a_product_makes_the_scale():
    ops = run(lambda x, c, w: F.layer_norm(x, (8,)) * (1 + c @ w), (64, 8), (1, 8), (8, 8))
    assert said(ops) == ["1 layer_norm +>~", "2 matmul ++>~", "2 add ~>.", "1 mul ~.>+"]


def test_a_kernel_takes_nothing_that_a_region_would_have_to_write_for_it():
    """Bits of an element: with the norm 16 written, 16 read and 32 handed back; as an epilogue 32, 32 and 32."""
    ops = run(lambda x, w, v: F.layer_norm(v.float(), (8,)) * (x @ w), (64, 8), (8, 8), (64, 8))
    assert said(ops) == ["1 _to_copy +>~", "1 layer_norm ~>~", "2 matmul ++>.", "1 mul ~.>+"]


def test_a_residual_is_added_by_the_product_that_made_its_other_half():
    """Added before the norm it would be read there, and the output of the product written and read."""

    def blocks(x, w):
        for _ in range(3):
            x = x + F.layer_norm(x, (8,)) @ w
        return x

    ops = run(blocks, (4, 8), (8, 8))
    assert said(ops)[3:6] == ["3 layer_norm .>.", "4 matmul .=>~", "4 add .~>."]


def test_an_epilogue_cannot_wait_for_what_comes_after_it():
    """y = silu(a) @ p needs a in memory: a * y cannot be in the kernel that made a."""
    ops = run(lambda x, w, p: (a := x @ w) * (F.silu(a) @ p), (4, 8), (8, 8), (8, 8))
    assert said(ops) == ["1 matmul ++>.", "1 silu ~>.", "2 matmul .+>~", "2 mul .~>+"]


def test_parts_of_one_tensor_are_each_read_and_overlapping_ones_once():
    halves = run(lambda x, w: torch.cat([p @ w for p in x.chunk(2, 1)]), (4, 16), (8, 8))
    assert said(halves)[:2] == ["1 matmul ++>+", "2 matmul +=>+"]
    windows = run(lambda x: x[:, :-1] - x[:, 1:], (4, 9))
    assert said(windows) == ["1 sub +~>+"]
    one_in_common = run(lambda x: x[:5].sum() + x[4:].sum(), (9,))
    assert said(one_in_common) == ["1 sum +>~", "1 sum ~>~", "1 add ~~>+"]


def test_a_concatenation_of_what_was_made_is_written_by_who_makes_it():
    ops = run(lambda x, w, v: torch.cat([x @ w, x @ v]) @ w, (4, 8), (8, 8), (8, 8))
    assert said(ops) == ["1 matmul ++>.", "2 matmul =+>.", "0 cat ~~>~", "3 matmul .=>+"]
    given = run(lambda x, y: torch.cat([x, y]), (4, 8), (4, 8))
    assert said(given) == ["1 cat ++>+"]

    def partly(x, w, cache):
        cache[:, :1] = x @ w
        return torch.cat([cache, x @ w], 1).softmax(-1)

    *_, cat, _ = run(partly, (2, 1, 8), (8, 8), (2, 64, 8))
    assert said([cat]) == ["3 cat +.>~"]  # what was given must be copied


def test_a_cache_is_read_as_it_was_given_but_for_the_new_entry():
    def forward(x, cache):
        cache[:, 3:4] = x
        return F.scaled_dot_product_attention(x, cache, cache)

    assert said(run(forward, (2, 1, 8), (2, 64, 8))) == ["1 copy_ +>+", "2 scaled_dot_product_attention =+~>+"]


def test_weights_of_an_attention_by_hand_are_written_where_they_are_handed_back():
    def forward(q, k, v, scaled_in_place=False, back=True):
        scores = q @ k.transpose(-1, -2)
        scores = scores.mul_(0.25) if scaled_in_place else scores * 0.25
        weights = scores.softmax(-1)
        return (weights @ v, scores if scaled_in_place else weights) if back else weights @ v

    shape = (1, 4, 100, 16)
    assert said(run(forward, shape, shape, shape)) == ["1 eager_attention +++>++"]
    in_place = run(lambda q, k, v: forward(q, k, v, scaled_in_place=True), shape, shape, shape)
    assert said(in_place) == ["1 eager_attention +++>++"]
    assert [w.shape for w in in_place[0].writes] == [shape, (1, 4, 100, 100)]
    assert said(run(lambda q, k, v: forward(q, k, v, back=False), shape, shape, shape)) == ["1 eager_attention +++>+"]


def test_a_buffer_written_in_parts_needs_all_of_them():
    def forward(x, w):
        buffer = torch.empty(4, 16, dtype=x.dtype)
        buffer[:, :8] = x @ w
        buffer[:, 8:] = x
        return buffer.softmax(-1)

    *_, softmax = run(forward, (4, 8), (8, 8))
    assert softmax.reads[0].traffic == ""
    assert not softmax.attrs.get("unused")


@pytest.mark.parametrize("inside", [False, True])
def test_what_nobody_reads_costs_nothing(inside):
    def forward(x):
        y, where = F.max_pool2d(x, 2, return_indices=True)
        return y if inside else (y, where)

    ops = run(forward, (1, 2, 4, 4))
    assert said(ops) == ["1 max_pool2d_with_indices +>+~" if inside else "1 max_pool2d_with_indices +>++"]
    lost = run(lambda x, w: (x @ w, x + 1)[1], (4, 8), (8, 8))
    assert [op.attrs.get("unused", False) for op in lost] == [True, False]


def test_what_a_forward_leaves_in_objects_is_handed_back():
    class Cache:
        def __init__(self):
            self.keys = []

    class Keeps(nn.Module):
        def forward(self, x, cache):
            cache.keys.append(x * 2)
            self.last = x * 3
            return x + 1

    ops = marked(lambda: (Keeps(), (torch.empty(4), Cache()), {}))
    assert said(ops) == ["1 mul +>+", "1 mul ~>+", "1 add ~>+"]


def test_a_buffer_that_is_changed_is_handed_back():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.empty(4))

        def forward(self, x):
            self.seen.add_(x)
            return x * 2

    assert said(marked(lambda: (Counts(), (torch.empty(4),), {}))) == ["1 add_ ++>+", "1 mul ~>+"]


def test_an_operand_moves_what_it_moves_where_it_moves_the_least():
    """Of one frame the zeros are written over whole, so that nobody reads them."""

    class Padded(nn.Module):
        def forward(self, x, y):
            y[:1] = x
            out = torch.zeros_like(y)
            out[:1] = x
            return out

    @sizes(let={"t": "frames"}, frames=Size(5))
    def build(frames=5):
        return Padded(), (torch.empty(1, 8), torch.empty(frames, 8)), {}

    zeros = next(op for op in record_stage("x", build).ops if op.name == "zeros_like")
    assert zeros.writes[0].traffic == "chip"
    assert "unused" not in zeros.attrs


def test_a_table_is_read_once_however_often_its_rows_are_chosen():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(32, 64)

        def forward(self, x):
            return self.table(x)

    @sizes(let={"s": "tokens"}, tokens=Size(16))
    def build(tokens=16):
        return Looks(), (torch.zeros(tokens, dtype=torch.int64),), {}

    (op,) = record_stage("x", build).ops
    assert [op.reads[0].elements({"s": n}) for n in (1, 31, 32, 33, 4000)] == [64, 31 * 64, 2048, 2048, 2048]


def test_a_convolution_does_not_read_what_its_stride_steps_over():
    (op,) = run(lambda x, w: F.conv2d(x, w, stride=2), (1, 4, 9, 8), (8, 4, 1, 1))
    assert op.reads[0].touched == (1, 4, 5, 4)
    (op,) = run(lambda x, w: F.conv2d(x, w, stride=2, padding=1), (1, 4, 9, 8), (8, 4, 3, 3))
    assert op.reads[0].touched == (1, 4, 9, 8)
    (op,) = run(lambda x, w: F.conv2d(x, w, stride=2), (1, 4, 10, 9), (8, 4, 3, 3))
    assert op.reads[0].touched == (1, 4, 9, 9)  # four windows end before the last row
    (op,) = run(lambda x: F.avg_pool2d(x, 1, 3), (1, 4, 9, 9))
    assert op.reads[0].touched == (1, 4, 3, 3)
    (op,) = run(lambda x: F.max_pool1d(x, 2), (1, 4, 9))
    assert prod(op.reads[0].touched) == 4 * 8


def test_causal_queries_do_not_read_keys_that_none_of_them_sees():
    (op,) = run(lambda q, k: F.scaled_dot_product_attention(q, k, k * 1, is_causal=True), (1, 2, 4, 8), (1, 2, 9, 8))[
        -1:
    ]
    assert [raw.touched for raw in op.reads] == [(1, 2, 4, 8)] * 3


@pytest.mark.parametrize("change", ["permute", "halves"])
def test_a_copy_that_only_moves_is_read_where_it_stands(change):
    """As where PyTorch leaves the copy out itself, which a batch of one makes it do."""

    def forward(x, w):
        parts = [x.transpose(1, 2)] if change == "permute" else x.transpose(1, 2).chunk(2, 1)
        return torch.cat([part.contiguous() @ w for part in parts], 1)

    ops = run(forward, (2, 8, 4), (8, 8))
    assert [raw.traffic for op in ops for raw in (*op.reads, *op.writes) if op.name == "clone"].count("chip") >= 2
    assert [op.reads[0].traffic for op in ops if op.name == "matmul"] == ["given"] * (1 if change == "permute" else 2)
    back = run(lambda x: x.transpose(1, 2).contiguous(), (2, 8, 4))
    assert said(back) == ["1 clone +>+"]  # what is handed back is a copy


def test_layers_are_folded_with_their_regions_and_the_first_apart():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 8)

        def forward(self, x):
            return x + F.silu(self.fc(self.norm(x)))

    stage = record_stage("x", lambda: (nn.Sequential(*(Layer() for _ in range(5))), (torch.empty(2, 8),), {}))
    by_region = {}
    for op in stage.ops:
        by_region.setdefault(op.region, []).append((op.path, op.name, int(op.count({}))))
    assert [("0.norm", "layer_norm", 1)] in by_region.values()  # it reads what was given
    assert [("[1-4].norm", "layer_norm", 4)] in by_region.values()
    assert [("[1-3].fc", "linear", 3), ("[1-3]", "silu", 3), ("[1-3]", "add", 3)] in by_region.values()
    assert len(by_region) == 5  # the first layer reads what was given, the last writes what is handed back


def test_a_loop_reads_its_weight_first_once():
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.Linear(8, 8, bias=False)

        def forward(self, x):
            for _ in range(6):
                x = torch.tanh(self.cell(x))
            return x

    ops = record_stage("x", lambda: (Steps(), (torch.empty(2, 8),), {})).ops
    weights = [(op.reads[1].traffic, int(op.count({}))) for op in ops if op.kind == "linear"]
    assert sorted(weights) == [("", 1), ("again", 1), ("again", 4)]  # the last hands its result back
