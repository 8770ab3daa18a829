"""Measurements of other tools, read as records, so that the same analysis judges them.

Each format is a function from a parsed JSON document to requests, or None where the document is not of its kind; a
new one is one function and one entry in FORMATS. What a format does not say stays unknown (null).
"""

import hashlib
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from accelbench.errors import UserError
from accelbench.files import write_json, write_jsonl
from accelbench.records import RequestRecord

CELL, ROUND = "imported", 1
LONGEST_NAME = 100
MOST_TOKENS = 10**12  # of one request; what is above is damage
PUBLISHED = "the published script's JSON"
NOTES = {
    PUBLISHED: [
        "the published script left failed requests out: its success rate says nothing",
        "the published script's response length and throughput count prompt and output tokens together",
        "the published script kept no times: whether its endpoints were interleaved can't be told",
    ]
}
"""What a reader must know of a format's figures."""
Document = Mapping[str, Any]
Reader = Callable[[Document], dict[str, list[RequestRecord]] | None]


def import_results(source: Path, out: Path) -> dict[str, int]:
    """Write `out`/{endpoint}/requests.jsonl of a result file; return the requests of each endpoint.

    run.json beside it names the file, its digest and its format. Raises UserError when no format fits.
    """
    try:
        content = source.read_bytes()
        document = orjson.loads(content)
    except OSError as error:
        raise UserError(f"{source} can't be read ({error.strerror}).") from None
    except orjson.JSONDecodeError as error:
        raise UserError(f"{source} is no JSON: {error}.") from None
    name, endpoints = _read(source, document)
    for endpoint, requests in endpoints.items():
        folder = out / endpoint
        write_jsonl(folder / "requests.jsonl", requests)
        digest = hashlib.sha256(content).hexdigest()
        origin = {"file": str(source), "sha256": digest, "format": name, "notes": NOTES.get(name, [])}
        write_json(folder / "run.json", {"imported": origin})
    return {endpoint: len(requests) for endpoint, requests in endpoints.items()}


def _read(source: Path, document: Any) -> tuple[str, dict[str, list[RequestRecord]]]:
    try:
        for name, reader in FORMATS.items():
            endpoints = reader(document) if isinstance(document, dict) else None
            if endpoints:
                return name, endpoints
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{source} looks like {name}, but can't be read as it: {error!r}.") from None
    known = ", ".join(FORMATS)
    raise UserError(f"{source} is none of the formats that can be imported ({known}), or holds no single requests.")


# --- formats ----------------------------------------------------------------------------------------------------


def _published_script(document: Document) -> dict[str, list[RequestRecord]] | None:
    """The script of the published comparison: {endpoint: {results: [{prompt_id, latency_sec, response, metadata}]}}.

    It drops failed requests, and keeps no moments.
    """
    sides = {name: side["results"] for name, side in document.items() if isinstance(side, dict) and "results" in side}
    if not sides or not all(isinstance(results, list) for results in sides.values()):
        return None
    return {
        _folder_name(name): [
            _request(
                _folder_name(name),
                str(result["prompt_id"]),
                e2e_s=float(result["latency_sec"]),
                answer=str(result.get("response") or ""),
                finish_reason=result["metadata"].get("finish_reason"),
                prompt_tokens=_count(result["metadata"].get("prompt_tokens")),
                completion_tokens=_count(result["metadata"].get("completion_tokens")),
            )
            for result in results
        ]
        for name, results in sides.items()
    }


def _vllm_bench(document: Document) -> dict[str, list[RequestRecord]] | None:
    """`vllm bench serve --save-result --save-detailed`: one list per figure, times in seconds.

    A failed request has an error text, and is kept.
    """
    figures = ("input_lens", "output_lens", "ttfts", "itls", "errors")
    if not all(isinstance(document.get(name), list) for name in figures):
        return None
    endpoint = _folder_name(str(document.get("endpoint_type") or document.get("backend") or "vllm"))
    texts = document.get("generated_texts") or [""] * len(document["errors"])
    begun = document.get("start_times") or [None] * len(document["errors"])
    rows = zip(*(document[name] for name in figures), texts, begun, strict=True)
    return {
        endpoint: [
            _request(
                endpoint,
                str(number),
                failure=str(error) or None,
                begun_s=begin,
                e2e_s=ttft + sum(gaps),
                ttft_s=ttft,
                event_times_s=list(accumulate(gaps, initial=ttft)),
                answer=str(text or ""),
                prompt_tokens=_count(prompt),
                completion_tokens=_count(completion),
            )
            for number, (prompt, completion, ttft, gaps, error, text, begin) in enumerate(rows)
        ]
    }


