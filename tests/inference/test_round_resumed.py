"""A round that is taken up again: nothing finished is asked twice, nothing is lost."""

import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from accelbench.errors import UserError
from accelbench.inference.answers.classify import classify_rounds
from accelbench.inference.client.journal import finished_keys, sessions, spent_s
from accelbench.inference.infer import waited_in_vain
from accelbench.plan import specs
from accelbench.plan.measurement import check
from accelbench.plan.past import reason
from accelbench.store import paths
from accelbench.telemetry.recorder import TELEMETRY, read_telemetry
from tests.waiting import until

from .endpoint_stand_in import GONE, HANG, Script, Seen, StandIn, error, stream
from .rounds import ROUND, always, config_for, from_nth, here, measure, record_of, requests_of, started  # noqa: F401


def test_an_interrupted_round_sends_only_what_is_unfinished() -> None:
    with StandIn(from_nth(4, [GONE])) as first, pytest.raises(UserError):
        measure(config_for(first.base_url, requests=10))
    kept = finished_keys(ROUND / "exchanges.jsonl") - {"warm-up-1"}
    with StandIn(always(stream()), port=first.port) as again:
        config = config_for(again.base_url, requests=10)
        requests = requests_of(config, measure(config))
    asked = {r.key for r in requests if r.session == 2 and not r.warm_up}
    assert len(kept) == 2
    assert not asked & kept
    assert len(asked | kept) == 10
    assert {r.class_ for r in requests if r.last_attempt} == {"ok"}
    assert record_of(ROUND)["resumed"] is True
    assert not (ROUND / "failure.json").exists()


def test_kill_9_then_the_same_command_sends_no_finished_request_again() -> None:
    fourth = threading.Event()
    counted = iter(range(1, 100))

    def answer(_: Seen) -> Script:
        if next(counted) < 4:
            return stream()
        fourth.set()
        return [HANG]

    with StandIn(answer) as server:
        killed = started(server.base_url)
        assert fourth.wait(20)
        killed.kill()
        killed.communicate()
        answered = [seen.content for seen in server.posts[1:3]]
    with StandIn(always(stream()), port=server.port) as again:
        measure(config_for(again.base_url))
        _warm_up, *asked = [seen.content for seen in again.posts]
    assert len(asked) == 2
    assert not set(asked) & set(answered)
    killed_session, last = read_telemetry(ROUND / TELEMETRY)
    assert killed_session.readings["host"] and last.readings["host"]


def killed_after(seconds: float, port: int, **load: Any) -> int:
    """Measure a round against a server of its own, kill it so long after its first request; return the port."""
    with StandIn(lambda _: [0.05, *stream("Par", "is")], port=port) as server:
        job = started(server.base_url, **load)
        assert until(lambda: server.posts, 20)
        time.sleep(seconds)
        job.kill()
        job.communicate()
    return server.port


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_at_any_moment_loses_nothing_that_was_finished(seed: int) -> None:
    draw, port, finished = random.Random(seed), 0, set[str]()
    load = {"requests": 30, "concurrency": 3}
    for _ in range(2):
        port = killed_after(draw.uniform(0.0, 0.3), port, **load)
        kept = finished_keys(ROUND / "exchanges.jsonl")
        assert finished <= kept
        finished = kept
    with StandIn(always(stream("Par", "is")), port=port) as server:
        config = config_for(server.base_url, **load)
        requests = requests_of(config, measure(config))
        assert len(server.posts) == 1 + 30 - len(finished - {"warm-up-1"})
    done = [r for r in requests if r.last_attempt and not r.warm_up]
    assert len(done) == len({r.key for r in done}) == 30
    assert {r.class_ for r in done} == {"ok"}
    record = record_of(ROUND)
    assert record["resumed"] is True
    assert len(record["session_starts"]) == record["sessions"] == 3


def test_a_resumed_round_has_only_what_is_left_of_its_duration() -> None:
    load = {"requests": 70, "duration_s": 0.6}
    with StandIn(lambda _: [0.02, *stream()]) as server:
        job = started(server.base_url, **load)
        assert until(lambda: len(server.posts) >= 12, 20)
        job.kill()
        job.communicate()
    spent = spent_s(ROUND / "exchanges.jsonl")
    assert 0.1 < spent < 0.6
    with StandIn(lambda _: [0.02, *stream()], port=server.port) as again:
        measure(config_for(again.base_url, **load))
    assert 0.5 < spent_s(ROUND / "exchanges.jsonl") < 0.75


def test_a_round_whose_duration_was_over_sends_nothing_more() -> None:
    load = {"requests": 70, "duration_s": 0.1}
    with StandIn(lambda _: [0.02, *stream()]) as server:
        config = config_for(server.base_url, **load)
        journal = measure(config) / "exchanges.jsonl"
        unseal(journal)
        before = len(server.posts)
        measure(config)
        assert len(server.posts) == before


def unseal(journal: Path) -> None:
    """Undo the end of a round, as a kill before it would have left it."""
    kept = journal.read_bytes()
    for path in [*Path("results/archive").rglob("*.json*"), ROUND / "measured.json", journal]:
        path.unlink()
    journal.write_bytes(kept)


