"""Secrets appear nowhere: not in a file, a log, a table, a report, Snakemake's metadata or a process's arguments.

A canary is written into every place a credential can be written to, and the endpoints say it back in every way they
can. One stand-in plays all endpoints and, because the names of their hosts lead nowhere, the proxy in front of them.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.inference.endpoint_stand_in import Script, Seen, StandIn, chunked, delta, document, error, stream, tokens

from .conftest import Project, clean_environment

pytestmark = pytest.mark.workflow

CANARY = f"canary-{os.getpid()}-6f1d9c0ab7"  # of its own: all processes here are looked at, another test's too
PLACES = {
    name: f"{CANARY}-{name}"
    for name in ("token", "from-command", "header", "header-from-command", "proxy-password", "load")
}


def echoed(seen: Seen) -> str:
    """Return all that was sent as credentials."""
    names = ("authorization", "x-api-key", "x-second-key", "proxy-authorization")
    return " ".join(seen.headers[name] for name in names if name in seen.headers)


def split(text: bytes) -> list[Any]:
    """Return a text in reads that cut through every word of it."""
    return [step for start in range(0, len(text), 11) for step in (text[start : start + 11], 0.002)]


def answer(seen: Seen) -> Script:
    """Answer as careless endpoints do, each host in a way of its own."""
    said = echoed(seen)
    host = seen.headers["host"].split(".")[0]
    headers = {"X_Echo": said, "Set_Cookie": said, "Server": f"careless {said}"}
    if host == "streaming":
        return chunked(delta("You are "), *split(delta(said)), *tokens("Paris"), **headers)
    if host == "failing":
        return document({"error": {"message": f"no such user: {said}"}}, 500, **headers)
    if host == "refusing":
        return document({"error": {"message": f"Incorrect API key: {said}"}}, 401, **headers)
    if host == "wrong":
        return document({"detail": f"your headers: {json.dumps(said)}"}, 422, **headers)
    return stream()


def page(seen: Seen) -> Script:
    """List a model that says what it was asked with."""
    if "refused" in seen.headers["host"]:
        return error(401, echoed(seen))
    entry = {"id": "m", "max_model_len": 4096, "asked_with": echoed(seen)}
    return document({"data": [entry], "running": [{"Models": "m", "Model Status": "running", "by": echoed(seen)}]})


HOSTS = ("streaming", "failing", "refusing", "wrong", "refused")


def endpoints(secrets: Path) -> dict[str, Any]:
    """Return an endpoint per host; its secrets come from everywhere they can come from."""

    def printed(name: str) -> dict[str, Any]:
        (secrets / name).write_text(PLACES[name])
        return {"command": ["cat", str(secrets / name)]}

    from_env = {"token": {"env": "OWN_TOKEN"}, "secret_headers": {"X-Api-Key": {"env": "OWN_KEY"}}}
    printing = {"token": printed("from-command"), "secret_headers": {"X-Second-Key": printed("header-from-command")}}
    return {
        host: {
            "base_url": f"http://{host}.invalid/v1",
            "model": "m",
            "ready_timeout_s": 1.0,
            "health_url": f"http://{host}.invalid/health",
            "cluster": {"jobs": f"http://{host}.invalid/jobs", "models": f"http://{host}.invalid/models"},
            **(from_env if number % 2 else printing),
        }
        for number, host in enumerate(HOSTS)
    }


@contextmanager
def watching_arguments() -> Iterator[set[str]]:
    """Look at all processes' arguments as long as the block; yield those that hold the canary."""
    found: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for arguments in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    said = arguments.read_bytes()
                except OSError:
                    continue
                if CANARY.encode() in said:
                    found.add(said.decode(errors="replace"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def files_with_canary(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def secret_environment(port: int) -> dict[str, str]:
    """Return an environment that holds the secrets and the way to the endpoints."""
    ways = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {key: value for key, value in clean_environment().items() if key.lower() not in ways}
    return {
        **kept,
        "http_proxy": f"http://someone:{PLACES['proxy-password']}@127.0.0.1:{port}",
        "HTTPS_PROXY": f"http://someone:{PLACES['proxy-password']}@127.0.0.1:{port}",
        "OWN_TOKEN": PLACES["token"],
        "OWN_KEY": PLACES["header"],
        "LOAD_TOKEN": PLACES["load"],
    }


def test_no_secret_leaves_the_memory_of_a_workflow(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    config = {
        "training": {"run": []},
        "inference": {
            "run": list(HOSTS),
            "baseline": "streaming",
            "scenarios_run": ["short"],
            "prompts": {"questions": {"source": "bundled"}},
            "scenarios": {"short": {"requests": 3, "rounds": 1, "max_tokens": 8}},
            "endpoints": endpoints(secrets),
        },
    }
    project = Project.copied(tmp_path / "project", config)
    with StandIn(answer, get=page) as server, watching_arguments() as shown:
        said = [
            subprocess.run(
                [*project.command(*arguments), "--verbose"],
                cwd=project.root,
                env=secret_environment(server.port),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=200,
                check=False,
            ).stdout
            for arguments in ([], ["report"])
        ]
    sent = " ".join(echoed(seen) for seen in server.posts)
    assert all(PLACES[name] in sent for name in ("token", "from-command", "header", "header-from-command"))
    assert "Basic " in sent  # the proxy's password, as HTTP has it
    measured = {path.parts[-4] for path in project.root.glob("results/inference/*/*/*/measured.json")}
    failed = {path.parts[-4] for path in project.root.glob("results/inference/*/*/*/failure.json")}
    assert (measured, failed) == ({"streaming", "failing"}, {"refusing", "wrong", "refused"}), said[0][-6000:]
    basic = next(seen.headers["proxy-authorization"] for seen in server.posts).split()[1]
    assert files_with_canary(project.root) == []
    assert [p for p in project.root.rglob("*") if p.is_file() and basic.encode() in p.read_bytes()] == []
    assert CANARY not in "".join(said) and basic not in "".join(said)
    assert shown == set()
    assert (project.root / "results/partial/report.html").exists()


@pytest.mark.parametrize("host", ["streaming", "failing", "refusing", "wrong"])
def test_no_secret_leaves_the_memory_of_a_load_test(host: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelbench", "load", "--base-url", f"http://{host}.invalid/v1", "--model", "m"]
    command += ["--requests", "3", "--token-env", "LOAD_TOKEN", "--out", str(tmp_path / "out"), "--json"]
    environment = {**secret_environment(0), "PYTHONPATH": os.pathsep.join(sys.path)}
    with StandIn(answer, get=page) as server, watching_arguments() as shown:
        environment["http_proxy"] = environment["http_proxy"].replace(":0", f":{server.port}")
        done = subprocess.run(command, env=environment, cwd=tmp_path, text=True, capture_output=True, timeout=60)
    assert PLACES["load"] in " ".join(echoed(seen) for seen in server.posts), done.stderr
    assert done.returncode == (host in ("refusing", "wrong")), done.stderr
    assert (tmp_path / "out/exchanges.jsonl").exists()
    assert files_with_canary(tmp_path) == []
    assert CANARY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert shown == set()
