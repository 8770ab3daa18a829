"""From raw records to requests: one line per attempt, and columns of all, derived anew whenever this code changes.

Times count from the moment the request was written. TTFT: to the first token event of any kind. TTFAT: to the first
token of the answer, reasoning left out. E2E: to the last token event (unstreamed: the last byte). TPOT: (E2E - TTFT)
by the tokens after the first arrival. Whether a stream was passed on as it was made is told by its arrivals.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.inference.answers.events import Answer, TokenEvent, classified_as, parse_answer
from accelbench.inference.answers.scoring import Scores, Scoring, golds, scores
from accelbench.inference.answers.usage import Tokens, raw_timings, server_times, tokens
from accelbench.inference.api import CHAT_COMPLETIONS
from accelbench.inference.client import journal
from accelbench.inference.client.journal import AttemptLine
from accelbench.inference.prompts import Prompt, read_prompts
from accelbench.plan import specs
from accelbench.plan.measurement import check, how_to_measure
from accelbench.plan.past import unmeasured
from accelbench.store import paths
from accelbench.store.files import read_json, write_jsonl
from accelbench.store.records import (
    SUCCESS,
    InferRoundRecord,
    JsonObject,
    LoadRun,
    LoadSpec,
    RequestRecord,
    contradiction,
)
from accelbench.telemetry.energy import PowerCsv, read_power
from accelbench.telemetry.recorder import TELEMETRY
from accelbench.telemetry.summary import UnixSpan, telemetry_of, with_power

ROUND_REQUESTS = "requests.jsonl"


def classify_rounds(config: Config, out: Path, *, partial: bool = False) -> list[InferRoundRecord]:
    """Write requests.jsonl of every planned round, and all requests to `out`; return what became of each round.

    A round that is missing or was measured under another spec raises UserError, or, when `partial`, is
    returned with its state and the reason.
    """
    from accelbench.store.requests import writing_requests  # heavy: not before the first request of `load`

    questions: dict[str, dict[str, Prompt]] = {}
    endpoints = {name: config.inference.endpoints[name] for name in config.inference.run}
    powers = {name: read_power(each.power_csv, each.power_scope) for name, each in endpoints.items()}
    records = []
    with writing_requests(out) as keep:
        for item in specs.infer_rounds(config):
            scenario = specs.scenario_of(config, item.cell)
            try:
                record, recorded = _measured(config, item)
            except UserError as error:
                if not partial:
                    raise
                records.append(_unmeasured(config, item, error))
                continue
            if scenario.prompts not in questions:
                path = Path(paths.PROMPTS.format(set=scenario.prompts) + ".jsonl")
                questions[scenario.prompts] = {prompt.id: prompt for prompt in read_prompts(path)}
            requests = classify_round(
                item,
                _folder(item),
                questions[scenario.prompts],
                streamed=scenario.stream,
                scoring=config.inference.prompts[scenario.prompts].scoring,
                asked=record.request_example,
            )
            write_jsonl(_folder(item) / ROUND_REQUESTS, requests)
            keep(requests)
            power = powers[item.endpoint]
            records.append(with_telemetry(record, _folder(item) if recorded else None, requests, power))
    return records


def classify_round(
    item: specs.InferRound,
    folder: Path,
    prompts: dict[str, Prompt],
    *,
    streamed: bool,
    scoring: Scoring = "squad",
    asked: JsonObject | None = None,
) -> list[RequestRecord]:
    """Return the attempts of one round in the order they ended; `asked`: what all their requests had in common."""
    limits = ((asked or {}).get(name) for name in CHAT_COMPLETIONS.token_limits)
    most = next((limit for limit in limits if isinstance(limit, int)), None)
    path = folder / journal.EXCHANGES
    starts = {header["session"]: header["started_unix_s"] for header in journal.sessions(path)}
    attempts = [
        _request(item, attempt, prompts.get(attempt["key"]), starts[attempt["session"]], streamed, scoring, most)
        for attempt in journal.attempts(path)
    ]
    attempts = _with_reuse(attempts, [attempt.get("prefix") for attempt in journal.attempts(path)])
    last = {attempt.key: number for number, attempt in enumerate(attempts)}
    return [a if last[a.key] == number else replace(a, last_attempt=False) for number, a in enumerate(attempts)]


def _with_reuse(attempts: Sequence[RequestRecord], prefixes: Sequence[str | None]) -> list[RequestRecord]:
    """Tell which attempts reused a prefix: another with it had begun to be answered when they were sent."""
    known_from_s: dict[str, float] = {}
    for attempt, prefix in zip(attempts, prefixes, strict=True):
        if prefix and attempt.is_success and attempt.first_byte_unix_s is not None:
            known_from_s[prefix] = min(attempt.first_byte_unix_s, known_from_s.get(prefix, math.inf))
    return [
        replace(attempt, prefix_reused=known_from_s.get(prefix, math.inf) <= attempt.sent_unix_s)
        if prefix and attempt.sent_unix_s is not None
        else attempt
        for attempt, prefix in zip(attempts, prefixes, strict=True)
    ]


def with_telemetry(
    record: InferRoundRecord, folder: Path | None, requests: Sequence[RequestRecord], power: PowerCsv | None = None
) -> InferRoundRecord:
    """Return a round's record with what was seen while its requests were under way.

    `folder`: where a recorder wrote, if one did; `power`: what others recorded of it.
    """
    spans: dict[int, UnixSpan] = {}
    for asked in requests:
        if not asked.warm_up and asked.dequeued_unix_s is not None and asked.end_unix_s is not None:
            first_s, last_s = spans.get(asked.session, (asked.dequeued_unix_s, asked.end_unix_s))
            spans[asked.session] = min(first_s, asked.dequeued_unix_s), max(last_s, asked.end_unix_s)
    found = telemetry_of(folder, list(spans.values())) if folder else None
    if found:
        if server := found.surroundings["server"]:
            server["our_tokens"] = _tokens_sent_to_us(requests)
            server["our_cached_share"] = _cached_share(requests)
        record = replace(record, **found._asdict())
    return replace(record, surroundings=with_power(record.surroundings, power, list(spans.values())))


def _tokens_sent_to_us(requests: Sequence[RequestRecord]) -> float | None:
    """Return all tokens of a round by usage, those of warm-ups too; None where an attempt's are not known."""
    counts = [None if asked.tokens_estimated else asked.completion_tokens for asked in requests]
    return None if None in counts else float(sum(filter(None, counts)))


