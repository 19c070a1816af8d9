"""Verdicts come from the numbers; what cannot be tested says why."""

import pytest

from frameroof.study.characterize import experiments
from frameroof.study.characterize.claims import claim, contradiction, statement
from frameroof.study.characterize.predicted import Predicted


@pytest.mark.parametrize(
    ("paper", "ours", "verdict"),
    [
        ((0.413,), [0.40], "agrees"),
        ((0.413,), [0.30], "differs"),
        ((0.13, 0.25), [0.14, 0.26], "agrees"),
        ((0.13, 0.25), [0.01, 0.2], "differs"),
        ((2.0,), [], "not tested"),
    ],
)
def test_verdicts_come_from_the_numbers(paper, ours, verdict):
    assert claim("text", "where", paper, ours, "%").verdict == verdict


def test_a_contradiction_names_the_reading_that_ours_supports():
    readings = (("nine times more", 1 / 9, 1 / 9), ("nine times fewer", 9.0, 9.0))
    got = contradiction("FLOPs", "VI", readings, 9.1, "x")
    assert (got.verdict, "nine times fewer" in got.why, "nine times more" in got.why) == (
        "contradicts itself",
        True,
        False,
    )
    assert contradiction("FLOPs", "VI", readings[1:], 9.1, "x").verdict == "agrees"
    assert statement("text", "where", "", "", None).verdict == "not tested"


class Unknown(Predicted):
    """A source of a machine whose peaks nobody knows, and whose numbers need a word of caution."""

    caveat = "Small models."

    def __init__(self, *models):
        super().__init__("A100", models)
        self.known, self.node = self.node, None
        self.machine = "a box"

    def work(self, *asked):
        self.node = self.known
        try:
            return super().work(*asked)
        finally:
            self.node = None


def test_a_claim_that_cannot_be_tested_has_no_number_of_ours_and_says_why():
    (got,) = experiments.run(Unknown("stable-diffusion", "muse", "parti"), ("figure-5",))
    bound = [c for c in got.claims if "bound by" in c.text]
    assert [(c.verdict, c.ours, c.why) for c in bound] == [
        ("not tested", "", "Peak and bandwidth of a box are not known.")
    ] * 2
    assert {row["ridge"] for row in got.rows} == {None}
    assert statement("text", "where", "all", "all", None).ours == ""


def test_a_caveat_is_part_of_every_reason_that_rests_on_the_source():
    (got,) = experiments.run(Unknown("stable-diffusion"), ("table-1",))
    warned = {c.counted: c.why.endswith("Small models.") for c in got.claims if c.ours}
    assert warned == {True: False}  # parameters and shapes are counted
    (got,) = experiments.run(Unknown("stable-diffusion"), ("figure-9",))
    assert all(c.why.endswith("Small models.") for c in got.claims)
    assert any("full size" in text for text in got.assumptions)


def test_the_papers_claims_are_about_its_own_models():
    """FLUX, which is a transformer that the paper calls a diffusion model nowhere, stands in rows and in no verdict."""
    asked = ("figure-5", "figure-7", "table-2", "table-3")
    own, more = (
        list(experiments.run(Predicted("A100", names), asked))
        for names in (("stable-diffusion",), ("stable-diffusion", "flux"))
    )
    assert [each.claims for each in own] == [each.claims for each in more]
    assert all({row["model"] for row in each.rows} == {"stable-diffusion", "flux.1-dev"} for each in more)
    by_one = "Claims over several models are judged by those of the paper's eight that are here: Stable Diffusion."
    assert [by_one in each.assumptions for each in more] == [True, True, True, False]  # Table III has none
    assert any(c.verdict in ("agrees", "differs") for each in own for c in each.claims)
    for each in experiments.run(Predicted("A100", ("flux",)), asked):
        verdicts = {c.verdict for c in each.claims if c.where not in ("Table II with IV-A and IV-B",)}
        assert verdicts == {"not tested"}
