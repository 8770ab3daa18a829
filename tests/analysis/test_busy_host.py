"""A host that was busy with other work: by the recorded shares alone."""

from typing import Any

import pytest

from accelbench.analysis.disturbance import busy_in_words, is_busy


@pytest.mark.parametrize(
    ("activity", "busy"),
    [
        (None, False),
        ({}, False),
        ({"share_of_others": None, "steal_share": None}, False),
        ({"share_of_others": 0.1, "steal_share": 0.05}, False),
        ({"share_of_others": 0.11, "steal_share": None}, True),
        ({"share_of_others": 0.0, "steal_share": 0.06}, True),
        ({"share_of_others": "much"}, False),
    ],
)
def test_a_host_is_busy_above_the_stated_shares_and_unknown_below(activity: dict[str, Any] | None, busy: bool) -> None:
    assert is_busy(activity) is busy


def test_how_busy_it_was_is_said_of_the_disturbed_rounds_alone() -> None:
    busy = {"share_of_others": 0.8, "steal_share": 0.03, "cores": 2}
    said = busy_in_words([busy, busy, {"share_of_others": 0.01, "cores": 2}, None])
    assert said == "other programs used 83 % of all 2 cores in 2 of 4 rounds"
    assert busy_in_words([None]) is None