def _cached_share(requests: Sequence[RequestRecord]) -> float | None:
    """Return the share of all prompts' tokens that were cached, by usage; None where a success does not say."""
    good = [(asked.cached_tokens, asked.prompt_tokens) for asked in requests if asked.is_success]
    cached, whole = [cached for cached, _ in good], [whole for _, whole in good]
    if None in cached or not sum(filter(None, whole)):
        return None
    return sum(filter(None, cached)) / sum(filter(None, whole))


def _folder(item: specs.InferRound) -> Path:
    return paths.infer_round(item.endpoint, item.cell, item.round)


def _measured(config: Config, item: specs.InferRound) -> tuple[InferRoundRecord, bool]:
    """Return the record of a finished round, and whether telemetry is part of it."""
    folder = _folder(item)
    measured = check(folder, specs.infer_spec(config, item), specs.result_of(config, item))
    record = round_record((item.endpoint, item.cell, item.round), read_json(folder / "run.json"))
    record = replace(record, measured_at=measured["measured_at"], restored_at=measured["restored_at"])
    return record, TELEMETRY in measured["raw_sha256"]


def round_record(round_: tuple[str, str, int], run: LoadRun) -> InferRoundRecord:
    """Return what a run.json says of a round (endpoint, cell, number); what it does not say is null."""
    floor = run.get("floor")
    return InferRoundRecord(
        *round_,
        state="measured",
        why=None,
        resumed=run.get("resumed"),
        started_at=run.get("started_at"),
        client=run.get("client") or {"cpu_share": run.get("cpu_share")},
        facts=run.get("endpoint"),
        host=run.get("host"),
        request_example=run.get("request_example"),
        scenario=run.get("spec", LoadSpec()).get("scenario"),
        floor_s=floor.get("floor_s") if floor else None,
        busy=((run["started_at"], run["ended_at"]),) if run.get("started_at") and run.get("ended_at") else (),
        host_activity=run.get("host_activity"),
    )


def _unmeasured(config: Config, item: specs.InferRound, error: UserError) -> InferRoundRecord:
    """Say what is there of a round without a valid result."""
    state, why = unmeasured(_folder(item), error)
    if why is None:
        profile = config.cluster.profile if config.inference.endpoints[item.endpoint].own_node else None
        why = f"not measured yet; {how_to_measure(specs.result_of(config, item), profile=profile)}"
    return InferRoundRecord(item.endpoint, item.cell, item.round, state, why)


