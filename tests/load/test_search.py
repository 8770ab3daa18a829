"""The search for the highest load that meets objectives: what it measures, what it says, and how often it is right."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelbench.analysis.sample import Side
from accelbench.cli import app
from accelbench.compare.sides import read_sides
from accelbench.config import Scenario
from accelbench.config.fields import objectives_of
from accelbench.errors import UserError
from accelbench.load.search import _Belief, _levels, _missed
from accelbench.report.inference_tables import search_interval
from accelbench.store.records import SearchResult
from accelbench.store.requests import Requests

from ..analysis.records import failed, request
from ..inference.endpoint_stand_in import StandIn, answer_document, chunked, error, stream, tokens

GRID = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]


@pytest.fixture(autouse=True)
def without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def searched(holds: Callable[[float], bool], begin: int = 5) -> tuple[float, float, int]:
    """Return the interval, in levels, and the number of rounds."""
    belief, rounds = _Belief(len(GRID), begin), 0
    while (place := belief.next_place()) is not None:
        belief.learn(place, holds=holds(GRID[place]))
        rounds += 1
    first, last = belief.interval()
    return GRID[first - 1] if first else 0, GRID[last] if last < len(GRID) else math.inf, rounds


@pytest.mark.parametrize("most", [0, 1, 5, 8, 24, 30, 127, 128])
def test_a_clear_maximum_is_found_between_two_neighbours(most: int) -> None:
    low, high, rounds = searched(lambda at: at <= most)
    assert low <= most < high
    assert (low, high) in list(zip([0, *GRID], [*GRID, math.inf], strict=True))
    assert rounds < 2 * len(GRID)


def test_a_level_whose_rounds_disagree_is_repeated_and_left_undecided() -> None:
    draws = iter([True, False] * 10)
    low, high, _ = searched(lambda at: next(draws) if at == 24 else at < 24)
    assert (low, high) == (16, 32)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])  # of log level: from sharp to one and a half levels wide
def test_the_interval_covers_the_maximum_of_noisy_endpoints(noise: float) -> None:
    """A round holds with probability one half at the maximum itself."""
    draw, covered, runs = random.Random(f"search {noise}"), 0, 400
    for _ in range(runs):
        most = math.exp(draw.uniform(math.log(1.5), math.log(100)))
        low, high, _ = searched(lambda at, most=most: math.log(at / most) + draw.gauss(0, noise) <= 0)
        covered += low <= most <= high
    assert covered >= 0.9 * runs


def test_levels_are_round_numbers_up_to_the_highest() -> None:
    assert _levels("concurrency", Scenario(concurrency=20)) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert _levels("concurrency", Scenario(concurrency=1)) == [1]
    rates = _levels("rate_per_s", Scenario(arrivals="poisson", rate_per_s=10))
    assert rates[:2] == [0.1875, 0.25] and rates[-4:] == [4, 6, 8, 10]


def test_objectives_are_shares_of_all_requests() -> None:
    found = objectives_of("ttft_p95<0.5, tpot_p99.9<0.05,success>0.99")
    assert [(each.share, each.limit, each.requests) for each in found] == [
        (0.95, {"ttft_s": 0.5}, 20),
        (pytest.approx(0.999), {"tpot_s": 0.05}, 1000),
        (0.99, None, 100),
    ]


def test_a_failed_request_is_within_no_limit() -> None:
    answered = [request(key=f"{n}", ttft_s=0.2 if n else 0.6) for n in range(9)]
    side = Side("", "", Requests.of([*answered, failed(key="9")]))
    missed = [_missed(each, side) for each in objectives_of("ttft_p90<0.7,ttft_p80<0.5,ttft_p95<0.7,success>0.95")]
    assert missed == [None, None, "ttft_p95<0.7: 9 of 10 (1 failed)", "success>0.95: 9 of 10"]


@pytest.mark.parametrize("wrong", ["", "ttft<0.5", "ttft_p95>0.5", "ttft_p100<1", "success>1", "itl_p95<1", "e2e_p0<1"])
def test_what_is_no_objective_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"must be like ttft_p95"):
        objectives_of(wrong)


@pytest.mark.parametrize(
    "load",
    [{"rounds": 2}, {"duration_s": 2.0}, {"turns": 2}, {"concurrency": [1, 2]}, {"find_max": "fast"}],
)
def test_a_scenario_whose_highest_load_is_searched_has_no_plan_of_its_own(load: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"find_max|like ttft_p95"):
        Scenario.model_validate({"find_max": "success>0.9", "concurrency": 8, **load})


def found(server: StandIn, out: Path, *options: str, status: int = 0) -> str:
    fixed = ["load", "--base-url", server.base_url, "--model", "m", "--out", str(out), "--warm-up", "0"]
    done = CliRunner().invoke(app, [*fixed, *options])
    assert done.exit_code == status, done.output
    return done.stdout


@pytest.mark.long
def test_the_capacity_of_an_endpoint_is_found_and_a_second_search_sends_nothing(tmp_path: Path) -> None:
    asked = ["--find-max", "success>0.9", "--max-concurrency", "8", "--requests", "10"]
    with StandIn(lambda _: error(500) if server.in_flight > 4 else chunked(0.02, *tokens("a"))) as server:
        result = json.loads(found(server, tmp_path, *asked, "--json"))
        sent = len(server.posts)
        said = found(server, tmp_path, *asked)
        assert len(server.posts) == sent == result["requests"]
    assert (result["holds_at"], result["fails_at"], result["undecided"]) == (4, 6, [])
    assert result["levels"][-1]["missed"].startswith("success>0.9: ")
    assert "concurrency for success>0.9: holds at 4, fails at 6; 90 % interval 4 to 6; " in said


def test_a_busy_endpoint_fails_the_level_and_gets_no_more_requests(tmp_path: Path) -> None:
    with StandIn(lambda _: error(429)) as server:
        asked = ["--find-max", "success>0.5", "--max-concurrency", "1", "--requests", "9", "--json"]
        result = json.loads(found(server, tmp_path, *asked))
    assert (result["holds_at"], result["fails_at"]) == (None, 1)
    assert search_interval(SearchResult(**result)) == "the maximum lies below"
    assert "the endpoint was busy (429 or 503) after 1 requests" in result["levels"][0]["missed"]
    assert len(server.posts) == result["rounds"]


def test_the_rate_is_searched_in_open_loop(tmp_path: Path) -> None:
    with StandIn(lambda _: stream()) as server:
        asked = ["--find-max", "success>0.5", "--max-rate", "500", "--requests", "4", "--json"]
        result = json.loads(found(server, tmp_path, *asked))
    assert (result["axis"], result["holds_at"], result["fails_at"]) == ("rate_per_s", 500, None)
    assert (tmp_path / "r500/r1/run.json").exists()
    [loads] = read_sides([tmp_path])
    requests = {f"r{level['at']:g}".replace(".", "p"): level["requests"] for level in result["levels"]}
    assert {load.cell: len(load.attempts) for load in loads} == requests  # no rate is taken for a round


def test_a_time_that_is_not_known_ends_the_search(tmp_path: Path) -> None:
    with StandIn(lambda _: answer_document()) as server:
        asked = ["--find-max", "ttft_p50<1", "--max-concurrency", "1", "--requests", "2", "--no-stream"]
        done = CliRunner().invoke(
            app, ["load", "--base-url", server.base_url, "--model", "m", "--out", str(tmp_path), *asked]
        )
    assert "ttft_p50<1 can't be judged: the time of 10 of 10 requests is not known" in str(done.exception)


def test_a_time_that_is_not_known_of_a_few_answers_judges_by_the_others() -> None:
    side = Side("", "", Requests.of([request(key=f"{n}", tpot_s=0.1 if n else None) for n in range(10)]))
    missed = [_missed(each, side) for each in objectives_of("tpot_p90<0.2,tpot_p90<0.05")]
    assert missed == [None, "tpot_p90<0.05: 0 of 10"]
    [strict] = objectives_of("tpot_p95<0.2")
    with pytest.raises(UserError, match="the time of 1 of 10 requests is not known"):
        _missed(strict, side)
