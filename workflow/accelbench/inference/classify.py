"""From raw records to requests.jsonl: one line per attempt, derived anew whenever this code changes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelbench import paths, specs
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.files import read_json, write_jsonl
from accelbench.inference import journal
from accelbench.inference.events import Answer, classify, parse_answer, timings, token_count
from accelbench.inference.prompts import Prompt, read_prompts
from accelbench.inference.scoring import contains_gold, exact_match, f1
from accelbench.measurement import check
from accelbench.records import SUCCESS, InferRoundRecord, RequestRecord

REQUESTS = "requests.jsonl"


def classify_rounds(config: Config, *, partial: bool = False) -> list[InferRoundRecord]:
    """Write requests.jsonl of every planned round and return what became of each round.

    A round that is missing or was measured under another spec raises UserError, or, when `partial`, is
    returned with its state and the reason.
    """
    questions: dict[str, dict[str, Prompt]] = {}
    records = []
    for item in specs.infer_rounds(config):
        scenario = specs.scenario_of(config, item.cell)
        try:
            record = _measured(config, item)
        except UserError as error:
            if not partial:
                raise
            records.append(_unmeasured(item, str(error)))
            continue
        if scenario.prompts not in questions:
            path = Path(paths.PROMPTS.format(set=scenario.prompts) + ".jsonl")
            questions[scenario.prompts] = {prompt.id: prompt for prompt in read_prompts(path)}
        requests = classify_round(item, _folder(item), questions[scenario.prompts], streamed=scenario.stream)
        write_jsonl(_folder(item) / REQUESTS, requests)
        records.append(record)
    return records


def classify_round(
    item: specs.InferRound, folder: Path, prompts: dict[str, Prompt], *, streamed: bool
) -> list[RequestRecord]:
    """Return the attempts of one round in the order they ended."""
    path = folder / journal.EXCHANGES
    starts = {header["session"]: header["started_unix_s"] for header in journal.sessions(path)}
    attempts = [
        _request(item, attempt, prompts.get(attempt["key"]), starts[attempt["session"]], streamed=streamed)
        for attempt in journal.attempts(path)
    ]
    last = {attempt.key: number for number, attempt in enumerate(attempts)}
    return [replace(a, last_attempt=last[a.key] == number) for number, a in enumerate(attempts)]


def _folder(item: specs.InferRound) -> Path:
    return paths.infer_round(item.endpoint, item.cell, item.round)


def _measured(config: Config, item: specs.InferRound) -> InferRoundRecord:
    folder = _folder(item)
    measured = check(folder, specs.infer(config, item))
    run = read_json(folder / "run.json")
    return InferRoundRecord(
        item.endpoint,
        item.cell,
        item.round,
        "measured",
        None,
        measured_at=measured["measured_at"],
        restored_at=measured["restored_at"],
        resumed=run["resumed"],
        started_at=run["started_at"],
        client=run.get("client") or {"cpu_share": run.get("cpu_share")},
        facts=run["endpoint"],
        host=run["host"],
        request_example=run["request_example"],
    )


def _unmeasured(item: specs.InferRound, why: str) -> InferRoundRecord:
    """Say what is there of a round without a valid result: a refused one, a failed one's record, or nothing."""
    folder = _folder(item)
    if (folder / "measured.json").exists():
        return InferRoundRecord(item.endpoint, item.cell, item.round, "refused", why)
    if (folder / "failure.json").exists():
        failure = read_json(folder / "failure.json")["text"]
        return InferRoundRecord(item.endpoint, item.cell, item.round, "failed", failure)
    return InferRoundRecord(item.endpoint, item.cell, item.round, "missing", "not measured yet")


def _request(
    item: specs.InferRound,
    attempt: dict[str, Any],
    prompt: Prompt | None,
    start_unix_s: float,
    *,
    streamed: bool,
) -> RequestRecord:
    answer = None
    if attempt["status"] == 200:
        reads = [(at_s, text.encode("latin-1")) for at_s, text in attempt["reads"]]
        answer = parse_answer(reads, streamed=streamed)
    kind = classify(attempt, answer)
    said = answer or Answer()
    delivered = kind in (*SUCCESS, "no_answer")
    times = timings(attempt, said) if delivered else {}
    golds = prompt.answers if prompt else []
    scored = golds if delivered else []  # an empty answer is a wrong one
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
        error_text=None if delivered else attempt["error_text"] or said.error or said.malformed or _body(attempt),
        scheduled_unix_s=_plus(start_unix_s, attempt.get("scheduled_s")),
        dequeued_unix_s=start_unix_s + attempt["dequeued_s"],
        sent_unix_s=_plus(start_unix_s, attempt["sent_s"]),
        end_unix_s=_plus(start_unix_s, attempt["end_s"]),
        ttft_s=times.get("ttft_s"),
        ttfat_s=times.get("ttfat_s"),
        tpot_s=times.get("tpot_s"),
        e2e_s=times.get("e2e_s"),
        events=len(said.token_events) or None,
        event_times_s=[round(at_s - attempt["sent_s"], 6) for at_s, _ in said.token_events] if delivered else [],
        prompt_tokens=token_count(said.usage, "prompt_tokens"),
        completion_tokens=token_count(said.usage, "completion_tokens"),
        finish_reason=said.finish_reason,
        answer=said.answer,
        reasoning=said.reasoning,
        golds=golds,
        exact_match=exact_match(said.answer, scored),
        f1=f1(said.answer, scored),
        contains_gold=contains_gold(said.answer, scored),
        server_timings={**said.server_timings, **_timings_in_usage(said.usage)},
    )


def _timings_in_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Return the timings that SambaNova puts into usage."""
    return {key: usage[key] for key in ("time_to_first_token", "total_latency") if key in usage}


def _body(attempt: dict[str, Any]) -> str | None:
    text = "".join(text for _, text in attempt["reads"])[:300]
    return text.encode("latin-1").decode(errors="replace") or None


def _plus(start: float, seconds: float | None) -> float | None:
    return None if seconds is None else start + seconds
