"""How often a gate is right about real servers: llama.cpp at half its threads, and llama.cpp against itself.

    python benchmarks/gate.py [--gates 20] [--rounds 6] [--requests 10] [--max-tokens 24]

Both servers stay up for all gates. Run it on a machine that does nothing else: rounds on a busy host don't count.
"""

import argparse
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil

from accelbench.compare.ab import Contender, measure_in_turn
from accelbench.compare.gate import gate
from accelbench.config import Endpoint, PromptSet, Scenario
from accelbench.inference.servers import running
from accelbench.report.text import markdown

MODEL, LIMIT = "SmolLM2-135M-Instruct", 0.05
PROMPTS = PromptSet(source="bundled", template="short_span")


def main() -> None:
    """Run the gates, and print how often each outcome came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=20)
    for name, value in {"rounds": 6, "requests": 10, "max-tokens": 24}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    scenario = Scenario(rounds=options.rounds, requests=options.requests, max_tokens=options.max_tokens)
    cores = psutil.cpu_count(logical=False) or 2
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        full, half = (
            stack.enter_context(running(name, _served(threads), out / f"{name}.log")).base_url
            for name, threads in (("full", cores), ("half", max(1, cores // 2)))
        )
        rows = [
            [what, *_counts([_outcome(full, new, scenario, out / f"{what}{n}") for n in range(options.gates)])]
            for what, new in (("half its threads", half), ("itself", full))
        ]
    print(markdown(["full threads against", "worse", "can't tell", "passes"], rows))


def _served(threads: int) -> Endpoint:
    return Endpoint.model_validate({"model": MODEL, "server": {"kind": "llama.cpp", "threads": threads}})


def _outcome(base_url: str, new_url: str, scenario: Scenario, out: Path) -> str:
    contenders = {"base": Contender(base_url, MODEL), "new": Contender(new_url, MODEL)}
    base, new = measure_in_turn(contenders, scenario, PROMPTS, out)
    found = gate(base, new, ["e2e_s"], LIMIT)
    print(found.results[0].sentence, flush=True)
    return found.outcome


def _counts(outcomes: list[str]) -> list[str]:
    said = Counter(outcomes)
    return [f"{said[kind]} of {len(outcomes)}" for kind in ("worse", "undecided", "passes")]


if __name__ == "__main__":
    main()
