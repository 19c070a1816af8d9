"""What a change really brought: advice by its id and what it concerns, never by its title."""

import json
import re
from pathlib import Path

import pytest
from run_made import MS, advised, improved, made

from frameroof.recorded import Advice, concerns
from frameroof.run import SyncRow, load_run, save_run
from frameroof.study import advice_outcomes
from frameroof.study.compare import compare


@pytest.fixture(scope="module")
def found():
    return compare(made(), improved())


# --------------------------------------------------------------------------------------------- advice


def test_advice_that_is_gone_stands_beside_what_it_brought(found):
    told = [(b.id, b.bound_ns, b.concerns, b.before_ns, b.after_ns, b.brought_ns) for b in found.brought]
    assert told == [
        ("device.fused-attention", 20 * MS, "attention", 40 * MS, 10 * MS, 30 * MS),
        ("host.wait", 10 * MS, "idle after aten::item", 10 * MS, 0, 10 * MS),
    ]


@pytest.mark.parametrize(
    ("about", "words", "before", "after"),
    [
        (concerns.Idle("copy"), "idle: copy", 0, 0),
        (concerns.Idle("host_launch"), "idle: host_launch", 30 * MS, 32 * MS),
        (concerns.Classes(("linear", "attention")), "linear, attention", 60 * MS, 30 * MS),
        (concerns.Attention("self", 8), "self attention", 40 * MS, 10 * MS),
        (concerns.Attention("temporal", 8), "temporal attention", 0, 0),
        (concerns.Wait("aten::item", "model.py(7): step"), "idle after aten::item", 10 * MS, 0),
        (concerns.Stage("denoise"), "stage denoise", 60 * MS, 30 * MS),
        (concerns.Kernels(("<float>", "fwd")), "kernels named <float>, fwd", 40 * MS, 10 * MS),
        (concerns.Communication(), "exposed communication", 3 * MS, 1 * MS),
        (concerns.TextKeys(), "repeated keys and values of the text", 5 * MS, 0),
    ],
)
def test_each_advice_is_measured_on_what_it_concerns(about, words, before, after):
    """Whatever its words are, and be its id one of another version."""
    first, second = made(advice=[advised("some.thing", about, 1.0)]), improved()
    first.communication, second.communication = {"exposed_ns": 3 * MS}, {"exposed_ns": 1 * MS}
    first.text_kv.repeated_ns = 5 * MS
    (one,) = compare(first, second).brought
    assert (one.id, one.concerns, one.before_ns, one.after_ns) == ("some.thing", words, before, after)


def test_titles_and_evidence_that_count_otherwise_are_the_same_advice():
    first, second = made(), made()
    for number, advice in enumerate(second.advice):
        advice.title, advice.evidence, advice.max_gain_s = f"{number} other words", f"{number} ms", 1e-3
    assert compare(first, second).brought == []


@pytest.mark.parametrize(
    ("names", "gone"),
    [
        (("attention", "linear"), False),
        (("linear", "attention"), False),  # in the order of their times, which change
        (("linear",), False),  # followed in part: it still applies
        (("convolution",), True),
    ],
)
def test_advice_about_classes_applies_as_long_as_it_concerns_one_of_them(names, gone):
    runs = [
        made(advice=[advised("precision.fp32-products", concerns.Classes(each), 0.01)])
        for each in (("attention", "linear"), names)
    ]
    found = compare(*runs).brought
    assert [one.concerns for one in found] == (["attention, linear"] if gone else [])


def waiting(*places):
    """A run that waits (line, calls, ns) in `step`, and is advised about each."""
    lines = [f"model.py({line}): step" for line, _, _ in places]
    return made(
        syncs=[
            SyncRow("cudaStreamSynchronize", "aten::item", line, calls, ns, ns)
            for line, (_, calls, ns) in zip(lines, places, strict=True)
        ],
        advice=[advised("host.wait", concerns.Wait("aten::item", line), 0.01) for line in lines],
    )


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        ([(12, 3, 10), (40, 3, 20)], [(40, 3, 20)], [(10, 0)]),
        ([(12, 3, 10), (40, 3, 20)], [(39, 3, 19)], [(10, 0)]),  # the lines behind the one that went moved up
        ([(12, 3, 10), (40, 7, 20)], [(20, 7, 19)], [(10, 0)]),  # by far: as many calls tell which it is
        ([(12, 3, 10), (40, 3, 20)], [(13, 3, 10), (41, 3, 20)], []),
        ([(12, 3, 10)], [], [(10, 0)]),
        ([(12, 3, 10)], [(12, 3, 9), (40, 3, 8)], []),
    ],
)
def test_two_waits_are_told_apart_by_their_places(before, after, gone):
    found = compare(waiting(*before), waiting(*after)).brought
    assert [(one.before_ns, one.after_ns) for one in found] == gone


def test_a_wait_whose_line_moved_but_that_costs_little_now_is_measured_where_it_is():
    after = waiting((14, 3, 2))
    after.advice = []
    (one,) = compare(waiting((12, 3, 10)), after).brought
    assert (one.before_ns, one.after_ns, one.brought_ns) == (10, 2, 8)


def test_a_run_saved_before_advice_had_ids_is_advised_anew(tmp_path):
    """Nothing is dropped unsaid: the tables of the old run lead to the same advice as those of a new one."""
    old = made(advice=[Advice("Use fused attention", "", 0.02, "", "device")])
    for name, run in (("old", old), ("new", improved())):
        save_run(run, tmp_path / name)
    text = json.loads((tmp_path / "old" / "run.json").read_text())
    for advice in text["advice"]:
        del advice["id"], advice["concerns"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(text))
    found = compare(load_run(tmp_path / "old"), load_run(tmp_path / "new"))
    assert "The run before was saved before advice had ids: what is said of its advice is made anew." in found.notes
    (fused,) = (b for b in found.brought if b.id == "device.fused-attention")
    assert (fused.before_ns, fused.after_ns) == (40 * MS, 10 * MS)


def test_every_advice_that_frameroof_gives_has_an_id_of_its_own():
    """By reading its sources: no two calls share an id, and each is named in the reference."""
    files = sorted((Path(advice_outcomes.__file__).parents[1] / "trace" / "advice").glob("*.py"))
    ids = [name for file in files for name in re.findall(r'suggest\(\s*"([^"]+)"', file.read_text("utf-8"))]
    assert len(ids) == len(set(ids)) == 17
    assert all(re.fullmatch(r"[a-z]+\.[a-z0-9-]+", name) for name in ids)
    page = (Path(__file__).parents[2] / "docs" / "reference" / "analyze-json.rst").read_text("utf-8")
    assert [name for name in ids if f"``{name}``" not in page] == []
