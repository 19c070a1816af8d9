"""Published times beside predicted ones: which rows there are, what is predicted of each, and how groups are judged."""

from __future__ import annotations

import itertools
import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from frameroof.cli.app import command_line
from frameroof.estimate.expected.curves import Curves
from frameroof.estimate.expected.intervals import factors_of
from frameroof.estimate.expected.protocol import Spent
from frameroof.study.predict import predict
from frameroof.study.validate.groups import Rule, group_of, groups, parse_rules, percentile
from frameroof.study.validate.rows import Row, left_out, published, seconds_of, shipped_rows
from frameroof.study.validate.score import Scored, score
from frameroof.study.validate.table import read_table
from frameroof.study.validate.validate import validate

SD = "stable-diffusion-1.5"
ROW = Row("a", SD, "A100", 1.6, {"height": 512, "width": 512, "steps": 50}, "fp16", "diffusers-eager")


def made(error: float, covered: bool = True, **said: object) -> Scored:
    """A row of one published second, missed by `error`."""
    expected = 1 + error
    ends = (0.5, 2.0) if covered else (3.0, 4.0)
    return Scored(Row("r", "wan2.1", "H100", 1.0), 0.1, expected, *ends, **{"tables": True, **said})  # type: ignore[arg-type]


def test_every_published_time_is_predicted_or_left_out_with_a_reason():
    shown = {row.id for row in shipped_rows()}
    assert shown.isdisjoint(left_out())
    assert shown | set(left_out()) == set(published())
    assert all(row.why and row.source for row in shipped_rows())


@pytest.mark.shared
def test_published_times_are_those_of_the_facts(shared: Path):
    facts = json.loads((shared / "facts" / "published_numbers.json").read_text("utf-8"))["rows"]
    times = {row["id"]: row for row in facts if row["quantity"] in ("latency", "throughput")}
    assert set(published()) == set(times)
    for id_, row in published().items():
        said = {name: getattr(row, name) for name in row.__struct_fields__}
        assert said == {name: times[id_].get(name) for name in said}, id_


def test_rates_and_milliseconds_become_seconds_of_a_batch():
    rows = published()
    rate = next(row for row in rows.values() if row.unit == "Samples/s" and row.n_devices == 8)
    assert seconds_of(rate, batch=4) == pytest.approx(4 * 8 / rate.value)
    assert seconds_of(next(row for row in rows.values() if row.unit == "ms")) < 10
    with pytest.raises(ValueError, match="no time and no rate"):
        seconds_of(next(row for row in rows.values() if row.unit == "Tokens/s"))


def test_a_whole_run_is_what_predict_says():
    found = score(ROW)
    same = predict(SD, "A100", sizes=dict(ROW.sizes), dtype="fp16", software="diffusers-eager")
    ends = (same.limit_s, same.expected_s, same.low_s, same.high_s)
    assert (found.limit_s, found.expected_s, found.low_s, found.high_s) == pytest.approx(ends)
    assert found.error == pytest.approx(same.expected_s / 1.6 - 1)


def test_a_step_is_a_share_of_the_steps_and_a_forward_has_no_guidance():
    of = {scope: score(Row("a", SD, "A100", 1.0, {"steps": 10}, scope=scope)) for scope in ("denoise", "step", "total")}
    assert of["denoise"].limit_s == pytest.approx(10 * of["step"].limit_s)
    assert of["denoise"].limit_s < of["total"].limit_s
    forward = score(Row("a", SD, "A100", 1.0, scope="forward"))
    assert forward.limit_s == pytest.approx(of["step"].limit_s / 2, rel=0.1)  # weights are read once in both


def test_the_command_of_a_row_is_read_as_it_is_meant():
    words = ROW.command.split()
    assert words[:5] == ["frameroof", "predict", SD, "--on", "A100"]
    done = CliRunner().invoke(command_line(), [*words[1:], "--json"])
    assert json.loads(done.output)["total"]["expected_s"] == pytest.approx(score(ROW).expected_s)


def test_a_row_that_cannot_be_predicted_says_why():
    assert "unknown model" in score(Row("a", "wan9", "H100", 1.0)).left_out
    assert "no device" in score(Row("a", SD, "H1000", 1.0)).left_out
    assert "no stage" in score(Row("a", SD, "H100", 1.0, scope="upscaler")).left_out
    assert "unknown software" in score(Row("a", SD, "H100", 1.0, software="jax")).left_out


