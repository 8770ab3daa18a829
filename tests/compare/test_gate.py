"""`accelbench gate`: what passes, what does not, and how often it is wrong."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from accelbench.analysis.intervals import Comparison, Observations, compare_paired
from accelbench.analysis.verdicts import ALPHA, smallest_detected
from accelbench.cli import app
from accelbench.compare.gate import Gate, decide, gate, gate_text, junit, limit_of
from accelbench.errors import UserError
from accelbench.store.files import read_json, write_json, write_jsonl

from ..analysis.records import asked_rounds
from ..analysis.simulated import drawn_logs, nested
from ..inference.endpoint_stand_in import StandIn, stream

LIMIT = 0.05
ROUNDS, PROMPTS = 6, 20


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")


def measured(name: str, latency_s: Callable[[int], float], *, rounds: int = 6, others: float = 0.0) -> Path:
    """Write rounds as the workflow does. `others`: how busy the host was with other work in the second one."""
    requests = asked_rounds(name, latency_s, rounds=rounds, start_s=0.0 if name == "base" else 1.0)
    for number in range(1, rounds + 1):
        folder = Path(name) / f"r{number}"
        busy = {"host_activity": {"share_of_others": others}} if number == 2 else {}
        write_jsonl(folder / "requests.jsonl", [r for r in requests if r.round == number])
        write_json(folder / "run.json", {"host": {"name": "box"}, **busy})
    return Path(name)


def gated(times: Callable[[int], float], **new: float) -> Gate:
    """Gate a new endpoint that takes so many times as long as the base; the tokens tell the requests apart."""
    base = measured("base", lambda tokens: 1 + tokens / 100)
    later = measured("new", lambda tokens: (1 + tokens / 100) * times(tokens), **new)  # type: ignore[arg-type]
    return gate(base, later, ["e2e_s"], LIMIT)


def around(middle: float, spread: float) -> Callable[[int], float]:
    return lambda tokens: middle * math.exp(spread * math.sin(12.9898 * tokens))


@pytest.mark.parametrize(
    ("times", "outcome", "said"),
    [
        (around(1.0, 0.02), "passes", "E2E latency (e2e_s): passes: "),
        (
            around(1.02, 0.001),
            "passes",
            "+2.0 % (95 % interval +1.9 % to +2.1 %, n = 48 pairs in 6 rounds)",
        ),
        (around(1.5, 0.02), "worse", "worse: +50 % ("),
        (around(0.5, 0.02), "passes", "passes: −50 % ("),
        (around(1.02, 0.4), "undecided", "can't tell: "),
    ],
)
def test_a_change_passes_fails_or_can_not_be_told(times: Callable[[int], float], outcome: str, said: str) -> None:
    found = gated(times)
    assert found.outcome == outcome
    assert said in gate_text(found)


def test_what_is_undecided_says_what_it_detects_and_what_it_takes() -> None:
    (result,) = gated(around(1.02, 0.2)).results
    assert result.needed and result.needed.more_rounds > 0 and result.needed.minutes
    assert f"To resolve 5 %: {result.needed.more_rounds:,} more rounds, about " in result.sentence
    assert result.smallest_detected and result.smallest_detected > LIMIT
    assert "These rounds can show changes from " in result.sentence


def test_a_disturbed_round_counts_for_neither_and_is_named() -> None:
    found = gated(around(1.0, 0.02), others=0.9)
    assert found.results[0].change and found.results[0].change.n == 5 * 8
    assert "1 of 6 rounds were left out: the host was busy with other work" in gate_text(found)


def test_too_few_rounds_are_undecided_even_if_nothing_changed() -> None:
    base, new = (measured(name, lambda tokens: 1 + tokens / 100, rounds=2) for name in ("base", "new"))
    assert gate(base, new, ["e2e_s"], LIMIT).outcome == "undecided"


def test_a_metric_that_is_not_known_of_both_is_undecided() -> None:
    base, new = (measured(name, lambda tokens: 1 + tokens / 100) for name in ("base", "new"))
    (result,) = gate(base, new, ["ttft_s"], LIMIT).results
    assert (result.outcome, result.sentence) == ("undecided", "TTFT (ttft_s): can't tell: it is not known for both.")


def test_lost_answers_are_told_in_points() -> None:
    base = measured("base", lambda tokens: 1 + tokens / 100)
    new = measured("new", lambda tokens: 1 + tokens / 100)
    (result,) = gate(base, new, ["success"], 0.5).results
    assert "success: passes: +0 points (95 % interval −11 points to +11 points" in result.sentence


def test_junit_has_a_case_per_metric() -> None:
    found = gated(around(1.5, 0.02))
    suite = ElementTree.fromstring(junit(found))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    assert suite.find("testcase/failure") is not None


@pytest.mark.parametrize(("text", "limit"), [("5%", 0.05), ("0.05", 0.05), (" 2.5% ", 0.025)])
def test_a_limit_is_a_share_or_in_percent(text: str, limit: float) -> None:
    assert limit_of(text) == pytest.approx(limit)


@pytest.mark.parametrize("text", ["5", "0", "-5%", "nan", "much", "100%"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--worse-by"):
        limit_of(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base", "new"], "base: is not there"),
        (["base", "http://127.0.0.1:9/v1"], "is an endpoint, and the other is not"),
        (["base", "new", "--worse-by", "much"], "--worse-by is much"),
    ],
)
def test_an_error_is_status_2_and_one_line(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["gate", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr.splitlines()[-1]


def test_a_file_that_cannot_be_written_costs_no_verdict() -> None:
    gated(around(1.5, 0.02))
    done = CliRunner().invoke(app, ["gate", "base", "new", "--json", "missing/found.json"])
    assert done.exit_code == 2 and "worse: +50 %" in done.stdout
    assert "missing/found.json" in done.stderr and "Traceback" not in done.stderr


def test_an_endpoint_is_measured_in_turn_with_the_one_before() -> None:
    with StandIn(lambda _: stream()) as one, StandIn(lambda _: stream()) as other:
        asked = ["gate", one.base_url, other.base_url, "--base-model", "m", "--new-model", "m", "--worse-by", "90%"]
        files = ["--out", "out", "--json", "found.json", "--junit", "found.xml"]
        done = CliRunner().invoke(app, [*asked, "--rounds", "3", "--requests", "5", *files])
    found = read_json(Path("found.json"))
    assert done.exit_code == {"passes": 0, "worse": 1, "undecided": 3}[found["outcome"]], done.output
    assert found["results"][0]["sentence"] in done.stdout
    assert Path("out/new/r3/requests.jsonl").exists() and Path("found.xml").exists()


# --- how often it is wrong ----------------------------------------------------------------------------------


def drawn(draw: np.random.Generator, change: float) -> Comparison:
    """Draw a comparison of interleaved rounds, between which a server's speed varies by 2 %."""
    asked = nested(PROMPTS, ROUNDS)
    passages, rounds = np.arange(len(asked)), np.array([number for _, number in asked])
    theirs, ours = (np.exp(shift + drawn_logs(draw, asked, 0.0, 0.02, 0.05)) for shift in (0.0, change))
    found = compare_paired(Observations(ours, passages, rounds), Observations(theirs, passages, rounds), "ratio")
    assert found
    return found


