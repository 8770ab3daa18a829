"""Traces: their shapes, what is read of them, and what is said of files that are none."""

from pathlib import Path

import pytest

from accelbench.errors import UserError
from accelbench.plan.trace import Arrival, read_trace

READ = [Arrival(0.0, 655, 52), Arrival(0.5, 672, 26)]
FILES = {
    "mooncake.jsonl": """{"timestamp": 0, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 500, "input_length": 672, "output_length": 26, "hash_ids": [46, 47]}
""",
    "azure-2023.csv": """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.2500000,655,52
2023-11-16 18:17:03.7500000,672,26
""",
    "azure-2024.csv": """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-12 00:00:00.250000+00:00,655,52
2024-05-12 00:00:00.750000+00:00,672,26
""",
    "burstgpt.csv": """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5.0,1,3,ChatGPT,655,52,707,Conversation log
5.2,2,3,GPT-4,417,0,417,API log
5.5,,3,GPT-4,672,26,698,API log
""",
    "own.jsonl": """{"at_s": 8.5, "input_tokens": 672, "output_tokens": 26}
{"at_s": 8, "input_tokens": 655, "output_tokens": 52}
""",
}


@pytest.mark.parametrize("name", FILES)
def test_each_shape_gives_times_from_the_first_request_and_lengths(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    assert read_trace(str(tmp_path / name), 2) == READ


def test_times_are_scaled_and_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(FILES["mooncake.jsonl"] + "no trace from here on")
    assert [each.at_s for each in read_trace(str(path), 2, 0.5)] == [0.0, 0.25]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (FILES["mooncake.jsonl"], "has 2 requests with an answer, but requests is 3"),
        ('{"time": 1}', "it has time, not one of: at_s, input_tokens, output_tokens"),
        ("[1]", "can't be read as a trace"),
        ("{", "can't be read as a trace"),
        ('{"at_s": "x", "input_tokens": 1, "output_tokens": 1}', "can't be read as a trace"),
        (None, "can't be read"),
    ],
)
def test_what_is_no_trace_is_said_in_a_line(text: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"^trace: .*t\.jsonl") as raised:
        read_trace(str(path), 3)
    assert says in str(raised.value)