def test_devices_may_stand_in_the_name_of_the_machine():
    found = [score(Row("a", "flux", on, 1.0, devices=many)) for on, many in (("8xH100", 1), ("8xH100", 8), ("H100", 8))]
    assert [each.row.machine for each in found] == ["8xH100-SXM5-80GB"] * 3
    assert list(groups(found)) == ["all", "several devices"]


def test_steps_of_two_experts_are_divided_and_one_frame_of_an_image_says_nothing():
    row = score(Row("a", "wan2.2-t2v-a14b", "H100", 1.0, {"steps": 20})).row
    assert row.sizes == {"steps_high": 13, "steps_low": 7}  # 26 and 14 of 40
    assert not score(Row("a", SD, "H100", 1.0, {"frames": 1})).left_out


def test_a_group_is_judged_by_its_errors():
    found = group_of([made(-0.1), made(0.1), made(0.2), made(0.5, covered=False), made(-0.3)])
    assert (found.rows, found.median, found.bias) == (5, pytest.approx(0.2), pytest.approx(0.1))
    assert found.p90 == pytest.approx(0.42)
    assert (found.within_20, found.coverage) == (pytest.approx(0.6), 0.8)
    assert percentile([3.0, 1.0], 0.5) == 2


def test_parts_hosts_and_several_devices_are_groups_of_their_own():
    step = made(0.3, host_bound=True)
    part = Scored(Row("p", "wan2.1", "H100", 1.0, scope="vae_decode"), 0.1, 1.1, 1, 2, True)
    many = Scored(Row("m", "wan2.1", "H100", 1.0, devices=8), 0.1, 1.1, 1, 2, True)
    found = groups([made(0.1), step, part, many, made(0.2, tables=False), Scored(ROW, left_out="no")])
    assert list(found)[:6] == ["all", "end to end", "without tables", "host-bound", "components", "several devices"]
    assert {name: group.rows for name, group in found.items() if ":" in name} == {
        "device: H100": 2,
        "family: wan": 2,
        "software: compiled": 2,
    }


def test_rules_are_broken_past_their_bounds():
    found = groups([made(-0.15), made(-0.15)])
    broken = {rule.text: rule.broken(found) for rule in parse_rules("median>10%,bias>20%,within_20<90%,p90>14.5%")}
    assert [text for text, said in broken.items() if said] == ["median>10%", "p90>14.5%"]
    assert "end to end: median is 15.0%" in broken["median>10%"]
    asked = "device: H100:median>10%"
    assert parse_rules(asked) == [Rule(asked, "device: H100", "median", True, 0.1)]
    with pytest.raises(ValueError, match="is not a rule"):
        parse_rules("mean>10%")
    with pytest.raises(ValueError, match="there is no row in 'components'"):
        parse_rules("components:p90>1%")[0].broken(found)


def test_a_table_of_ones_own_is_read_by_its_columns(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text(
        "\ufeffModel,GPU,Seconds,Num Steps,height,n_devices,scope,software,remark\n"
        f'{SD},A100,1.6,50.0,512,1,e2e,"diffusers-eager,attention=fa2",fine\n'
        f"{SD},A100,0,50,512,,,,\n\n"
        f"{SD},A100,2,many,512,,,,\n",
        encoding="utf-8",
    )
    rows, left = read_table(path)
    assert [(row.scope, row.devices, row.software, row.sizes) for row in rows] == [
        ("total", 1, "diffusers-eager,attention=fa2", {"steps": 50, "height": 512})
    ]
    assert list(left) == ["line 3", "line 5"]
    assert "above 0" in left["line 3"]
    assert "'many'" in left["line 5"]
    found = validate(table=path).to_dict()
    assert [row["left_out"] is None for row in found["rows"]] == [True, False, False]


def test_a_table_may_have_rates_and_other_units(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("model,on,value,unit,batch,devices\nsd,A100,16,samples/s,4,8\nsd,A100,20,ms,,2\nsd,A100,1,ly,,\n")
    rows, left = read_table(path)
    assert [(row.seconds, row.devices) for row in rows] == [(2.0, 1), (0.02, 2)]
    assert "'ly' is no time" in left["line 4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no column"), ("model,hardware\n", "no column seconds"), ("model,on,gpu,seconds\n", "twice")],
)
def test_a_file_that_is_no_table_is_a_sentence(tmp_path: Path, text: str, said: str):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_table(path)


