"""The shipped catalogue against numbers that nobody here computed: published counts and hand facts."""

import json
from pathlib import Path

import pytest

from frameroof import catalogue
from frameroof.estimate import estimate, similarity_matrix_bytes
from frameroof.hardware import parse_node
from frameroof.passes import materialize_attention

FACTS = json.loads((Path(__file__).parent / "model_facts.json").read_text())["components"]
H100 = parse_node("H100")

# TFLOP of one forward, batch 1, default sizes, as counted in public
KNOWN = [
    ("stable-diffusion-1.5", "denoise", 0.8033),
    ("sdxl-base", "denoise", 6.7612),
    ("flux.1-dev", "denoise", 74.385),
    ("sd3-medium", "denoise", 8.904),
    ("dit-xl-2", "denoise", 0.23733),
    ("ltx-video-13b", "denoise", 211.997),
    ("cogvideox-5b", "denoise", 332.198),
    ("wan2.1-t2v-1.3b", "denoise", 283.002),
    ("wan2.1-t2v-14b", "denoise", 6523.44),
    ("hunyuanvideo", "denoise", 12068.59),
    ("wan2.1-t2v-1.3b", "vae_decode", 275.4),
    ("wan2.1-t2v-1.3b", "text_encoder", 4.845),
    ("sdxl-base", "vae_decode", 10.47),
]


def forward(name, stage, **sizes):
    """FLOPs of one run of a stage."""
    result = estimate(catalogue.load(name), H100, sizes)
    found = next(s for s in result.stages if s.name == stage)
    return found.flops / found.repeat


@pytest.mark.parametrize(("name", "stage", "tflop"), KNOWN)
def test_known_points(name, stage, tflop):
    sizes = {"height": 256, "width": 256} if name == "dit-xl-2" and "width" in catalogue.load(name).params else {}
    assert forward(name, stage, **sizes) / 1e12 == pytest.approx(tflop, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "stage", "millions"),
    [
        ("flux.1-dev", "denoise", 11901.41),
        ("sdxl-base", "denoise", 2567.46),
        ("stable-diffusion-1.5", "denoise", 859.52),
    ],
)
def test_parameters_are_the_published_ones(name, stage, millions):
    found = next(s for s in catalogue.load(name).stages if s.name == stage)
    assert sum(found.weights.values()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_every_denoiser_has_its_counted_parameters():
    """Every component of the facts that a stage's weights match exactly is found; the misses are named."""
    weights = {
        (name, sum(stage.weights.values())) for name in catalogue.names() for stage in catalogue.load(name).stages
    }
    main = [f for f in FACTS if f["model"] in catalogue.names() and f["params_counted"] and _is_main(f["role"])]
    missing = {(f["model"], f["role"]) for f in main if (f["model"], f["params_counted"]) not in weights}
    assert missing <= KNOWN_MISSES, missing - KNOWN_MISSES
    assert len(main) > 30


def _is_main(role):
    return any(word in role for word in ("unet", "transformer", "mmdit", "decoder", "uvit")) and "vae" not in role


# Not the facts' class: our own modules at published sizes, or the facts' other configuration.
KNOWN_MISSES = {
    ("imagen", "base unet 64x64"),
    ("imagen", "base unet 64x64 (Golden et al. Table I mults)"),
    ("imagen", "SR 64->256 efficient unet"),
    ("imagen", "SR 256->1024 efficient unet"),
    ("muse-3b", "base transformer"),
    ("movie-gen-30b", "transformer"),
    ("parti-20b", "encoder+decoder"),
}


def test_wan_self_attention_bytes():
    """0.0031 TB fused; a dozen passes over the similarity matrix (about 5 TB) in the baseline form."""
    workload = catalogue.load("wan2.1-t2v-14b")
    stage = next(s for s in workload.stages if s.name == "denoise")
    env = stage.bind(workload.sizes())
    (op,) = [o for o in stage.ops if o.kind == "attention" and o.attrs["role"] == "self"]
    assert op.dims["q"](env) == 75600
    assert op.bits()(env) / 8 / 1e12 == pytest.approx(0.0031, abs=5e-5)
    pieces = next(s for s in materialize_attention(workload).stages if s.name == "denoise").ops
    eager = sum(o.bits()(env) / 8 for o in pieces if o.path == op.path and o.attrs.get("role") == "self")
    assert eager / 1e12 == pytest.approx(5, rel=0.1)


def test_attention_intensity_grows_with_sequence_length():
    workload = catalogue.load("wan2.1-t2v-14b")
    stage = next(s for s in workload.stages if s.name == "denoise")
    (op,) = [o for o in stage.ops if o.kind == "attention" and o.attrs["role"] == "self"]
    values = []
    for frames in (21, 41, 81):
        env = stage.bind(workload.sizes({"frames": frames}))
        values.append(op.flops()(env) / (op.bits()(env) / 8))
    assert values[0] * 1.5 < values[1] < values[2] / 1.5


def test_goldens_similarity_matrix_is_what_the_unet_counts():
    """Section V-A assumes one self- and one cross-attention a level, down and up; SD has 2 down, 3 up, 1 mid."""
    workload = catalogue.load("stable-diffusion-1.5")
    stage = next(s for s in workload.stages if s.name == "denoise")
    env = stage.bind(workload.sizes())
    counted = 0
    for op in stage.ops:
        if op.kind == "attention":
            counted += op.scores()(env) // op.dims["heads"](env) * 2 * op.count(env)
    tokens = [64 * 64, 32 * 32, 16 * 16, 8 * 8]
    levels = [2 * n * (n + 77) for n in tokens]  # one self- and one cross-attention, fp16, one head
    # transformer blocks: 2 down + 3 up at each of the three upper levels, 1 in the middle
    assert counted == sum(5 * level for level in levels[:3]) + levels[3]
    # the formula takes one block down and one up at each level, and one at the bottom
    assert similarity_matrix_bytes(64, 64, 77, depth=3) == sum(2 * level for level in levels[:3]) + levels[3]


def test_every_workload_has_a_source_and_evaluates():
    for name in catalogue.names():
        workload = catalogue.load(name)
        assert workload.source, name
        assert workload.title, name
        total = estimate(workload, H100).total
        assert total.flops > 0
        assert total.limit_s > 0


def test_aliases_point_to_models():
    assert set(catalogue.ALIASES.values()) <= set(catalogue.names())


def test_a_video_model_knows_temporal_from_spatial_attention():
    stage = next(s for s in catalogue.load("animatediff-sd15").stages if s.name == "denoise")
    axes = {op.attrs.get("axis") for op in stage.ops if op.kind == "attention"}
    assert {"temporal", "spatial"} <= axes