def _request(
    item: specs.InferRound,
    attempt: AttemptLine,
    prompt: Prompt | None,
    start_unix_s: float,
    streamed: bool,
    scoring: Scoring,
    most: int | None,
) -> RequestRecord:
    """Return the record of one attempt.

    Only successes are scored: what holds no answer stands in the counts by class, not in the quality of answers.
    """
    answer = None
    if attempt["status"] == 200:
        reads = [(at_s, text.encode("latin-1")) for at_s, text in attempt["reads"]]
        answer = parse_answer(reads, streamed=streamed)
    kind = classified_as(attempt["error"], attempt["status"], answer, streamed=streamed)
    said, success = answer or Answer(), kind in SUCCESS
    counts, served = tokens(said, estimate=success, most=most), server_times(said)
    delivered = success or (kind == "no_answer" and counts.completion is not None)
    timed, event_times_s, overhead_s = ArrivalTimes(None, None, None, None), [], None
    if delivered and (sent_s := attempt["sent_s"]) is not None:
        last_byte_s = attempt["reads"][-1][0]
        timed = arrival_times(said, counts.shown, sent_s=sent_s, last_byte_s=last_byte_s)
        event_times_s = [round(event.at_s - sent_s, 6) for event in said.token_events]
        overhead_s = None if served.total_s is None else last_byte_s - sent_s - served.total_s
    gold_answers = golds(prompt.answers) if prompt else []
    turn, turns = attempt.get("turn") or (None, None)
    scored = scores(said.answer, gold_answers, scoring) if success else Scores()
    return RequestRecord(
        endpoint=item.endpoint,
        cell=item.cell,
        round=item.round,
        key=attempt["key"],
        attempt=attempt["attempt"],
        last_attempt=True,
        session=attempt["session"],
        warm_up=attempt["key"].startswith(journal.WARM_UP),
        article=prompt.article if prompt else None,
        passage=prompt.passage if prompt else None,
        class_=kind,
        http_status=attempt["status"],
        error_text=None if success or kind == "no_answer" else _reason(kind, attempt, said),
        scheduled_unix_s=_plus(start_unix_s, attempt.get("scheduled_s")),
        dequeued_unix_s=start_unix_s + attempt["dequeued_s"],
        connected_unix_s=_plus(start_unix_s, attempt["connected_s"]),
        sent_unix_s=_plus(start_unix_s, attempt["sent_s"]),
        first_byte_unix_s=_plus(start_unix_s, attempt.get("first_byte_s")),
        end_unix_s=_plus(start_unix_s, attempt["end_s"]),
        ttft_s=timed.ttft_s,
        ttfat_s=timed.ttfat_s if success else None,
        tpot_s=timed.tpot_s,
        e2e_s=timed.e2e_s,
        streaming=streaming(said.token_events) if delivered else None,
        events=len(said.token_events) or None,
        event_times_s=event_times_s,
        prompt_tokens=counts.prompt,
        completion_tokens=counts.completion,
        tokens_estimated=counts.estimated,
        cached_tokens=counts.cached,
        tokens_rule=counts.rule,
        tokens_claimed=counts.claimed,
        reasoning_tokens=counts.reasoning,
        reasoning_tokens_estimated=counts.reasoning_estimated,
        finish_reason=said.finish_reason,
        note=_note(said, counts, most) if delivered else None,
        answer=said.answer,
        reasoning=said.reasoning,
        golds=gold_answers,
        **asdict(scored),
        server_s=served.total_s,
        server_ttft_s=served.ttft_s,
        overhead_s=overhead_s,
        server_timings=raw_timings(said),
        turn=turn,
        turns=turns,
        output_tokens_asked=attempt.get("output_tokens"),
    )


def _reason(kind: str, attempt: AttemptLine, said: Answer) -> str | None:
    """Return why there is no answer: in the client's words, the endpoint's, or what it sent instead."""
    encoding = attempt["headers"].get("content-encoding", "identity")
    if said.malformed and encoding != "identity":
        return f"the body is encoded ({encoding[:20]}), which was not requested"
    away = attempt["headers"].get("location")
    redirect = f"a redirect to {away[:300]}" if away else None
    return attempt["error_text"] or said.error or said.malformed or _cut(kind, said) or redirect or _body(attempt)


def _note(said: Answer, counts: Tokens, most: int | None) -> str | None:
    """Say what is odd about an answer that counts."""
    notes = [said.note] if said.note else []
    if counts.claimed is not None:
        limit = f", max_tokens {most:,}" if most and counts.claimed > most else ""
        claim = contradiction(counts.claimed, len(said.token_events))
        notes.append(f"the count of tokens contradicts the stream ({claim}{limit})")
    elif most and not counts.estimated and (counts.completion or 0) - (counts.reasoning or 0) > most:
        notes.append(f"more tokens than max_tokens {most:,}")
    return "; ".join(notes) or None