def _guidellm(document: Document) -> dict[str, list[RequestRecord]] | None:
    """guidellm's benchmarks.json: benchmarks[].requests.{successful, errored, incomplete}; one side per benchmark.

    Incomplete requests were cut off by its time limit, which says nothing about them: they are left out.
    """
    benchmarks = document.get("benchmarks")
    if not isinstance(benchmarks, list) or not all(isinstance(each.get("requests"), dict) for each in benchmarks):
        return None
    sides = {}
    for number, benchmark in enumerate(benchmarks, 1):
        endpoint = f"guidellm-{number}"
        kept: list[tuple[Document, str | None]] = [
            (entry, None) for entry in benchmark["requests"].get("successful") or []
        ]
        kept += [(entry, str(entry.get("error") or "errored")) for entry in benchmark["requests"].get("errored") or []]
        sides[endpoint] = [_guidellm_request(endpoint, entry, failure) for entry, failure in kept]
    return {endpoint: requests for endpoint, requests in sides.items() if requests}


def _guidellm_request(endpoint: str, entry: Document, failure: str | None) -> RequestRecord:
    begun = entry.get("request_start_time", entry.get("start_time"))
    ended = entry.get("request_end_time", entry.get("end_time"))
    e2e_s = entry.get("request_latency")
    if e2e_s is None and begun is not None and ended is not None:
        e2e_s = ended - begun
    ttft_ms, tpot_ms = entry.get("time_to_first_token_ms"), entry.get("inter_token_latency_ms")
    return _request(
        endpoint,
        str(entry["request_id"]),
        failure=failure,
        begun_s=begun,
        e2e_s=e2e_s,
        ttft_s=None if ttft_ms is None else ttft_ms / 1000,
        tpot_s=None if tpot_ms is None else tpot_ms / 1000,
        answer=str(entry.get("output") or ""),
        prompt_tokens=_count(entry.get("prompt_tokens")),
        completion_tokens=_count(entry.get("output_tokens")),
    )


FORMATS: dict[str, Reader] = {
    PUBLISHED: _published_script,
    "vllm bench serve": _vllm_bench,
    "guidellm": _guidellm,
}


# --- records ----------------------------------------------------------------------------------------------------


def _request(
    endpoint: str,
    key: str,
    *,
    e2e_s: float | None,
    answer: str,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    failure: str | None = None,
    finish_reason: str | None = None,
    begun_s: float | None = None,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    event_times_s: list[float] | None = None,
) -> RequestRecord:
    """Return one request; of a failed one, no latency counts."""
    ok = failure is None
    return RequestRecord(
        endpoint=endpoint,
        cell=CELL,
        round=ROUND,
        key=key,
        attempt=1,
        last_attempt=True,
        session=1,
        warm_up=False,
        article=None,
        passage=None,
        class_=_class(failure, finish_reason),
        http_status=None,
        error_text=failure,
        dequeued_unix_s=begun_s,
        sent_unix_s=begun_s,
        end_unix_s=begun_s + e2e_s if begun_s is not None and e2e_s is not None else None,
        ttft_s=ttft_s if ok else None,
        ttfat_s=None,
        tpot_s=tpot_s if ok else None,
        e2e_s=e2e_s if ok else None,
        events=len(event_times_s) if event_times_s else None,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        finish_reason=finish_reason,
        answer=answer,
        reasoning="",
        golds=[],
        exact_match=None,
        f1=None,
        contains_gold=None,
        server_timings={},
        event_times_s=(event_times_s or []) if ok else [],
    )


def _class(failure: str | None, finish_reason: str | None) -> str:
    if failure is not None:
        return "connection"
    return "truncated_length" if finish_reason == "length" else "ok"


def _count(value: Any) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        return None
    if value > MOST_TOKENS:
        raise ValueError(f"{value:g} is no number of tokens")
    return int(value)


def _folder_name(name: str) -> str:
    """Return a name that stands in a path: what else it holds becomes a hyphen."""
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name.lower()).strip(".-")
    if len(safe) > LONGEST_NAME:
        safe = f"{safe[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return safe or "endpoint"
