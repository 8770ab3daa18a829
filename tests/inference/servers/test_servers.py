"""Servers of one's own: started for the job that measures them, gone afterwards, named when they fail."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from accelbench.config import Endpoint
from accelbench.errors import UserError
from accelbench.foreign import as_number
from accelbench.inference import servers
from accelbench.inference.answers.events import classified_as, parse_answer
from accelbench.inference.client.http import Connection, Exchange
from accelbench.telemetry.sources.server import ServerPage
from accelbench.telemetry.sources.source import Watched

READY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def endpoint(ready_timeout_s: float = 10.0, **server: Any) -> Endpoint:
    return Endpoint.model_validate(
        {
            "server": {"kind": "llama.cpp", **server},
            "model": "SmolLM2-135M-Instruct",
            "ready_timeout_s": ready_timeout_s,
        }
    )


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Register a Python program as the way to serve; its argument is the port."""

    def register(program: str) -> None:
        monkeypatch.setitem(
            servers.SERVERS,
            "llama.cpp",
            servers.ServerKind(
                lambda _model, _server, port: servers.Serve(
                    [sys.executable, "-c", program, str(port)], {"server": "own"}
                ),
                lambda _model, _server: "own",
            ),
        )

    yield register


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_a_server_answers_inside_the_block_and_is_gone_after_it(serve: Any) -> None:
    serve(READY)
    before = children()
    with servers.running("mine", endpoint(), Path("server.log")) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert server.facts["server"] == "own"
        assert server.facts["start_up_s"] > 0
        assert len(children()) > len(before)
    assert children() == before


def test_a_server_is_gone_after_an_error_in_the_block(serve: Any) -> None:
    serve(READY)
    before = children()
    with pytest.raises(LookupError), servers.running("mine", endpoint(), Path("server.log")):
        raise LookupError
    assert children() == before


def test_a_server_that_ends_at_once_is_named_with_its_log(serve: Any) -> None:
    serve("print('no such weights'); raise SystemExit(3)")
    with (
        pytest.raises(UserError, match=r"^mine: the server own ended before it was ready; see .*server\.log"),
        servers.running("mine", endpoint(), Path("logs/server.log")),
    ):
        pass
    assert "no such weights" in Path("logs/server.log").read_text()


def test_a_server_that_never_gets_ready_is_ended_and_named_with_its_log(serve: Any) -> None:
    serve("import time; time.sleep(60)")
    before, started_s = children(), time.perf_counter()
    with (
        pytest.raises(UserError, match=r"^mine: .*not ready after 0\.3 s \(ready_timeout_s\); see server\.log"),
        servers.running("mine", endpoint(0.3), Path("server.log")),
    ):
        pass
    assert time.perf_counter() - started_s < 5
    assert children() == before


def test_weights_that_are_not_prepared_say_what_to_run() -> None:
    own = endpoint().model_copy(update={"server": servers.TransformersServer(kind="transformers")})
    with (
        pytest.raises(UserError, match=r"accelbench weights --model SmolLM2-135M-Instruct"),
        servers.running("mine", own, Path("server.log")),
    ):
        pass


def test_a_model_without_packaged_weights_is_named() -> None:
    own = endpoint().model_copy(update={"model": "gpt-oss-120b"})
    with pytest.raises(UserError, match="gpt-oss-120b"), servers.running("mine", own, Path("server.log")):
        pass


def command_endpoint(program: str, *words: str, ready_timeout_s: float = 10.0, **server: Any) -> Endpoint:
    """An endpoint whose server is a Python program of one's own; its first argument is the port."""
    command = [sys.executable, "-c", program, "{port}", *words]
    return Endpoint.model_validate(
        {
            "server": {"kind": "command", "command": command, **server},
            "model": "gpt-oss-120b",
            "ready_timeout_s": ready_timeout_s,
        }
    )


