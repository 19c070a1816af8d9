"""The paper's experiments: each whole, with its rows and claims; how they are chosen; Table I, sizes, devices."""

import json

import pytest
from characterize_made import predicted

from frameroof.study.characterize import experiments, suite
from frameroof.study.characterize.predicted import Predicted, passes_of, workload_of
from frameroof.study.characterize.source import columns, work_frame
from frameroof.workload.records import Op


@pytest.fixture(scope="module")
def source():
    return predicted()


def test_every_experiment_is_whole(source):
    for got in experiments.run(source):
        names = [column.name for column in got.columns]
        assert got.rows
        assert all(sorted(row) == sorted(names) for row in got.rows), got.id
        assert all(column.meaning for column in got.columns)
        json.dumps(got.to_dict(), allow_nan=False)
        assert got.frame().height == len(got.rows)
        for each in got.claims:
            assert all((each.text, each.where, each.why or each.verdict == "agrees")), each
        if not got.id.startswith(("beyond", "figure-6", "figure-11", "figure-9", "figure-14", "section")):
            assert got.claims, got.id


def test_the_known_contradictions_are_named(source):
    found = {
        c.text: c.ours_value
        for got in experiments.run(source, ("figure-4", "table-2", "figure-8", "section-5a", "figure-12"))
        for c in got.claims
        if c.verdict == "contradicts itself"
    }
    assert len(found) == 5
    assert found["Sequence length of Stable Diffusion varies over the inference by"] == 64  # 4096 over 64
    assert found["FLOPs of spatial over those of temporal attention"] == pytest.approx(9, rel=0.05)


def test_stable_diffusion_is_predicted_near_published_times(source):
    got = next(experiments.run(source, ("beyond-published",)))
    assert all(0.6 < row["ratio"] < 1.4 for row in got.rows), [(row["model"], row["ratio"]) for row in got.rows]


def test_experiments_are_chosen_by_id_number_and_topic():
    assert experiments.chosen("8, table-2") == ("table-2", "figure-8")
    assert experiments.chosen("sequence") == ("table-3", "figure-8", "figure-9")
    assert experiments.chosen() == tuple(experiments.EXPERIMENTS)
    with pytest.raises(ValueError, match="unknown figure or topic '99'"):
        experiments.chosen("99")


def test_a_ninth_model_is_one_line(monkeypatch):
    ninth = suite.Model("flux", "FLUX.1 schnell", "diffusion", "image", "flux.1-schnell", "latent")
    monkeypatch.setitem(suite.MODELS, "flux", ninth)
    source = Predicted("H100", ("flux",))
    got = next(experiments.run(source, ("figure-7",)))
    assert {row["model"] for row in got.rows} == {"flux"}
    assert suite.suite("golden,flux") == (*suite.GOLDEN, "flux")


def test_sizes_that_do_not_fit_are_left_out_of_a_sweep_and_named():
    class Small(Predicted):
        def sides(self, model):
            return (256, 512, 1024)

        def work(self, model, attention, sizes):
            if attention == "baseline" and sizes.get("height") == 1024:
                raise ValueError("baseline needs 9 GB")
            return super().work(model, attention, sizes)

        def calls(self, model, attention, sizes):
            if sizes.get("height") == 1024:
                raise ValueError("flash needs 7 GB")
            return super().calls(model, attention, sizes)

    sweep, lengths = experiments.run(Small("A100", ("stable-diffusion",)), ("figure-10", "figure-9"))
    assert [(row["side_px"], row["attention"]) for row in sweep.rows][-2:] == [(512, "flash"), (1024, "flash")]
    assert "1024 px is left out: baseline needs 9 GB." in sweep.assumptions
    assert {row["side_px"] for row in lengths.rows} == {256, 512}
    assert "1024 px is left out: flash needs 7 GB." in lengths.assumptions


def test_an_experiment_without_rows_says_why():
    asked = ("beyond-staggering", "beyond-staggering-series")
    for got in experiments.run(Predicted("A100", ("llama",)), ("figure-13", "beyond-video")):
        assert bool(got.rows) != bool(got.missing), got.id
    assert all(got.rows and not got.missing for got in experiments.run(Predicted("A100", ("llama",)), asked))


