"""Files that are nearly the JSON of one trace: several documents, lines, commas, comments and no numbers."""

from __future__ import annotations

import json

import pytest
from trace_made import H100, Made

from frameroof.trace.read.decode import read
from frameroof.trace.read.file import TraceError
from frameroof.trace.to_run import analyze


def events(count=4):
    t = Made()
    for i in range(count):
        t.op("aten::mm", 1_000_000 + 20_000 * i, 12_000, [[512, 512], [512, 512]], ext=1 + i)
        t.call(1_002_000 + 20_000 * i, 5_000, 1 + i)
        t.kernel(1_010_000 + 20_000 * i, 10_000, 1 + i)
    return [*t.events, *t.arrows()]


EVENTS = events()
WHOLE = json.dumps({"schemaVersion": 1, **H100, "traceEvents": EVENTS})
PRETTY = json.dumps({**H100, "traceEvents": EVENTS}, indent=2)
BARE = json.dumps(EVENTS)
LINES = "".join(f"{json.dumps(one)}\n" for one in EVENTS)
LISTED = ",\n".join(map(json.dumps, EVENTS))
NO_JSON = "events with characters or numbers that JSON does not allow"
TWICE = "another JSON document behind the first, which alone is read"
MORE = "text behind the end of the file's JSON"
BARELY = "the file is a bare list of events: it names no device, version or date"


KERNEL = '}, {"ph": "X", "cat": "kernel"'


def behind(old, new, count=-1):
    return WHOLE.replace(old, new, count)


ODD = {
    "two documents": (WHOLE + WHOLE, [TWICE]),
    "two documents on lines": (WHOLE + "\n" + WHOLE + "\n", [TWICE]),
    "two documents, indented": (PRETTY + "\n" + PRETTY, [TWICE]),
    "two lists": (BARE + "\n" + BARE, [BARELY, TWICE]),
    "a list, then an object": (BARE + "\n" + WHOLE, [BARELY, TWICE]),
    "a message behind": (WHOLE + "\nProfiler finished\n", [MORE]),
    "zeros behind": (WHOLE + "\0" * 4096, []),
    "a mark of the byte order": ("\ufeff" + WHOLE, []),
    "lines": (LINES, ["the file is events one a line: it names no device, version or date"]),
    "a comma after the last event": (f'{{"traceEvents": [{LISTED},\n]}}', [NO_JSON]),
    "a comma after every last": (f'{{"traceEvents": [{LISTED},\n],\n}}', [NO_JSON]),
    "a comma after the list": (f'{{"traceEvents": [{LISTED}]\n, }}', []),
    "a comma after the last of a list": (f"[{LISTED},\n]", [BARELY, NO_JSON]),
    "a list without end": (f"[{LISTED},\n", [BARELY]),
    "a comma within": (behind('"correlation": 3}', '"correlation": 3,}'), [NO_JSON]),
    "comments": (behind('[{"ph"', '[ // events\n{"ph"').replace(KERNEL, "}, /* on it */" + KERNEL[2:]), [NO_JSON]),
    "inf": (behind('"stream": 7', '"stream": 7, "memory bandwidth (GB/s)": inf'), [NO_JSON]),
    "-nan": (behind('"stream": 7', '"stream": 7, "est. achieved occupancy %": -nan(ind)', 1), [NO_JSON]),
    "Infinity": (behind('"stream": 7', '"stream": 7, "x": -Infinity, "y": [NaN, 1.#INF]', 2), [NO_JSON]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_clear_is_read_and_the_rest_is_said(tmp_path, name):
    text, said = ODD[name]
    path = tmp_path / "odd.json"
    path.write_text(text, "utf-8")
    run = analyze(path)
    assert sorted(p.what for p in run.problems) == sorted(said)
    assert (run.summary.kernels, run.summary.busy_ns, run.summary.span_ns) == (4, 40_000, 70_000)
    assert [(o.name, o.count) for o in run.operators] == [("aten::mm", 4)]


def test_names_that_look_like_comments_or_numbers_stay(tmp_path):
    t = Made()
    names = ["// no comment", "/* none */", "a, ]", "inf", ": nan, -inf}", 'say \\"x\\" // y']
    for i, name in enumerate(names):
        t.op(name, 1_000_000 + 1_000 * i, 500)
    path = t.write(tmp_path)
    path.write_text(path.read_text("utf-8").replace('"ph"', '"a": inf, "ph"'), "utf-8")
    assert sorted(set(read(path).names) & set(names)) == sorted(names)


@pytest.mark.parametrize("form", ["lines", "documents"])
def test_large_files_of_lines_and_of_documents(tmp_path, form):
    """Of several pieces, at whose seams a comma may be due."""
    many = events(9_000)
    path = tmp_path / "large.json"
    if form == "lines":
        path.write_text("\n".join(map(json.dumps, many)), "utf-8")
    else:
        path.write_text(json.dumps({"traceEvents": many}) + "\n" + json.dumps({"traceEvents": many}), "utf-8")
    assert path.stat().st_size > 4 << 20
    trace = read(path, helper=False)
    assert (len(trace.work), len(trace.host), len(trace.problems)) == (9_000, 18_000, 1)


@pytest.mark.parametrize("between", ["", "\n"])
def test_a_document_behind_one_that_was_cut_off_is_another(tmp_path, between):
    """The first ends in its third kernel; the second has the same numbers, a second later."""
    path = tmp_path / "odd.json"
    later = WHOLE.replace('"ts": 1', '"ts": 1000')
    path.write_text(WHOLE[: WHOLE.rindex('"cat": "kernel"', 0, WHOLE.index("1050.0"))] + between + later, "utf-8")
    run = analyze(path)
    assert (run.summary.kernels, run.summary.span_ns) == (2, 30_000)
    assert TWICE in [p.what for p in run.problems]


def test_a_list_of_traces_is_refused(tmp_path):
    path = tmp_path / "odd.json"
    path.write_text(f"[{WHOLE}, {WHOLE}]", "utf-8")
    with pytest.raises(TraceError, match="a list of traces"):
        analyze(path)


def test_a_name_in_the_middle_of_text_behind_is_no_document(tmp_path):
    path = tmp_path / "made.json"
    path.write_text(WHOLE + ' see "ph" {', "utf-8")
    assert [p.what for p in analyze(path).problems] == [MORE]