def test_an_open_loop_that_is_resumed_sends_what_is_left_at_its_own_gaps() -> None:
    load = {"arrivals": "constant", "rate_per_s": 50.0, "requests": 12, "warm_up": 0}
    with StandIn(from_nth(4, [HANG])) as server:
        job = started(server.base_url, **load)
        assert until(lambda: len(server.posts) >= 6, 20)
        job.kill()
        job.communicate()
    kept = finished_keys(ROUND / "exchanges.jsonl")
    with StandIn(always(stream()), port=server.port) as again:
        measure(config_for(again.base_url, **load))
    assert len(kept) == 3 and len(again.posts) == 9
    moments = [seen.at_s for seen in again.posts]
    assert moments[-1] - moments[0] == pytest.approx(8 / 50, abs=0.05)


def test_a_torn_last_line_costs_that_request_only() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        measure(config)
        journal = ROUND / "exchanges.jsonl"
        *whole, last = journal.read_bytes().splitlines(keepends=True)
        torn = b"".join(whole) + last[:-40]
        journal.unlink()
        journal.write_bytes(torn)
        for path in Path("results/archive").rglob("*.json*"):
            path.unlink()
        before = len(server.posts)
        requests = requests_of(config, measure(config))
        assert len(server.posts) - before == 2  # the warm-up and the torn one
    assert [r.class_ for r in requests if r.last_attempt and not r.warm_up] == ["ok"] * 4


@pytest.mark.parametrize("emptied", ["run.json", "measured.json", "*.json"])
def test_what_a_power_cut_emptied_costs_no_request(emptied: str) -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        folder, asked = measure(config), len(server.posts)
        for path in (*folder.glob(emptied), *paths.ARCHIVE.glob(f"*/{emptied}")):
            path.write_bytes(b"")
        measure(config)
        assert len(server.posts) == asked
    check(folder, specs.infer_spec(config, specs.InferRound("one", "load", 1)))


@pytest.mark.parametrize("content", ["", "{}", '{"not_ready": true}', "["])
def test_a_torn_failure_is_none(content: str) -> None:
    ROUND.mkdir(parents=True)
    (ROUND / "failure.json").write_text(content)
    assert waited_in_vain("one") is None
    assert reason(ROUND) is None


def test_a_round_killed_before_its_seal_sends_nothing_again() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        unseal(measure(config) / "exchanges.jsonl")
        before = len(server.posts)
        measure(config)
        assert len(server.posts) == before
    check(ROUND, specs.infer_spec(config, specs.InferRound("one", "load", 1)))


def test_another_spec_starts_afresh_and_the_first_one_comes_back_from_the_archive() -> None:
    with StandIn(always(stream())) as server:
        first, second = config_for(server.base_url), config_for(server.base_url, max_tokens=17)
        original = (measure(first) / "exchanges.jsonl").read_bytes()
        measure(second)
        assert len(server.posts) == 10
        measure(first)
        assert len(server.posts) == 10
    assert (ROUND / "exchanges.jsonl").read_bytes() == original
    assert check(ROUND, specs.infer_spec(first, specs.InferRound("one", "load", 1)))["restored_at"]


def test_undoing_an_edit_keeps_the_unfinished_journal_of_the_edit() -> None:
    with StandIn(from_nth(8, error(401))) as server:
        first, second = config_for(server.base_url), config_for(server.base_url, max_tokens=17)
        measure(first)
        with pytest.raises(UserError):
            measure(second)
        measure(first)
    (aside,) = Path("results/archive").glob("unfinished-*/exchanges.jsonl")
    assert len(finished_keys(aside)) == 2


@pytest.mark.parametrize("archived", [True, False])
def test_without_restoring_a_finished_round_is_measured_again(archived: bool) -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url).model_copy(update={"restore": False})
        measure(config)
        if not archived:
            shutil.rmtree("results/archive")
        folder = measure(config)
        assert len(server.posts) == 10
    assert len(sessions(folder / "exchanges.jsonl")) == 1
    assert record_of(folder)["resumed"] is False


@pytest.mark.parametrize("how", ["written over", "replaced", "replaced, without an archive"])
def test_a_journal_that_lost_lines_after_its_end_is_refused_and_measured_again(how: str) -> None:
    """The archive gives them back; without one they are asked."""
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url, warm_up=0, rounds=1)
        folder = measure(config)
        journal, asked = folder / "exchanges.jsonl", len(server.posts)
        kept = "".join(journal.read_text().splitlines(keepends=True)[:-2])  # two attempts
        if how.startswith("replaced"):
            journal.unlink()
        if how.endswith("archive"):
            shutil.rmtree(paths.ARCHIVE)
        journal.write_text(kept)
        (refused,) = classify_rounds(config, Path("requests.parquet"), partial=True)
        assert refused.state == "refused" and "exchanges.jsonl was deleted or changed" in str(refused.why)
        requests = requests_of(config, measure(config))
    assert sorted(r.key for r in requests) == sorted({r.key for r in requests}) and len(requests) == 4
    assert len(server.posts) - asked == (2 if how.endswith("archive") else 0)
