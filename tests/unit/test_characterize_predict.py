"""Predict and characterize are one engine: the same expected time for the same model, machine and software."""

import pytest

from frameroof.estimate.expected import chosen
from frameroof.study.characterize.predicted import Predicted
from frameroof.study.characterize.suite import model, suite
from frameroof.study.predict import predict

OTHERS = ("sdxl-base", "flux.1-dev", "wan2.1-t2v-14b", "hunyuanvideo", "pixart-alpha-1024", "sd3-medium")


@pytest.mark.parametrize("software", ["diffusers-eager", "compiled", "wan,attention=sdpa"])
@pytest.mark.parametrize("name", suite(f"golden,{','.join(OTHERS)}"))
def test_rows_add_up_to_what_predict_expects(name, software):
    source = Predicted("A100", (name,), chosen(software=software), "wall")
    whole = predict(model(name).workload, "A100", software=software).expected_s
    rows = [op.expected_s for stage in source.stages(name, "flash", {}) for op in stage.ops]
    assert sum(rows) == pytest.approx(whole, rel=1e-9)
    work = source.work(name, "flash", {})
    assert work["time_ns"].sum() == pytest.approx(whole * 1e9, abs=0.5 * len(rows))  # each in whole nanoseconds
