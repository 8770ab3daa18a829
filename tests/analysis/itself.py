"""An endpoint measured twice, as two endpoints: how often any sentence of the comparison names a winner."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accelbench.analysis.pairs import judge_all, pair_up
from accelbench.analysis.sample import Side
from accelbench.report.verdicts import sentences
from accelbench.store.records import RequestRecord
from accelbench.store.requests import Requests

from .records import request
from .simulated import Asked, answers

GAP_S = 60.0
WINNER = re.compile(r"\b(faster|slower|lower|higher)\b")


def names_a_winner(draw: np.random.Generator, asked: Sequence[Asked], *, streamed: bool, paired: bool = True) -> bool:
    """Simulate one comparison of an endpoint with itself through the code that writes the sentences."""
    sides = [_side(draw, name, asked, streamed, 0.0 if paired or name == "a" else 900.0) for name in "ab"]
    (judged,) = judge_all([pair_up(sides[0], sides[1], GAP_S)])
    return any(WINNER.search(sentence) for sentence in sentences(judged, {}))


def _side(draw: np.random.Generator, name: str, asked: Sequence[Asked], streamed: bool, later_s: float) -> Side:
    own = answers(draw, asked, 0.5, 0.02, lengths=(60, 400))
    requests = [
        _requested(name, place, asked[place], later_s, int(tokens), e2e_s, tpot_s if streamed else None)
        for place, (tokens, e2e_s, tpot_s) in enumerate(zip(own.tokens, own.e2e_s, own.tpot_s, strict=True))
    ]
    shown = [
        replace(r, contains_gold=bool(hit), f1=float(hit))
        for r, hit in zip(requests, draw.random(len(asked)) < 0.8, strict=True)
    ]
    return Side(name, "load", Requests.of(shown), {number: "box" for _, number in asked})


def _requested(
    name: str, place: int, asked: Asked, later_s: float, tokens: int, e2e_s: float, tpot_s: float | None
) -> RequestRecord:
    passage, number = asked
    sent_s = 1e9 + later_s + 3600 * number + 5 * place
    return request(
        endpoint=name, round=number, key=f"p{place}", passage=str(passage), sent_unix_s=sent_s,
        end_unix_s=sent_s + e2e_s, e2e_s=e2e_s, completion_tokens=tokens, tpot_s=tpot_s,
        ttft_s=None if tpot_s is None else max(0.01, e2e_s - tpot_s * tokens),
        streaming="faithful" if tpot_s is not None else "unknown",
    )  # fmt: skip
