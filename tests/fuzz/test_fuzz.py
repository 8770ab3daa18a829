"""Broken configs, logs, streams, records and params files: one clear error or a result, never a traceback or a hang.

FUZZ_CASES broken inputs (300; `make fuzz`: 10,000), drawn from FUZZ_SEED. What fails stands in the message with its
number, and its input in a file; found ones become regression tests below.
"""

import base64
import copy
import json
import math
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import yaml

from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers import keep_imported
from accelbench.compare.tables import endpoints_text
from accelbench.config import Config, Endpoint, SecretSource, configfile
from accelbench.errors import UserError
from accelbench.inference.answers.classify import classify_round
from accelbench.inference.answers.events import parse_answer
from accelbench.inference.client import journal
from accelbench.inference.endpoints.credentials import Credentials
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED, check
from accelbench.plan.past import FAILURE, RECORD, reason
from accelbench.report.terminal import log_table
from accelbench.store.files import jsonable
from accelbench.training.log.reader import read_log
from accelbench.training.params import render
from accelbench.training.params.check import check_params
from accelbench.training.tries import earlier_tries
from tests.analysis.records import request
from tests.compare.importers.results import DETAILS, steady, vllm
from tests.compare.importers.test_aiperf import line
from tests.compare.importers.test_guidellm import REQUEST, benchmark
from tests.compare.importers.test_inference_perf import metric
from tests.compare.importers.test_inferencex import POINT
from tests.compare.importers.test_llmperf import response
from tests.inference.endpoint_stand_in import delta, event, tokens
from tests.training.log.conftest import CRASH, GOOD

from .mutate import damaged_text, damaged_tree

CASES = int(os.environ.get("FUZZ_CASES", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CASE_LIMIT_S = 10
GROWTH_LIMIT_MIB = 700
BASE = Path(__file__).parents[2] / "config/config.yaml"
TREE = yaml.safe_load(BASE.read_text())
MODELS = sorted((BASE.parent / "models").glob("*.yaml"))
LOG = "\n".join([*GOOD[:3], *CRASH, *GOOD[3:], ""]).encode()
STREAM = b"".join(s for s in tokens("Par", "is ", "it is") if isinstance(s, bytes)) + delta(reasoning="hm")
DIALECTS = b"".join([
    b"\xef\xbb\xbf: hi\r\revent: ping\rdata: alive\n\ndata: : wait\n\n", delta("<think>hm"), delta("</think>\n\nPar"),
    delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "is"}]),
    delta(reasoning_details=[{"type": "reasoning.text", "text": "hm"}]), delta(finish_reason="eos_token"),
    event({"choices": [{"message": {"content": "Paris"}, "usage": {"completion_tokens": 3}}],
           "time_info": {"total_time": 1}, "base_resp": {"status_code": 0},
           "x_groq": {"usage": {"total_tokens": 47, "prompt_tokens": 12, "prompt_time": 0.1}},
           "usage": {"completion_tokens_details": {"reasoning_tokens": 30}, "cached_tokens": 8}}),
    b'error: {"message": "no"}\n\n', event(b"[DONE]"),
])  # fmt: skip
TOKEN = "canary-6f1d/9c0ab7"
ECHOES = [TOKEN, TOKEN.upper(), quote(TOKEN, safe=""), base64.b64encode(TOKEN.encode()).decode(), TOKEN.encode().hex()]
ATTEMPT: dict[str, Any] = {
    "session": 1, "key": "q", "attempt": 1, "final": True, "scheduled_s": None, "dequeued_s": 0.1, "reused": False,
    "connected_s": 0.1, "sent_s": 0.2, "first_byte_s": 0.5, "headers_s": 0.5, "end_s": 0.9, "status": 200,
    "headers": {"content-type": "text/event-stream"}, "error": None, "error_text": None, "reads": [],
}  # fmt: skip
RESULTS: list[list[dict[str, Any]]] = [
    [steady(slots=2, requests=4), vllm(), vllm(**DETAILS)],
    [vllm(backend="sglang", total_token_throughput="left out") | {"request_rate": math.inf}],
    [{"benchmarks": [benchmark({"type_": "concurrent", "streams": 2}, successful=[REQUEST], errored=[REQUEST])]}],
    [line(0), line(1), line(2)],
    [response(), response(error_code=429)],
    [metric(10.0), metric(11.0, nested=True)],
    [POINT, POINT | {"hw": "other"}],
    [{"one": {"results": [{"prompt_id": 1, "latency_sec": 1.0, "metadata": {"prompt_tokens": 1}}]}}],
]
HEADER = {"session": 1, "spec_digest": "0" * 16, "started_unix_s": 1e9}


