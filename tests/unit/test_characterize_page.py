"""Figures, page and folder of a study."""

import xml.etree.ElementTree as ET
from base64 import b64decode

import msgspec
import polars as pl
import pytest
from html_seen import seen

from frameroof.report.cells import cell, heading
from frameroof.report.figures import draw, figure_of, saved
from frameroof.report.figures.beyond import role_of
from frameroof.report.page import first_sentence, page, shared_assumptions
from frameroof.report.study import KINDS, Study, check_folder, open_folder, read_experiments, write_experiment
from frameroof.study.characterize.experiments import EXPERIMENTS, run
from frameroof.study.characterize.predicted import Predicted
from frameroof.study.characterize.reuse import COUNTED_COLUMNS
from frameroof.study.characterize.source import Claim, Column, Experiment, columns
from frameroof.study.characterize.training import FIGURE_6_COLUMNS

STUDY = Study(how="predicted", machine="A100", models=("a",), sizes={}, frameroof="1", versions={"python": "3"})


def claim(text="<i>more</i> & faster", verdict="differs"):
    return Claim(text=text, where="II", paper="2x", ours="1x", verdict=verdict, why="Half of it.")


def training(rows=((1, 3.0, 0.0), (2, 3.0, 1.0)), claims=(), id="figure-6"):
    names = ("devices", "compute_s", "communication_s", "communication_share")
    made = tuple(dict(zip(names, (d, c, m, m / (c + m)), strict=True)) | {"backend": "gloo"} for d, c, m in rows)
    return Experiment(id=id, title="Training", how="measured", machine="one <CPU>", columns=FIGURE_6_COLUMNS,
                      rows=made, claims=tuple(claims), assumptions=("All alike.", "Only here."))  # fmt: skip


def test_every_experiment_has_a_figure():
    assert len({figure_of(name) for name in EXPERIMENTS}) == len(EXPERIMENTS)


def test_bars_have_the_heights_of_the_rows():
    (axes,) = draw(training()).axes
    assert [bar.get_height() for bar in axes.patches] == [3.0, 3.0, 0.0, 1.0]
    assert [bar.get_y() for bar in axes.patches][2:] == [3.0, 3.0]  # communication stands on compute


def test_a_figure_of_the_prediction_has_its_numbers():
    source = Predicted("A100", ("stable-diffusion",))
    (breakdown,) = run(source, ("figure-7",))
    heights = sum(bar.get_height() for bar in draw(breakdown).axes[0].patches)
    assert heights == pytest.approx(sum(row["of_baseline"] for row in breakdown.rows))
    (sequence,) = run(source, ("figure-8",))
    drawn = draw(sequence).axes[0].lines[0].get_ydata()
    assert list(drawn) == [4096] * 2 + [1024] * 2 + [256] * 2 + [64] + [256] * 3 + [1024] * 3 + [4096] * 3


def test_counters_are_drawn_where_they_were_read():
    rows = tuple(
        {"kind": kind, "class": "gemm", "kernels": 1, "l2_mpki": misses, "dram_bytes": None}
        for kind, misses in (("spatial", 3.0), ("temporal", 5.5))
    )
    read = Experiment(id="figure-13", title="", how="measured", machine="", columns=COUNTED_COLUMNS, rows=rows)
    (axes,) = draw(read).axes
    assert [bar.get_height() for bar in axes.patches] == [3.0, 5.5]
    assert "l2_mpki" in axes.get_ylabel()


def test_pictures_are_the_same_bytes_every_time():
    first, again = draw(training()), draw(training())
    for kind in ("svg", "png"):
        assert saved(first, kind) == saved(again, kind)
    svg = saved(first, "svg")
    assert ET.fromstring(svg).tag.endswith("svg")
    assert b"dc:date" not in svg
    assert saved(first, "png").startswith(b"\x89PNG")


def test_nothing_is_drawn_of_nothing():
    assert draw(training(rows=())) is None


def test_stages_have_their_roles():
    stages = ("text_encoder_2", "super_resolution_256", "vae_decode", "decode", "denoise", "c_vivit_decode", "what")
    roles = ("text encoder", "super-resolution, interpolation", "decoder", "generator", "generator", "decoder", "other")
    assert tuple(map(role_of, stages)) == roles


