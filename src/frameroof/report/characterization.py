"""Experiments in the terminal: the paper's claims beside our numbers; rows and reasons where few were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from ..study.characterize.source import Experiment
from .cells import cell, heading
from .console import Grid, console, table

COLORS = {"agrees": "green", "differs": "red", "contradicts itself": "magenta", "not tested": "dim"}
FEW, MOST_ROWS, WIDE = 2, 120, 170


def print_experiments(experiments: Sequence[Experiment], out: Path | None) -> None:
    """Print claims of every experiment, of a few also rows, reasons and assumptions; and where the files are."""
    page, few = console(least=WIDE if len(experiments) <= FEW else 150), len(experiments) <= FEW
    for each in experiments:
        where = f"({', '.join(filter(None, (each.how, each.machine)))})" if each.rows else "(no data)"
        page.print(f"{each.id}  {each.title}  {where}", style="bold")
        if not each.rows:
            page.print(each.missing or "None of these models is part of this experiment.")
        elif few and len(each.rows) <= MOST_ROWS:
            page.print(_rows(each))
        elif few:
            page.print(f"{len(each.rows):,} rows: --json prints them, --out writes and draws them")
        if each.claims:
            page.print(_claims(each, few))
        if few:
            for text in dict.fromkeys(each.assumptions):
                page.print(text, style="dim")
        page.print()
    verdicts = Counter(claim.verdict for each in experiments for claim in each.claims)
    if verdicts:
        told = ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common())
        page.print(f"{sum(verdicts.values())} claims: {told}", style="bold")
        page.print(
            "Ours agrees if it lies in the paper's range widened by a tenth. "
            + (
                "" if few else "Reasons, rows and assumptions: one experiment alone (--figure 8), or the page of --out."
            ),
            style="dim",
        )
    if out is not None:
        page.print(f"wrote {out / 'page.html'}, and of each experiment JSON, Parquet, PNG and SVG beside it")


def _claims(experiment: Experiment, why: bool) -> Grid:
    made = Grid()
    for column, width in (("claim", 52), ("paper", 26), ("ours", 40), ("verdict", 18)):
        made.add_column(column, max_width=width, overflow="fold")
    if why:
        made.add_column("why", min_width=30, overflow="fold")
    for claim in experiment.claims:
        verdict = Text(claim.verdict, style=COLORS[claim.verdict])
        made.add_row(claim.text, claim.paper, claim.ours, verdict, *([claim.why] if why else []))
    return made


def _rows(experiment: Experiment) -> Grid:
    columns = [c for c in experiment.columns if not (c.name == "title" or c.name.endswith("_source"))]
    rows = [[cell(row.get(c.name), c) for c in columns] for row in experiment.rows]
    words = {
        heading(c)
        for c in columns
        if not all(isinstance(row.get(c.name), int | float | None) for row in experiment.rows)
    }
    return table([heading(c) for c in columns], rows, left=0, text=tuple(words))