def outcomes(draw: np.random.Generator, times: int, *changes: float) -> Counter[str]:
    """Count what a gate says of metrics that changed by so much (logs)."""
    said: Counter[str] = Counter()
    for _ in range(times):
        found = decide({("load", str(n)): drawn(draw, change) for n, change in enumerate(changes)}, LIMIT)
        kinds = {outcome for outcome, _ in found.values()}
        said[next(kind for kind in ("worse", "undecided", "passes") if kind in kinds)] += 1
    return said


@pytest.mark.parametrize("times", [300, pytest.param(4000, marks=pytest.mark.long)])
def test_no_change_is_seldom_called_worse_and_a_change_of_the_limit_seldom_passes(times: int) -> None:
    draw, most = np.random.default_rng(22), ALPHA + (0.02 if times < 1000 else 0)
    assert outcomes(draw, times, 0.0, 0.0, 0.0)["worse"] / times <= most
    assert outcomes(draw, times, math.log1p(LIMIT))["passes"] / times <= most


@pytest.mark.parametrize("times", [400, pytest.param(4000, marks=pytest.mark.long)])
def test_the_smallest_change_that_is_said_to_be_detected_is_detected_with_that_power(times: int) -> None:
    draw = np.random.default_rng(23)
    said = float(np.mean([smallest_detected(drawn(draw, 0.0)) or 0.0 for _ in range(100)]))
    found = [drawn(draw, math.log1p(said)).p_value or 0.0 for _ in range(times)]
    assert np.mean(np.array(found) <= ALPHA) == pytest.approx(0.8, abs=0.1)  # it is itself an estimate, of 6 rounds