def test_the_page_needs_nothing_else_and_says_everything():
    one, other = training(claims=(claim(),)), training(claims=(claim("Slower", "not tested"),), id="figure-5")
    picture = saved(draw(one), "svg")
    found = seen(page(STUDY, (one, other), {"figure-6": picture}))
    assert {f"#{id}" for id in found.ids} >= set(found.links)
    (image,) = found.sources
    assert b64decode(image.removeprefix("data:image/svg+xml;base64,")) == picture
    assert found.text.count("<i>more</i> & faster") == 2  # in the summary and in its own table, not as markup
    assert found.text.count("Half of it.") == 4  # in short in the summary, whole in its own table
    for words in ("one <CPU>", "figure-5", "differs 1", "not tested 1", "python 3", "1.00 s", "25 %"):
        assert words in " ".join(found.text.split())


def test_the_page_says_why_there_is_no_data():
    empty = msgspec.structs.replace(training(rows=()), missing="Nobody trained.")
    text = " ".join(seen(page(STUDY, (empty,), {})).text.split())
    assert "No data. Nobody trained." in text
    assert "one <CPU>" not in text  # nothing was measured anywhere


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Ours is 0.59 of the paper's. Counted without.", "Ours is 0.59 of the paper's."),
        ("Ours supports: nine times fewer. More.", "Ours supports: nine times fewer."),
        ("FLOPs over capacity: " + "a 2.5, " * 20 + "b 3. More.", "FLOPs over capacity."),
        ("", ""),
    ],
)
def test_a_reason_in_short_is_its_first_sentence(text, short):
    assert first_sentence(text) == short


def test_what_most_assume_is_said_once():
    many = (training(), training(id="figure-5"), msgspec.structs.replace(training(), assumptions=("Only here.",)))
    assert shared_assumptions(many) == ("All alike.", "Only here.")
    assert shared_assumptions(many[:1]) == ()
    text = seen(page(STUDY, many, {})).text
    assert text.count("All alike.") == 1


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (None, "x", ""),
        (True, "x", "yes"),
        (0.413, "attention_share", "41.3 %"),
        (1.5, "speedup [x]", "1.5x"),
        (2_000_000, "held [byte]", "2.000 MB"),
        (0.002, "time_s [s]", "2.00 ms"),
        (1234, "tokens", "1,234"),
        (7.6151, "memory_utilization_over_llm", "7.615"),
        ([1, 2], "shape", "1, 2"),
        ({"batch": 16}, "sizes", "batch=16"),
    ],
)
def test_cells_read_as_people_do(value, column, text):
    assert cell(value, columns(f"{column}: what")[0]) == text


def test_a_heading_names_the_unit_that_values_do_not_carry():
    assert heading(Column("query_len", "token", "")) == "query len [token]"
    assert heading(Column("time_s", "s", "")) == "time"
    assert heading(Column("attention_s", "s", "")) == "attention time"


def test_an_experiment_is_written_in_four_forms_and_not_again(tmp_path):
    write_experiment(tmp_path, training())
    assert {file.name for file in tmp_path.iterdir()} == {f"figure-6.{kind}" for kind in KINDS}
    assert pl.read_parquet(tmp_path / "figure-6.parquet")["communication_s"].to_list() == [0.0, 1.0]
    (back,) = read_experiments(tmp_path)
    assert back == training()
    before = {file: file.stat().st_ino for file in tmp_path.iterdir()}
    write_experiment(tmp_path, training())
    assert {file: file.stat().st_ino for file in tmp_path.iterdir()} == before
    (tmp_path / "figure-6.svg").unlink()
    write_experiment(tmp_path, training())
    assert (tmp_path / "figure-6.svg").is_file()
    write_experiment(tmp_path, training(rows=()))
    assert {file.name for file in tmp_path.iterdir()} == {"figure-6.json"}


def test_a_folder_takes_up_its_own_study_only(tmp_path):
    out = tmp_path / "study"
    first = open_folder(out, STUDY)
    later = msgspec.structs.replace(STUDY, made="2030-01-01", versions={})
    assert open_folder(out, later) == first
    other = msgspec.structs.replace(STUDY, machine="H100")
    write_experiment(out, training())
    with pytest.raises(ValueError, match=r"another study \(predicted, A100, a, frameroof 1\)"):
        open_folder(out, other)
    assert list(read_experiments(out))
    assert open_folder(out, other, force=True) == other
    assert not list(read_experiments(out))
    write_experiment(out, training())
    open_folder(out, other, force=True)
    assert not list(read_experiments(out))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no study"):
        check_folder(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        check_folder(tmp_path / "mine.txt")
    open_folder(tmp_path, STUDY, force=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"