def test_the_verb_fails_past_a_stated_error_and_says_which():
    run = CliRunner()
    asked = ["validate", "--model", "mochi-1", "--json"]
    done = run.invoke(command_line(), [*asked, "--fail-on", "without tables:p90>0%"])
    data = json.loads(done.stdout)
    assert done.exit_code == 1
    assert data["failed"]
    assert [row["id"] for row in data["rows"]] == ["gt0374"]
    assert run.invoke(command_line(), [*asked, "--fail-on", "without tables:p90>900%"]).exit_code == 0
    page = run.invoke(command_line(), ["validate", "--model", "mochi-1"]).output
    assert "gt0374" in page
    assert "family: mochi" in page
    with pytest.raises(ValueError, match="there is no published time of dit-xl-2"):
        validate(model="dit-xl-2")


FEWEST, SLACK = 10, 0.01
"""Rows of a group that is held to its figures, and by how much they may be worse."""


def test_no_group_is_worse_than_the_committed_figures(root: Path):
    path = max((root / "benchmarks" / "results").glob("validation-*.json"))
    committed = json.loads(path.read_text("utf-8"))["groups"]["shipped"]
    found = validate()
    assert [each.row.id for each in found.impossible] == []
    for name, was in committed.items():
        if was["rows"] < FEWEST:
            continue
        now = found.groups[name].to_dict()
        assert now["rows"] >= was["rows"], name
        for metric, worse in (("median", 1), ("p90", 1), ("within_20", -1)):
            assert (now[metric] - was[metric]) * worse <= SLACK, f"{name}: {metric} was {was[metric]}, is {now[metric]}"


def test_what_was_left_out_is_near_enough(root: Path):
    """The aims that were set before the fit, for whole models on one device whose products were measured."""
    found = json.loads(max((root / "benchmarks" / "results").glob("validation-*.json")).read_text("utf-8"))["groups"]
    family, generation = (found[kind]["end to end"] for kind in ("family_left_out", "generation_left_out"))
    assert family["median"] <= 0.10
    assert family["p90"] <= 0.30
    assert family["within_20"] >= 0.78
    assert generation["median"] <= 0.12
    for kind in found.values():
        for name, group in kind.items():
            assert group["rows"] < 30 or 0.74 <= group["coverage"] <= 0.92, name


def test_intervals_are_wider_where_less_is_known():
    own = Curves(schema="frameroof.efficiency/2", kind="kernels", name="x", source="x", date="2026-12-01", device="x")
    other = Curves(**{**{n: getattr(own, n) for n in own.__struct_fields__}, "derived_from": "y"})
    busy, waiting = Spent(1.0, 0.5), Spent(0.5, 1.0)

    def width(*asked: object) -> float:
        low, high = factors_of(*asked)  # type: ignore[arg-type]
        assert low < 1 < high
        return high / low

    assert width(busy, own, False) < width(busy, own, True) < width(busy, other, True)
    assert width(busy, own, False) < width(busy, other, False) < width(waiting, other, False)


def test_every_record_of_a_pipeline_is_of_a_model_there_is():
    from fnmatch import fnmatchcase

    from frameroof import catalogue
    from frameroof.estimate.expected.pipelines import RECORDS, pipeline_of

    patterns = [name for row in tomllib.loads(RECORDS.read_text("utf-8"))["pipeline"] for name in row["models"]]
    assert [p for p in patterns if not any(fnmatchcase(name, p) for name in catalogue.names())] == []
    assert pipeline_of("wan2.2-t2v-a14b").guidance == "twice"


def test_devices_rank_as_published():
    """Wan 2.1 14B in 720p, by its repository: each pair of devices within 20 % of the published ratio."""
    seen = {"A100": 3342.6, "H100": 1837.9, "H20": 6935.5}
    found = {name: predict("wan2.1-t2v-14b", name, software="wan").expected_s for name in seen}
    assert sorted(found, key=found.__getitem__) == sorted(seen, key=seen.__getitem__)
    for one, other in itertools.combinations(seen, 2):
        assert found[one] / found[other] == pytest.approx(seen[one] / seen[other], rel=0.2), (one, other)
