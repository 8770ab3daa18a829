"""Why one endpoint takes longer than another under a load: the candidates."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from accelbench.analysis.intervals import MIN_ROUNDS, Influence, contrast_of, counted
from accelbench.analysis.pairs import seconds_apart
from accelbench.analysis.sample import Side
from accelbench.compare.reasons.case import Candidate, Case, Experiment, Known, log_mean
from accelbench.plan.specs import QUESTION_TOKENS, Cell
from accelbench.report.reasons import BATCHING, COLD_CALL, EXPERIMENT, LONGER_ANSWERS, PREFIX_CACHE, SERVER_LIMITS
from accelbench.report.text import listed, number, unique

_OPEN_LOOP = frozenset(
    {"arrivals", "rate_per_s", "ramp_to_per_s", "burstiness", "trace", "time_scale", "max_in_flight", "ramp_up_s"}
)
_LENGTHS = frozenset({"max_tokens", "output_tokens"})
_LONGER, _LEAST_LONGER = 4, 1.5  # how much longer prompts are made, and what suffices
_FEW_TOKENS, _MANY_TOKENS = 16, 64
_MORE_WARM_UPS = 5
_SAME_LENGTH = 0.02
_ROOM = 0.8  # of a context: lengths are approximate
_OTHER_DTYPE = {"bfloat16": "float32", "float32": "bfloat16"}


def _lengths(case: Case) -> Known:
    counts, ratio = case.tokens("completion_tokens"), case.ratios.get("completion_tokens")
    equal = _equal_lengths(case)
    if equal and _keeps_lengths(equal):
        return case.against(equal)
    if counts is None or ratio is None:
        return Known("the answers' tokens are not known")
    said = f"{number(counts[0])} output tokens on average against {number(counts[1])}"
    said += f"; in {equal.cell}, too, they differ" if equal else ""
    if case.streamed is case:
        return Known(said, ratio.weighted(case.phases[1]))
    return Known(said, ratio, at_most=True)


def _equal_lengths(case: Case) -> Case | None:
    return None if case.load.output_tokens else case.control(_LENGTHS, lambda load: load.output_tokens is not None)


def _keeps_lengths(equal: Case) -> bool:
    ratio = equal.ratios.get("completion_tokens")
    return ratio is not None and abs(ratio.centre) <= _SAME_LENGTH


def _fixed_lengths(case: Case) -> Iterator[Experiment]:
    counts, equal = case.tokens("completion_tokens"), _equal_lengths(case)
    if counts and not case.load.output_tokens and (equal is None or _keeps_lengths(equal)):
        changes = {"max_tokens": None, "output_tokens": max(1, round(sum(counts) / 2))}
        yield from case.varied(equal, "length", changes)


def _decode(case: Case) -> Known:
    long, streamed = _longer_answers(case), case.streamed
    if streamed is None:
        return Known("the first token is not timed")
    timed = long if long and "tpot" in long.ratios else streamed
    ratio = timed.ratios["tpot"]
    said = f"TPOT ratio {number(ratio.value)}{'' if timed is case else f' in {timed.cell}'}"
    return Known(said, ratio.weighted(streamed.phases[1]))


def _longer_answers(case: Case) -> Case | None:
    return case.control(
        {"stream", *_LENGTHS}, lambda load: load.load.stream and (load.output_tokens or 0) >= _MANY_TOKENS
    )


def _long_answers(case: Case) -> Iterator[Experiment]:
    if case.streamed is None:
        yield from _streamed(case)
        return
    counts, prompts = case.tokens("completion_tokens") or (0.0, 0.0), case.tokens("prompt_tokens") or (0.0, 0.0)
    most = _ROOM * (case.room_tokens - max(prompts))
    wanted = int(min(most, max(_MANY_TOKENS, _LONGER * max(counts))))
    if wanted >= _MANY_TOKENS and max(counts) < wanted:
        changes = {"max_tokens": None, "output_tokens": wanted, "stream": None}
        yield from case.varied(_longer_answers(case), "decode", changes, wanted / max(1.0, *counts))


def _streamed(case: Case) -> Iterator[Experiment]:
    if not case.scenario.stream:
        yield from case.varied(None, "streamed", {"stream": None})


def _prefill(case: Case) -> Known:
    streamed = case.streamed
    if streamed is None:
        return Known("the first token is not timed")
    firsts, longer = streamed.ratios["ttft"], _longer_prompts(streamed)
    said = f"TTFT ratio {number(firsts.value)} in {streamed.cell}"
    measured = longer if len(longer) > 1 else [streamed, *longer]
    short, long = measured[0], measured[-1]
    lengths = [each.tokens("prompt_tokens") for each in (short, long)]
    apart_s = [seconds_apart("ttft_s", each.ours, each.theirs, each.met) for each in (short, long)]
    if short is long or lengths[0] is None or lengths[1] is None or apart_s[0] is None or apart_s[1] is None:
        said += f", by prefill or a fixed cost{f'; nothing to compare in {long.cell}' if short is not long else ''}"
        return Known(said, firsts.weighted(streamed.phases[0]), at_most=True)
    short_tokens, long_tokens = (sum(each) / 2 for each in lengths if each)
    if long_tokens < _LEAST_LONGER * short_tokens:
        return Known(f"{said}; the prompts of {long.cell} are hardly longer")
    of_prompt = short_tokens / (long_tokens - short_tokens) / log_mean(*short.means("ttft_s")) * streamed.phases[0]
    effect = replace(apart_s[1].minus(apart_s[0]).weighted(of_prompt), scale="ratio")
    of_both = [each.ratios["ttft"] for each in (short, long)]
    why = of_both[0].why_no_interval or of_both[1].why_no_interval
    ratios, times = [number(each.value) for each in of_both], number(long_tokens / short_tokens, 2)
    said += f"; {ratios[0]} in {short.cell}, {ratios[1]} with prompts {times} times as long"
    return Known(said, replace(effect, why_no_interval=effect.why_no_interval or why))


def _longer_prompts(case: Case) -> list[Case]:
    """Return the same load with longer prompts, the shortest first."""
    own = case.load.context_tokens or 0
    found = case.controls(
        {"context_tokens", *_LENGTHS}, lambda load: load.load.stream and (load.context_tokens or 0) > own
    )
    return sorted(found, key=lambda each: each.load.context_tokens or 0)


def _long_prompts(case: Case) -> Iterator[Experiment]:
    prompts = case.tokens("prompt_tokens")
    if case.streamed is None:
        yield from _streamed(case)
    elif prompts:
        own = sum(prompts) / 2
        wanted = int(min(_ROOM * (case.room_tokens - _FEW_TOKENS - QUESTION_TOKENS), _LONGER * own))
        if wanted >= _LEAST_LONGER * own:
            few: dict[str, Any] = {"max_tokens": _FEW_TOKENS}
            if case.load.output_tokens:
                few = {"output_tokens": _FEW_TOKENS}
            longest = next(reversed(_longer_prompts(case.streamed)), None)
            for what, tokens in (("prompts", round(own)), ("prefill", wanted)):  # both in one session
                changes = {"context_tokens": tokens, "stream": None, **few}
                yield from case.varied(longest, what, changes, tokens / own)


def _network(case: Case) -> Known:
    floors = [_floors_s(case, side) for side in (case.ours, case.theirs)]
    proxies = unique(str(proxy) for r in case.rounds if (proxy := (r.facts or {}).get("proxy")))
    through = f", through {listed(proxies)}" if proxies else ""
    if not all(map(len, floors)):
        return Known(f"no health calls were timed on both sides{through}")
    ours, theirs = (Influence.of_runs(own) for own in floors)
    few = min(map(len, floors)) < MIN_ROUNDS
    found = contrast_of("difference", ours, theirs, why=f"fewer than {MIN_ROUNDS} rounds" if few else None)
    shown = [f"{number(1000 * float(np.mean(own)), 2)} ms" for own in floors]
    said = f"health calls took {shown[0]} against {shown[1]}{through}"
    return Known(said, replace(found.weighted(1 / case.whole_s), scale="ratio"))


def _floors_s(case: Case, side: Side) -> list[float]:
    quiet = [r for r in case.rounds if r.endpoint == side.name and r.round in side.rounds]
    return [float(np.median(r.floor_s)) for r in quiet if r.floor_s]


def _prefix_cache(case: Case) -> Known:
    if why := case.excluded(PREFIX_CACHE):
        return Known(why, excludes=True)
    return case.against(_without_cache(case), "prompts may begin alike")


def _without_cache(case: Case) -> Case | None:
    wanted = "unique" if case.scenario.prefix else None
    return case.control({"prefix", "nonce"}, lambda load: load.load.nonce and load.load.prefix == wanted)


def _unique_prefixes(case: Case) -> Iterator[Experiment]:
    if case.scenario.prefix not in (None, "unique"):
        yield from case.varied(_without_cache(case), "unique", {"prefix": "unique"})
    elif not case.scenario.nonce:
        yield from case.varied(_without_cache(case), "unique", {"nonce": None})


def _sharing(case: Case) -> Known:
    if _is_alone(case.load):
        return Known("one request at a time", excludes=True)
    return case.against(_alone(case))


def _alone(case: Case) -> Case | None:
    return case.control({"concurrency", *_OPEN_LOOP}, _is_alone)


def _is_alone(load: Cell) -> bool:
    return not load.is_open and load.slots == 1


def _one_at_a_time(case: Case) -> Iterator[Experiment]:
    if not _is_alone(case.load):
        changes = {**dict.fromkeys(_OPEN_LOOP), "concurrency": 1}
        yield from case.varied(_alone(case), "alone", changes, case.load.slots)


def _server_limits(case: Case) -> Known:
    shown = {name: own for name in SERVER_LIMITS if (own := case.said(name))}
    told = "; ".join(unique(f"{each.endpoint}: {each.evidence}" for own in shown.values() for each in own))
    if _is_alone(case.load) and all(_starts(case, side) for side in (case.ours, case.theirs)):
        return Known("one request at a time, on servers that nobody else uses", excludes=True)
    if SERVER_LIMITS[0] in shown and (why := case.excluded(*shown)):
        return Known(why, excludes=True)
    if not _is_queued(case):
        return Known(told or "no server shows its queue or its cache")
    alone = _sharing(case)
    return replace(alone, evidence=f"{told}; {alone.evidence}")


def _is_queued(case: Case) -> bool:
    return any(each.finding == "supported" for name in SERVER_LIMITS for each in case.said(name))


def _one_at_a_time_if_queued(case: Case) -> Iterator[Experiment]:
    if _is_queued(case):
        yield from _one_at_a_time(case)


def _starts(case: Case, side: Side) -> bool:
    """Tell whether the jobs that measure a side start its server."""
    return case.config.inference.endpoints[side.name].server is not None


def _cold(case: Case) -> Known:
    if why := case.excluded(COLD_CALL):
        return Known(why, excludes=True)
    return case.against(_warmer(case), f"after {counted(case.scenario.warm_up, 'warm-up request')}")


def _warmer(case: Case) -> Case | None:
    return case.control((), lambda load: load.load.warm_up >= case.scenario.warm_up + _MORE_WARM_UPS)


def _warmed_up(case: Case) -> Iterator[Experiment]:
    yield from case.varied(_warmer(case), "warm", {"warm_up": case.scenario.warm_up + _MORE_WARM_UPS})


def _precision(case: Case) -> Known:
    kinds = [_precision_of(case, side) for side in (case.ours, case.theirs)]
    said = f"{kinds[0] or 'unknown'} against {kinds[1] or 'unknown'}"
    if kinds[0] and kinds[0] == kinds[1]:
        return Known(f"both serve {kinds[0]}", excludes=True)
    base = case.theirs.name
    for side in (case.ours, case.theirs):
        twin = case.all.get((_twin(case, side), base, case.cell))
        if twin and (then := twin.ratios.get("typical_latency")):
            now = case.ratios.get("typical_latency") if side is case.ours else None
            effect = now.minus(then) if now else then
            times = 1 / effect.value if now else effect.value
            return Known(
                f"{said}; {side.name} takes {number(times)} times as long with {_precision_of(case, twin.ours)}", effect
            )
    return Known(said)


def _precision_of(case: Case, side: Side) -> str | None:
    told = (str(p) for r in case.rounds if r.endpoint == side.name and (p := (r.facts or {}).get("precision")))
    return next(told, None)


def _twin(case: Case, side: Side) -> str:
    server = case.config.inference.endpoints[side.name].server
    dtype = getattr(server, "dtype", None)
    return f"{EXPERIMENT}{_OTHER_DTYPE[dtype]}-{side.name}" if dtype else ""


def _other_precision(case: Case) -> Iterator[Experiment]:
    for side in (case.ours, case.theirs):
        if name := _twin(case, side):
            endpoint = case.config.inference.endpoints[side.name].model_dump(exclude_unset=True)
            twin = {**endpoint, "label": name, "server": {**endpoint["server"], "dtype": name.split("-")[1]}}
            yield Experiment(name, {"inference": {"run": [name], "endpoints": {name: twin}}}, like_side=side.name)


def _nothing(_: Case) -> Iterator[Experiment]:
    yield from ()


OF_ENDPOINTS = (
    Candidate(LONGER_ANSWERS, "there is no difference between answers of as many tokens", _lengths, _fixed_lengths),
    Candidate("slower decoding", "TPOT differs at any length of the answer", _decode, _long_answers),
    Candidate("slower prefill", "TTFT grows faster with the prompt on one side", _prefill, _long_prompts),
    Candidate(
        "the network, a proxy or a gateway",
        "health calls take longer, too",
        _network,
        _nothing,
        "measure from the server's own host, or with a base_url that goes around the proxy",
    ),
    Candidate(PREFIX_CACHE, "there is no difference where no prompts begin alike", _prefix_cache, _unique_prefixes),
    Candidate(BATCHING, "there is no difference one request at a time", _sharing, _one_at_a_time),
    Candidate(
        "a queue, preemption or a full cache in the server",
        "its counters show it, and there is no difference one request at a time",
        _server_limits,
        _one_at_a_time_if_queued,
        "name metrics_url, where the server shows its counters",
    ),
    Candidate(COLD_CALL, "there is no difference after more warm-up requests", _cold, _warmed_up),
    Candidate(
        "precision",
        "the same server takes another time with another file",
        _precision,
        _other_precision,
        "serve the same file on both",
    ),
)