def _cut(kind: str, said: Answer) -> str | None:
    """Say what a stream lacks that ended as if it were whole, and what it did not lack."""
    if kind != "stream_cut":
        return None
    there = ["usage"] * bool(said.usage) + ["[DONE]"] * said.done
    end = f"finish_reason is {said.finish_reason}, which says no end" if said.finish_reason else "no finish_reason"
    brought = f"{end} after {len(said.token_events)} events with tokens"
    return f"{brought}, but {' and '.join(there)}" if there else brought


def _body(attempt: AttemptLine) -> str | None:
    text = "".join(text for _, text in attempt["reads"])[:300]
    return text.encode("latin-1").decode(errors="replace") or None


def _plus(start: float, seconds: float | None) -> float | None:
    return None if seconds is None else start + seconds


FIRST_EVENT_SHARE = 0.25  # TPOT says nothing when the first arrival held more of the tokens than this

# A gateway that batches (ALCF's Sophia: 20 chunks or 0.5 s) sends many events at once, at a regular beat. A server
# that decodes speculatively sends a few per step, unevenly; TCP joins two or three when a reader is late.
TELLING_EVENTS = 10  # fewer may all come of one speculative step
PAUSE_S = 0.05  # 20 chunks last longer below 400 tokens/s; a step on an accelerator takes 10 to 50 ms
PAUSED_SHARE = 0.9  # of the span: inside a batch, events come ten times as fast as over all
BATCH_EVENTS = 4  # more than TCP joins by chance; 0.5 s at 8 tokens/s
REGULAR = 0.5  # the smallest batch to the median one: accepted tokens per speculative step vary more
TELLING_BATCHES = 4  # the first and the last may be partial
FASTEST_TOK_PER_S = 10_000  # what comes faster was collected: published single streams reach 2,000 tokens/s

Streaming = Literal["faithful", "batched", "none"]


@dataclass(frozen=True, slots=True)
class ArrivalTimes:
    """Latencies of one attempt, in seconds; null: not streamed, or can't be said."""

    ttft_s: float | None
    ttfat_s: float | None
    tpot_s: float | None
    e2e_s: float | None


def arrival_times(answer: Answer, tokens: int | None, *, sent_s: float, last_byte_s: float) -> ArrivalTimes:
    """Return the latencies of an answer of `tokens` tokens, from when it was asked for to its last byte."""
    events = answer.token_events
    if not events:
        return ArrivalTimes(None, None, None, last_byte_s - sent_s)
    first_s, last_s = events[0].at_s, events[-1].at_s
    first_answer_s = next((event.at_s for event in events if event.kind == "answer"), None)
    return ArrivalTimes(
        ttft_s=first_s - sent_s,
        ttfat_s=None if first_answer_s is None else first_answer_s - sent_s,
        tpot_s=_tpot(last_s - first_s, events, tokens),
        e2e_s=last_s - sent_s,
    )


def streaming(events: Sequence[TokenEvent]) -> Streaming | None:
    """Tell from the arrival pattern whether tokens were passed on as they were made; null: too few events to tell.

    `batched`: TTFT and the times between tokens are the gateway's, not the server's. `none`: not streamed.
    """
    if not events:
        return "none"
    if len(events) < TELLING_EVENTS:
        return None
    span_s = events[-1].at_s - events[0].at_s
    if span_s < len(events) / FASTEST_TOK_PER_S:
        return "batched"
    gaps_s = [late.at_s - early.at_s for early, late in pairwise(events)]
    if sum(gap_s for gap_s in gaps_s if gap_s >= PAUSE_S) < PAUSED_SHARE * span_s:
        return "faithful"
    batches = _batches(gaps_s)
    if len(batches) < TELLING_BATCHES:
        return None
    usual, smallest = statistics.median(batches[1:-1]), min(batches[1:-1])
    return "batched" if usual >= BATCH_EVENTS and smallest >= REGULAR * usual else "faithful"


def _batches(gaps_s: Sequence[float]) -> list[int]:
    """Return the number of events between pauses."""
    batches = [1]
    for gap_s in gaps_s:
        if gap_s >= PAUSE_S:
            batches.append(0)
        batches[-1] += 1
    return batches


def _tpot(span_s: float, events: Sequence[TokenEvent], tokens: int | None) -> float | None:
    """Divide by the tokens after the first arrival: all events of the first read, their share by characters.

    Where events and tokens are as many (usage counts the end token, which no event shows), events are counted.
    """
    characters = sum(event.characters for event in events)
    burst = [event.characters for event in events if event.at_s == events[0].at_s]
    if not tokens or len(events) < 2 or not characters:
        return None
    share = sum(burst) / characters if tokens > len(events) + 1 else len(burst) / tokens
    first = max(1.0, share * tokens)
    return span_s / (tokens - first) if first <= FIRST_EVENT_SHARE * tokens else None
