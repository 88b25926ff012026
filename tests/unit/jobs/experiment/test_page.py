"""The page shows every claim and every arm, draws its intervals inside their scales, and keeps text as text."""

import re

from jobs.experiment.arms import Claim
from jobs.experiment.page import render
from tests.unit.jobs.experiment.test_table import CLAIM, results


def test_every_claim_and_arm_is_drawn() -> None:
    text = render(results("more", 15, 16, 14) + results("less", 5, 5, 6), [CLAIM], ["car", "scout"]).decode()
    assert "more is more" in text
    assert "reproduces" in text
    assert 'aria-label="+48%, between +' in text
    assert text.count("policy: ") == 2, "one strip for each arm on the one robot that was played"


def test_what_one_seed_or_none_says_has_no_interval() -> None:
    never = Claim(says="never tried", better="x", worse="y")
    text = render(results("more", 20) + results("less", 0), [CLAIM, never], ["scout"]).decode()
    assert "not measured" in text
    places = [float(place) for place in re.findall(r'x[12]="([-0-9.]+)"', text)]
    assert places
    assert min(places) >= 0
    assert max(places) <= 200, "nothing is drawn outside its picture"


def test_words_stay_words() -> None:
    hostile = Claim(says="<script>alert(1)</script>", better="more", worse="less")
    assert b"<script" not in render(results("more", 1, 2), [hostile], ["scout"])
