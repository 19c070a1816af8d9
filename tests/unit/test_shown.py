"""Names from outside in every format that shows them: text, whatever it is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars
import pytest
from cli_said import run
from html_seen import seen
from trace_made import Made

from frameroof.report import console, markdown, progress
from frameroof.report.frames import as_text

EVIL = (
    "\x1b[31mRED\x1b[0m\x1b]0;title\x07[red]rich[/red] [/] [link=http://x]a[/link] :smile: \u202ertl \x9b31m "
    "<script>alert(1)</script> |md|`x` $a_b$ **bold** &amp; \n\r\t\x00N\ud800end"
)
SHOWN = (
    "RED[red]rich[/red] [/] [link=http://x]a[/link] :smile: rtl  <script>alert(1)</script> |md|`x` $a_b$ **bold** "
    "&amp;  N\ufffdend"
)
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trace with such names wherever one stands."""
    monkeypatch.chdir(tmp_path)
    made = Made(deviceProperties=[{"id": 0, "name": f"NVIDIA {EVIL}"}])
    made.module(f"{EVIL}_0", 0, 30_000)
    for at, name in enumerate((EVIL.replace("\ud800", "\ufffd"), "=1+1", "@SUM(1)", "+1", "-1+2", "\t=1")):
        made.one(EVIL, 10_000 + 100_000 * at, 50_000, name)
    return made.write(tmp_path, "evil.json")


def test_the_terminal_gets_names_as_text(trace: Path, monkeypatch, capsys) -> None:
    code, said = run(capsys, monkeypatch, "analyze", trace.name)
    assert code == 0
    assert not CONTROL.search(said)
    assert f"evil.json on NVIDIA {SHOWN[:70]}" in said


@pytest.mark.parametrize("verb", [("analyze",), ("gap", "--on", "H100")])
def test_json_is_utf_8_without_control_characters(trace: Path, monkeypatch, capsys, verb) -> None:
    code, said = run(capsys, monkeypatch, *verb, trace.name, "--json")
    assert code == 0
    assert not CONTROL.search(said)
    said.encode()
    assert "end" in json.dumps(json.loads(said))


def test_a_spreadsheet_gets_text_and_numbers(trace: Path, monkeypatch, capsys) -> None:
    assert run(capsys, monkeypatch, "analyze", trace.name, "--csv", "csv", "--parquet", "parquet")[0] == 0
    for file in Path("csv").iterdir():
        assert not CONTROL.search(file.read_text("utf-8"))
    kernels = polars.read_csv("csv/kernels.csv")
    assert set(kernels["name"]) == {SHOWN, "'=1+1", "'@SUM(1)", "'+1", "'-1+2", "' =1"}
    assert set(kernels["time_ns"]) == {50_000}
    assert set(polars.read_parquet("parquet/kernels.parquet")["name"]) == {
        SHOWN, "=1+1", "@SUM(1)", "+1", "-1+2", " =1"
    }  # fmt: skip


def test_a_formula_is_text_and_a_number_stays_one() -> None:
    names = ["=1", "+1", "-1", "@a", "  =1", "'=1", "\uff1d1", "1-1", "a=b", "(=1)", "", None]
    frame = as_text(polars.DataFrame({"name": names, "change": [-1.5] * 12, "count": [-1] * 12}))
    assert frame["name"].to_list() == [*(f"'{name}" for name in names[:7]), *names[7:]]
    assert frame.drop("name").write_csv().splitlines()[1:] == ["-1.5,-1"] * 12


def test_perfetto_opens_what_was_exported(trace: Path, monkeypatch, capsys) -> None:
    assert run(capsys, monkeypatch, "analyze", trace.name, "--perfetto", "out.json")[0] == 0
    ours = [e for e in json.loads(Path("out.json").read_text("utf-8"))["traceEvents"] if e.get("cat") == "frameroof"]
    assert ours
    assert not any(CONTROL.search(event["name"]) for event in ours)


def test_markdown_shows_names_as_text(trace: Path, monkeypatch, capsys) -> None:
    Path("other.json").write_text(trace.read_text().replace('dur": 50.0', 'dur": 90.0'))
    code, said = run(capsys, monkeypatch, "compare", trace.name, "other.json", "--markdown")
    assert code == 0
    assert not CONTROL.search(said)
    assert "<script" not in re.sub(r"`[^`]*`", "", said).replace(r"\<", "")
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}  # six cells


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("[a](http://x) <b> &lt; $x$ ~~y~~ _z_ `c`", r"\[a\](http://x) \<b> \&lt; \$x\$ \~\~y\~\~ \_z\_ \`c\`"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        ("> cited", r"\> cited"),
        ("1. first", r"1\. first"),
        ("---", r"\---"),
        ("-15.4 %", "-15.4 %"),
        ("12 -> 15", "12 -> 15"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_has_no_markup_but_ours(text: str, shown: str) -> None:
    assert markdown.escaped(text) == shown
    assert markdown.code(text).count("`") == 2


def test_a_table_takes_markup_and_emoji_as_text(capsys) -> None:
    page = console.console()
    page.print(console.table(["[b]name", "\x1b[1mn"], [["[red]x[/red] :smile:", "1\n2"]], title="[i]t\x07"))
    page.print("[bold]line\nof one[/bold] \x1b[2J:smile:")
    said = capsys.readouterr().out
    assert "[red]x[/red] :smile:" in said
    assert "[bold]line of one[/bold] :smile:\n" in said
    assert not CONTROL.search(said)


def test_what_a_verb_is_doing_is_text(monkeypatch, capsys) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.status("reading [/] [link=http://x]a") as say:
        pass
    with progress.status("") as say:
        say("reading \x1b]0;title\x07[/red]")
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "reading [/] [link=http://x]a\n" in said
    assert "reading [/red]\n" in said
    assert "\x1b" not in said


def test_a_file_with_an_odd_name_is_named_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    name = "\x1b[31mred\x1b]0;title\x07[bold]\n\udcff.json"
    made = Made()
    made.one("aten::mm", 10_000, 1_000)
    made.write(tmp_path).rename(name)
    code, said = run(capsys, monkeypatch, "analyze", name)
    assert (code, said.splitlines()[0][:19]) == (0, "red[bold] \ufffd.json on")
    code, said = run(capsys, monkeypatch, "analyze", name, "--json")
    assert (code, json.loads(said)["source"]["path"].encode() != b"") == (0, True)
    code, said = run(capsys, monkeypatch, "analyze", f"no {name}")
    assert (code, said.count("\n"), CONTROL.search(said)) == (2, 1, None)
    assert "no red[bold] \ufffd.json" in said


def test_a_figure_and_a_page_take_dollars_and_tags_as_text() -> None:
    import msgspec

    from frameroof.report import study
    from frameroof.report.figures import draw, saved
    from frameroof.report.page import page
    from frameroof.study.characterize.experiments import run as experiments
    from frameroof.study.characterize.predicted import Predicted

    (made,) = experiments(Predicted("A100", ("stable-diffusion",)), ("figure-9",))
    odd = msgspec.structs.replace(made, title=f"{EVIL} $\\frac{{$", machine=EVIL)
    figure = draw(odd)
    assert figure is not None
    assert saved(figure, "png")[:4] == b"\x89PNG"  # a formula would be an error
    what = study.study_of("predicted", EVIL, ("stable-diffusion",), {}, ())
    text = page(what, [odd], {})
    assert not CONTROL.search(text)
    assert "<script" not in text
    assert seen(text).text.count("RED[red]rich[/red]") >= 2
