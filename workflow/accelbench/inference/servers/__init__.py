"""Local LLM servers: started on a free port by the job that measures them, or for a whole run by `keeper`.

A kind of server is one entry of SERVERS and one config model, which says what planning must know of it. It answers GET
`Serve.ready` with 200 once it can be asked, and speaks the OpenAI API under /v1.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelbench.config import CommandServer, Endpoint, LlamaCppServer, TransformersServer
from accelbench.config.inference import LocalServer
from accelbench.errors import UserError
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.servers.weights import PACKAGED, gguf_of
from accelbench.jobs.process import guarded
from accelbench.plan.measurement import versions
from accelbench.store import paths
from accelbench.store.records import JsonObject

KV_BLOCK_TOKENS = 32
VERSION_TIMEOUT_S = 120.0  # `vllm --version` imports torch, on a cluster from a slow file system


@dataclass(frozen=True, slots=True)
class Serve:
    """How a server is started, and what is said about it."""

    command: list[str]
    facts: JsonObject
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: str = "/health"


@dataclass(frozen=True, slots=True)
class ServerKind:
    """How servers of one kind are started."""

    serve: Callable[[str, Any, int], Serve]
    """From the model, the server's config and a port to what is started."""
    found: Callable[[str, Any], str]
    """Says what it is started with; raises UserError where that isn't on this machine."""
    weights: Callable[[str], Path | None] = lambda _: None
    """Where the weights of a model are; None: only the server's own command says it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    base_url: str
    health_url: str
    facts: JsonObject
    started_by: int
    """The process that started its guard."""
    guard: subprocess.Popen[bytes] | None = None
    """The guard, which ends with the server; None where another process started it."""


@contextmanager
def running(name: str, endpoint: Endpoint, log: Path, *, append: bool = False) -> Iterator[Running]:
    """Start the endpoint's server, wait until it is ready, and stop it when the block is left.

    The log begins anew unless it is to `append`. Raises UserError, naming endpoint and log, when the server ends or
    isn't ready in time.
    """
    server = endpoint.server
    assert server is not None
    port = _free_port()
    serve = SERVERS[server.kind].serve(endpoint.model, server, port)
    if not _is_there(serve.command[0], serve.env):
        raise UserError(f"{name}: {_missing(serve.command[0])}")
    health_url = f"http://127.0.0.1:{port}{serve.ready}"
    what = f"the server {serve.facts['server']}"
    started_s = time.perf_counter()
    with guarded(serve.command, log, env=serve.env, cwd=serve.cwd, append=append) as process:
        while not get_page(health_url).is_good:
            if process.poll() is not None:
                raise UserError(f"{name}: {what} ended before it was ready; see {log}.")
            if time.perf_counter() - started_s > endpoint.ready_timeout_s:
                raise UserError(
                    f"{name}: {what} was not ready after {endpoint.ready_timeout_s:g} s (ready_timeout_s); see {log}."
                )
            time.sleep(0.05)
        start_up = {"start_up_s": round(time.perf_counter() - started_s, 2)}
        facts = {**serve.facts, **start_up, "command": serve.command}
        yield Running(f"http://127.0.0.1:{port}/v1", health_url, facts, os.getpid(), process)


def found_here(endpoint: Endpoint) -> str:
    """Return what the endpoint's server is started with. Raises UserError where that isn't on this machine."""
    assert endpoint.server is not None
    return SERVERS[endpoint.server.kind].found(endpoint.model, endpoint.server)


def weights_bytes(endpoint: Endpoint) -> int | None:
    """Return the size of the weights that the endpoint's server loads; None where that isn't known."""
    assert endpoint.server is not None
    try:
        path = SERVERS[endpoint.server.kind].weights(endpoint.model)
    except UserError:
        return None
    if path is None or not path.exists():
        return None
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _packaged(model: str, server: LocalServer) -> str:
    if missing := [package for package in server.packages if find_spec(package) is None]:
        raise UserError(f"{missing[0]} is not installed. Run `make setup`.")
    return f"{server.packages[0]} and the weights {gguf_of(model).name} are here"


def _llama_cpp(model: str, server: LlamaCppServer, port: int) -> Serve:
    command = [sys.executable, "-m", "accelbench.inference.servers.llama_cpp", "--gguf", str(gguf_of(model))]
    command += ["--model", model, "--port", str(port), "--slots", str(server.slots)]
    command += ["--context-tokens", str(server.context_tokens), "--threads", str(_threads(server.threads))]
    facts = {"server": "llama.cpp", "precision": PACKAGED[model].precision, **versions(*server.packages)}
    return Serve(command, facts)


def _transformers(model: str, server: TransformersServer, port: int) -> Serve:
    weights = Path(paths.WEIGHTS.format(model=model))
    if not weights.exists():
        raise UserError(f"{weights} is missing. Run `accelbench weights --model {model} --out {weights}`.")
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", server.dtype]
    command += ["--continuous-batching", "--cb-block-size", str(KV_BLOCK_TOKENS)]
    command += [
        "--cb-num-blocks",
        str(server.context_tokens // KV_BLOCK_TOKENS),
        "--cb-max-batch-tokens",
        "512",
    ]
    env = {
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": str(_threads(server.threads)),
    }
    facts = {"server": "transformers serve", "precision": server.dtype, **versions(*server.packages)}
    return Serve(command, facts, env=env, cwd=weights.parent)  # the model's id is the folder's name


def _command(model: str, server: CommandServer, port: int) -> Serve:
    command = [word.replace("{port}", str(port)).replace("{model}", model) for word in server.command]
    facts = {"server": Path(command[0]).name, "version": _version(server.version_command)}
    return Serve(command, facts, env=server.env, ready=server.ready)


def _command_found(_: str, server: CommandServer) -> str:
    if not _is_there(server.command[0], server.env):
        raise UserError(_missing(server.command[0]))
    return f"{server.command[0]} is found"


def _is_there(program: str, env: Mapping[str, str]) -> bool:
    return shutil.which(program, path=env.get("PATH")) is not None


def _missing(program: str) -> str:
    return (
        f"{program} can't be found on this machine. Install it where the job runs, or write its whole path in "
        "server.command."
    )


def _version(command: list[str] | None) -> str | None:
    """Return what a command says of its version; None where that can't be had, which stops no measurement."""
    if command is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{command[0]}: the version is unknown ({type(error).__name__}); see server.version_command.")
        return None
    return done.stdout.strip() or done.stderr.strip()


SERVERS = {
    "llama.cpp": ServerKind(_llama_cpp, _packaged, gguf_of),
    "transformers": ServerKind(_transformers, _packaged, lambda model: Path(paths.WEIGHTS.format(model=model))),
    "command": ServerKind(_command, _command_found),
}
"""The kinds of local servers, as the config calls them."""


def _threads(asked: int | None) -> int:
    return asked or os.cpu_count() or 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
