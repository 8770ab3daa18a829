"""The speeds of one load: counted over the time in which all slots were occupied, and never at odds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.inference import load_figures
from accelbench.analysis.load import connecting, speeds
from accelbench.store.records import RequestRecord
from accelbench.store.requests import Requests

from .records import failed, request

BEGUN = 1e9
CLIENT = {"lag_p50_s": None, "lag_p99_s": None, "cpu_share": None, "late_sends": 0, "limited": None}


def asked(
    key: str, turn_s: float, connect_s: float, ttft_s: float, e2e_s: float, tokens: int, **given: object
) -> RequestRecord:
    """Return a request whose turn came at `turn_s`, for which a connection was opened first."""
    at = BEGUN + turn_s
    connected = at + connect_s
    times = {"dequeued_unix_s": at, "connected_unix_s": connected, "sent_unix_s": connected}
    times |= {"end_unix_s": connected + e2e_s, "ttft_s": min(ttft_s, e2e_s), "e2e_s": e2e_s}
    return request(**{"key": key, "prompt_tokens": 7, "completion_tokens": tokens, **times, **given})


def test_opening_a_connection_is_part_of_what_a_slot_is_busy_with() -> None:
    """Of 0.6 s per request, 0.5 s go by until there is a connection."""
    attempts = [asked(f"{n}-{slot}", n * 0.6, 0.5, 0.02, 0.1, 5) for n in range(10) for slot in range(2)]
    found = speeds(Requests.of(attempts), 2)
    assert found["requests"] == pytest.approx(2 / 0.6)
    assert found["completion_tokens"] == pytest.approx(5 * 2 / 0.6)
    assert connecting(Requests.of(attempts)) == (
        "connections opened during the load: 20 of 20 requests waited for one, 0.5 s (median): this lowers the "
        "speeds but is not added to latencies"
    )


def test_connections_that_were_there_need_no_word() -> None:
    assert connecting(Requests.of(asked(str(n), n, 0.0001, 0.1, 0.5, 5) for n in range(5))) is None


@st.composite
def loads(draw: st.DrawFn) -> tuple[list[RequestRecord], int | None]:
    """Draw a load: slots that connect, wait, fail and answer, one after the other."""
    slots = draw(st.integers(1, 4))
    seconds = st.floats(0.0, 3.0)
    attempts: list[RequestRecord] = []
    for slot in range(slots):
        at_s = draw(seconds)
        for number in range(draw(st.integers(1, 6))):
            connect_s, ttft_s, made_s = draw(seconds), draw(seconds), draw(seconds)
            key, e2e_s = f"{slot}-{number}", ttft_s + made_s + 0.001
            one = asked(key, at_s, connect_s, ttft_s, e2e_s, draw(st.integers(1, 500)))
            if draw(st.integers(0, 4)) == 0:
                times = {name: getattr(one, name) for name in ("dequeued_unix_s", "sent_unix_s", "end_unix_s")}
                one = failed(key=key, connected_unix_s=one.connected_unix_s, **times)
            attempts.append(one)
            at_s += connect_s + e2e_s
    return attempts, draw(st.sampled_from([slots, None]))


@given(loads())
def test_the_speeds_of_one_row_never_contradict_each_other(load: tuple[list[RequestRecord], int | None]) -> None:
    """Tokens/s by requests/s is a number of tokens that a request can have had, for each kind of tokens."""
    attempts, slots = load
    figures = load_figures(Requests.of(attempts), CLIENT, slots=slots).metrics
    good = Requests.of(attempt for attempt in attempts if attempt.class_ == "ok")
    for key, kind in (
        ("output_tok_per_s", "completion_tokens"),
        ("total_tok_per_s", "total_tokens"),
        ("answer_tok_per_s", "answer_tokens"),
    ):
        if figures[key] is None:
            continue
        if not figures["requests_per_s"]:
            assert figures[key] == 0
            continue
        counts = good[kind]
        per_request = figures[key] / figures["requests_per_s"]
        assert min(counts) * (1 - 1e-9) <= per_request <= max(counts) * (1 + 1e-9)