def test_levels_of_a_unet_are_those_of_its_configuration(source):
    pytest.importorskip("torch")
    from frameroof.models.common import component
    from frameroof.models.imagen import BASE

    (got,) = experiments.run(Predicted("A100", ("stable-diffusion", "imagen")), ("table-1",))
    ours = {row["model"]: row for row in got.rows}
    _, config = component("stable-diffusion-1.5", "unet")
    widths = config["block_out_channels"]
    assert ours["stable-diffusion"]["channel_multipliers"] == [width // widths[0] for width in widths]
    assert ours["stable-diffusion"]["res_blocks"] == config["layers_per_block"]
    assert ours["stable-diffusion"]["text_width"] == config["cross_attention_dim"]
    assert ours["stable-diffusion"]["attention_sides"] == [64, 32, 16, 8]
    assert ours["imagen"]["channel_multipliers"] == list(BASE.mults)
    assert ours["imagen"]["res_blocks"] == BASE.res_blocks[0]
    assert ours["imagen"]["attention_sides"] == [32, 16, 8]


def test_what_does_not_fit_a_device_has_no_cost_but_the_number(source):
    (got,) = experiments.run(source, ("beyond-cost",))
    of = {(row["machine"], row["model"]): row for row in got.rows}
    small = of["RTX 4090", "parti"]
    assert (small["seconds"], small["usd"]) == (None, None)
    assert "needs 4" in small["refused"]
    assert "24.00 GB" in small["refused"]
    assert of["RTX 4090", "llama"]["seconds"] > of["H100-SXM5-80GB", "llama"]["seconds"]


def test_sizes_that_were_asked_for_reach_other_devices():
    from frameroof.study.characterize.sized import resize

    plain = Predicted("A100", ("stable-diffusion",))
    sized, _ = resize(plain, {"steps": 10}, lambda m, s: workload_of(m, "flash").sizes(s))
    of = {}
    for name, each in (("plain", plain), ("sized", sized)):
        (got,) = experiments.run(each, ("beyond-cost",))
        of[name] = {row["machine"]: row["seconds"] for row in got.rows}
    assert all(of["sized"][machine] < of["plain"][machine] / 3 for machine in of["plain"])
    assert sized.other("H100").sizes("stable-diffusion")["steps"] == 10


def test_models_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="unknown model 'stable-diffuzion'; did you mean"):
        suite.model("stable-diffuzion")
    assert suite.model("sd15").name == "stable-diffusion"
    kinds = {name: (suite.model(name).family, suite.model(name).modality) for name in ("longlive-1.3b", "llama3.1-8b")}
    assert kinds == {"longlive-1.3b": ("diffusion", "video"), "llama3.1-8b": ("llm", "text")}
    assert suite.suite("sd15,wan2.1-t2v-1.3b") == ("stable-diffusion", "wan2.1-t2v-1.3b")


def test_frames_and_columns_refuse_what_does_not_fit():
    row = {"stage": "s", "name": "n", "class": "magic", "kind": "", "count": 1, "time_ns": 1, "flops": 0, "bytes": 0}
    with pytest.raises(ValueError, match="unknown class 'magic'"):
        work_frame([row])
    assert columns("time_s [s]: how long")[0].unit == "s"
    with pytest.raises(ValueError, match="not a column"):
        columns("no colon")


def test_every_operation_of_the_suite_has_a_class():
    from frameroof.study.characterize.classes import class_of

    found = {}
    for name in suite.GOLDEN:
        for run in passes_of(name, "baseline"):
            for work in run.work:
                found.setdefault(class_of(work.op), set()).add(work.op.kind)
    assert found["attention"] == {"attention"}
    assert found["convolution"] == {"conv1d", "conv2d", "conv3d"} & found["convolution"]
    assert found["linear"] <= {"linear", "matmul"}
    assert "other" not in found
    assert class_of(Op("n", "norm", "group_norm", (), ())) == "group norm"
