"""What `accelbench why` plans, run by the command that it prints, decides what was open."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..inference.endpoint_stand_in import DONE, Script, Seen, StandIn, chunked, delta, usage
from .conftest import SMALL, Project, clean_environment

pytestmark = [pytest.mark.workflow, pytest.mark.long]

LOAD: dict[str, Any] = {"requests": 4, "rounds": 4, "max_tokens": 6}


def prefilling(s_per_character: float) -> StandIn:
    """Return an endpoint that takes a time per character of the prompt until its first token."""

    def answer(seen: Seen) -> Script:
        characters = len(seen.content)
        said = [step for token in "abcd" for step in (delta(token), 0.03)]
        end = [delta(finish_reason="stop"), usage(4, characters // 4), DONE]
        return chunked(s_per_character * characters, *said, *end)

    return StandIn(answer)


def test_longer_prompts_support_a_slower_prefill(tmp_path: Path) -> None:
    project = Project.copied(tmp_path / "project", SMALL)
    judge = project.root / "workflow/accelbench/analysis/disturbance.py"
    judge.write_text(re.sub(r"(?m)^(MOST_TAKEN, MOST_WAITING) = .*", r"\1 = 9.0, 9.0", judge.read_text()))

    def why() -> str:
        command = [sys.executable, "-m", "accelbench", "why"]
        environment = {**clean_environment(), "PYTHONPATH": str(project.root / "workflow")}
        return subprocess.run(
            command, cwd=project.root, env=environment, capture_output=True, text=True, timeout=120, check=True
        ).stdout

    with prefilling(0.00005) as quick, prefilling(0.0004) as slow:

        def plant(config: dict[str, Any]) -> None:
            config["training"]["run"] = []
            endpoints = {name: {"model": "m", "base_url": each.base_url} for name, each in (("a", quick), ("b", slow))}
            inference = {"run": ["a", "b"], "baseline": "a", "endpoints": endpoints}
            config["inference"].update(inference, scenarios_run=["load"], scenarios={"load": LOAD})

        project.edit(plant)
        project.run(env={"no_proxy": "127.0.0.1"})
        before = why()
        assert "  open       slower prefill: " in before, before
        [command] = re.findall(r"(?m)^    snakemake (.*)$", before)
        files = command.partition("--configfile ")[2]
        assert shlex.split(files) == ["results/run_config.yaml", "why.yaml"]
        done = project.snakemake(config=files, env={"no_proxy": "127.0.0.1"})
        assert done.returncode == 0, done.stdout[-6000:]
        assert not re.search(r"wildcards: .*cell=load,", done.stdout)  # what is finished is not measured again
    after = why()
    assert "  supported  slower prefill: " in after, after