def test_a_command_is_started_with_port_and_model_in_place() -> None:
    own = command_endpoint(READY, "--served-model-name={model}", '{"a": {"b": 1}}')
    before = children()
    with servers.running("gpu", own, Path("server.log")) as server:
        port = server.base_url.removeprefix("http://127.0.0.1:").removesuffix("/v1")
        assert server.facts["command"][3:] == [port, "--served-model-name=gpt-oss-120b", '{"a": {"b": 1}}']
        assert server.health_url == f"http://127.0.0.1:{port}/health"
        assert server.facts["version"] is None
    assert children() == before


def test_a_command_is_ready_when_its_own_page_answers() -> None:
    program = READY.replace("/health", "/up")
    with servers.running("gpu", command_endpoint(program, ready="/up"), Path("server.log")) as server:
        assert server.health_url.endswith("/up")
    never = command_endpoint(program, ready_timeout_s=0.5)
    with (
        pytest.raises(UserError, match=r"^gpu: the server python\S* was not ready after 0\.5 s"),
        servers.running("gpu", never, Path("server.log")),
    ):
        pass


def test_a_command_has_its_own_environment_beside_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_JOB", "1")
    program = "import os\nassert os.environ['FROM_THE_JOB'] + os.environ['GPUS'] == '10'\n" + READY
    with servers.running("gpu", command_endpoint(program, env={"GPUS": "0"}), Path("server.log")):
        pass


def test_the_version_of_a_command_is_recorded_and_is_no_reason_to_fail() -> None:
    says = [sys.executable, "-c", "print('0.11.2')"]
    for asked, version in ((says, "0.11.2"), (["no-such-program"], None)):
        with servers.running("gpu", command_endpoint(READY, version_command=asked), Path("server.log")) as server:
            assert server.facts["version"] == version


def test_a_command_that_is_not_there_is_named() -> None:
    own = Endpoint.model_validate(
        {"server": {"kind": "command", "command": ["vllm-nowhere", "serve", "{port}"]}, "model": "m"}
    )
    with (
        pytest.raises(UserError, match=r"^gpu: vllm-nowhere can't be found on this machine\. .*server\.command"),
        servers.running("gpu", own, Path("server.log")),
    ):
        pass


@pytest.mark.local
def test_llama_cpp_answers_streamed_and_unstreamed_and_is_gone_afterwards() -> None:
    pytest.importorskip("xllamacpp")
    before = children()
    with servers.running("mine", endpoint(60.0, slots=1, threads=1), Path("server.log")) as server:
        own = ServerPage(Watched(metrics_url=f"{server.base_url.removesuffix('/v1')}/metrics"))
        shown = own.read()
        exchanges = [ask(server.base_url, streamed=streamed) for streamed in (True, False)]
        generated = as_number(own.read()["generated_tokens"]) - as_number(shown["generated_tokens"])
    assert children() == before
    assert server.facts["precision"] == "Q4_1"
    answers = [parse_answer(e.reads, streamed=s) for e, s in zip(exchanges, (True, False), strict=True)]
    assert generated == sum(answer.usage["completion_tokens"] for answer in answers)
    for exchange, streamed in zip(exchanges, (True, False), strict=True):
        answer = parse_answer(exchange.reads, streamed=streamed)
        kind = classified_as(exchange.error, exchange.status, answer, streamed=streamed)
        assert kind in ("ok", "truncated_length")
        assert answer.usage["completion_tokens"] > 0
        assert bool(answer.token_events) is streamed


def ask(base_url: str, *, streamed: bool) -> Exchange:
    body = {
        "model": "SmolLM2-135M-Instruct",
        "messages": [{"role": "user", "content": "Say yes."}],
        "max_tokens": 8,
        "temperature": 0,
        "stream": streamed,
        **({"stream_options": {"include_usage": True}} if streamed else {}),
    }
    connection = Connection(base_url, connect_s=5, read_s=60, total_s=60, epoch_s=time.perf_counter())
    asked = connection.post("/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return asyncio.run(asked)