def config_tree(draw: random.Random, folder: Path) -> None:
    (folder / "over.yaml").write_text(yaml.safe_dump(damaged_tree(TREE, draw)))
    planned(folder)


def config_text(draw: random.Random, folder: Path) -> None:
    (folder / "over.yaml").write_bytes(damaged_text(BASE.read_bytes(), draw))
    planned(folder)


def planned(folder: Path) -> None:
    config = configfile.load_config(BASE, [folder / "over.yaml"])
    specs.needs_local(config)
    for item in specs.infer_rounds(config)[:20]:
        specs.infer_spec(config, item)
    configfile.write_merged(config, folder / "merged.yaml")
    configfile.load_config(folder / "merged.yaml")


def training_log(draw: random.Random, folder: Path) -> None:
    path = folder / "run.log"
    path.write_bytes(damaged_text(LOG, draw))
    parsed = read_log(path)
    json.dumps(jsonable(parsed), allow_nan=False)
    log_table([parsed])


def stream(draw: random.Random, folder: Path) -> None:
    body = damaged_text(draw.choice((STREAM, STREAM, DIALECTS, DIALECTS, event({"choices": []})[6:])), draw)
    cuts = sorted(draw.randrange(len(body) + 1) for _ in range(draw.randrange(6)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    reads = [(0.5 + n / 10, piece.decode("latin-1")) for n, piece in enumerate(pieces)]
    path = folder / journal.EXCHANGES
    path.write_text(f"{json.dumps(HEADER)}\n{json.dumps({**ATTEMPT, 'reads': reads})}\n")
    for streamed in (True, False):
        (record,) = classify_round(specs.InferRound("e", "c", 1), folder, {}, streamed=streamed)
        assert all(time_s is None or math.isfinite(time_s) for time_s in (record.ttft_s, record.e2e_s, record.tpot_s))


def echo(draw: random.Random, folder: Path) -> None:
    """A stream that echoes the token in some form, whole or in pieces of any length, among other things."""
    said, pieces = f"You sent {draw.choice(ECHOES)}!", []
    while said:
        length = draw.randrange(1, draw.choice((3, 8, 200)))
        written = "".join(f"\\u{ord(letter):04x}" if draw.random() < 0.2 else letter for letter in said[:length])
        pieces.append(event(b'{"choices": [{"delta": {"content": "%s"}}]}' % written.encode()))
        said = said[length:]
    body = b"".join([*pieces, draw.choice((b"", DIALECTS, STREAM))])
    endpoint = Endpoint(base_url="http://endpoint.invalid/v1", model="m", token=SecretSource(env="OWN_TOKEN"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OWN_TOKEN", TOKEN)
        hidden = Credentials("one", endpoint).hide(body)
    assert len(hidden) == len(body)
    answer = parse_answer([(0.0, hidden)], streamed=True)
    told = unquote(f"{answer} {hidden.decode(errors='replace')}").lower()
    assert not any(form.lower()[4:-4] in told for form in ECHOES)


def records(draw: random.Random, folder: Path) -> None:
    """A journal or requests.jsonl, whose lines or fields are damaged; read as `compare` does."""
    attempts = [{**ATTEMPT, "key": f"q{n}", "reads": [(0.5, STREAM.decode())]} for n in range(4)]
    kept = [vars_of(request(key=f"q{n}")) for n in range(4)]
    name, lines = draw.choice(((journal.EXCHANGES, [HEADER, *attempts]), ("requests.jsonl", kept)))
    if draw.random() < 0.5:
        lines = [damaged_tree(line, draw) if draw.random() < 0.5 else line for line in lines]
    content = "".join(json.dumps(line, default=str) + "\n" for line in lines).encode()
    path = folder / name
    path.write_bytes(content if draw.random() < 0.4 else damaged_text(content, draw))
    endpoints_text(compare_endpoints([path]))


def torn_results(draw: random.Random, folder: Path) -> None:
    """A measurement's own records after a power cut: emptied, cut, or full of zeros."""
    spec = specs.canonical({"kind": "train"})
    tries = [{"started_at": "2026-01-01T10:00:00+00:00", "from_step": 0, "ended_at": None, "exit_status": None}]
    whole: dict[str, dict[str, Any]] = {
        RECORD: {"spec": json.loads(spec), "outcome": "unfinished", "failure": None, "tries": tries},
        FAILURE: {"text": "no", "not_ready": True, "at": "2026-01-01T10:00:00+00:00", "workflow": None},
        MEASURED: {"spec": json.loads(spec), "raw_sha256": {"run.json": "0"}},
    }
    for name, record in whole.items():
        content = json.dumps(record).encode()
        (folder / name).write_bytes(draw.choice((content, content[: draw.randrange(len(content))], b"", bytes(200))))
    (folder / "run.log").write_bytes(LOG)
    earlier_tries(folder / RECORD, folder / "run.log", spec)
    reason(folder)
    check(folder, spec)


def vars_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}


def foreign_results(draw: random.Random, folder: Path) -> None:
    """What another tool left, damaged: imported, and compared as it is."""
    documents = damaged_tree(copy.deepcopy(draw.choice(RESULTS)), draw)
    lines = documents if isinstance(documents, list) and draw.random() < 0.5 else [documents]
    text = "\n".join(json.dumps(each, default=str, skipkeys=True) for each in lines).encode()
    path = folder / "foreign.json"
    path.write_bytes(text if draw.random() < 0.7 else damaged_text(text, draw))
    try:
        keep_imported(path, folder / "out")
    finally:
        assert "\x1b" not in endpoints_text(compare_endpoints([path]), full=True)


def params_tree(draw: random.Random, folder: Path) -> None:
    tree = damaged_tree(yaml.safe_load(draw.choice(MODELS).read_text()), draw)
    if isinstance(tree, dict):
        check_params(tree)
    (folder / "model.yaml").write_text(yaml.safe_dump(tree))
    rendered(folder)


def params_text(draw: random.Random, folder: Path) -> None:
    (folder / "model.yaml").write_bytes(damaged_text(draw.choice(MODELS).read_bytes(), draw))
    rendered(folder)


def rendered(folder: Path) -> None:
    loaded = configfile.load_config(BASE)
    config: Config = loaded.model_copy(
        update={"training": loaded.training.model_copy(update={"model": folder / "model.yaml"})}
    )
    run = specs.TrainRun(loaded.training.run[0], loaded.training.batch_sizes[0], 1)
    render.write_params(config, run, folder / "params.yaml")


TARGETS = [
    config_tree,
    config_text,
    training_log,
    stream,
    echo,
    records,
    torn_results,
    foreign_results,
    params_tree,
    params_text,
]


class HangError(Exception):
    """A case took longer than it may."""


@contextmanager
def limited() -> Iterator[None]:
    """End what takes too long."""

    def ring(*_: object) -> None:
        raise HangError(f"took longer than {CASE_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, CASE_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_broken_input_is_an_error_in_words_or_a_result(
    target: Callable[[random.Random, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BASE.parents[1])
    before_mib = peak_mib()
    failures = []
    for number in range(-(-CASES // len(TARGETS))):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            with limited():
                target(random.Random(f"{SEED} {target.__name__} {number}"), folder)
        except UserError as error:
            assert str(error).strip()
        except Exception as error:
            failures.append(f"case {number} ({folder}): {type(error).__name__}: {str(error)[:200]}")
            continue
        for file in folder.rglob("*"):
            if file.is_file():
                file.unlink()
    assert not failures, f"{len(failures)} of FUZZ_SEED={SEED}:\n" + "\n".join(failures[:20])
    assert peak_mib() - before_mib < GROWTH_LIMIT_MIB


# --- found ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [{"e2e_s": "1 s"}, {"sent_unix_s": []}, {"class_": None}])
def test_a_record_whose_field_is_of_another_type_is_refused_by_its_name(damage: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(
        "".join(json.dumps(vars_of(request(key=key)) | own) + "\n" for key, own in (("a", {}), ("b", damage)))
    )
    with pytest.raises(UserError, match=f"record 1 {next(iter(damage))}: Input should be a valid"):
        compare_endpoints([path])


def test_a_journal_whose_key_is_a_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / journal.EXCHANGES
    path.write_text(f"{json.dumps(HEADER)}\n{json.dumps({**ATTEMPT, 'key': 7})}\n")
    with pytest.raises(UserError, match=r"can't be read as"):
        compare_endpoints([path])


def test_a_count_of_tokens_that_no_request_has_is_refused(tmp_path: Path) -> None:
    metadata = {"prompt_tokens": 1e308, "completion_tokens": 2}
    result = {"prompt_id": 1, "latency_sec": 1.0, "response": "a", "metadata": metadata}
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps({"one": {"results": [result]}}))
    with pytest.raises(UserError, match=r"1e\+308 is not a number of tokens"):
        keep_imported(path, tmp_path / "out")


def test_a_data_folder_whose_name_is_too_long_is_not_there() -> None:
    loader = {"batch_size": 1, "data_dir": "x" * 5000}
    ((severity, text),) = check_params({"trainer": {"init": {}, "fit": {"train_dataloader": loader}}})
    assert severity == "warning" and "isn't on this machine" in text
