"""Config files in the documents can be used as they are printed."""

import re
from pathlib import Path

import pytest
import yaml

from accelbench.config.configfile import load_config
from accelbench.dag import Dag
from accelbench.plan import specs
from accelbench.store import paths

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "docs/loads.md", "docs/training.md")
SNIPPETS = [
    snippet
    for name in DOCUMENTS
    for snippet in re.findall(r"(?ms)^```yaml\n(.*?)^```", (REPOSITORY / name).read_text())
]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dev-v1.1.json").write_text("{}")


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: " ".join(text.split())[:40])
def test_a_snippet_plans_what_can_be_had(snippet: str) -> None:
    Path("mine.yaml").write_text(snippet)
    config = load_config(paths.default_config(), [Path("mine.yaml")])
    assert specs.out_of_reach(config) == []
    plan = Dag(config)
    assert plan.train_results or plan.infer_results
    assert all(specs.train_spec(config, run) for run in specs.train_runs(config))
    assert all(specs.infer_spec(config, item) for item in specs.infer_rounds(config))


def test_what_a_snippet_asks_is_there_without_a_network() -> None:
    """The default's questions are those that come with the project where the hub is out of reach."""
    for snippet in SNIPPETS:
        tree = yaml.safe_load(snippet)
        Path("mine.yaml").write_text(snippet)
        config = load_config(paths.default_config(), [Path("mine.yaml")])
        if "prompts" in tree.get("inference", {}):
            continue
        for name in specs.prompt_sets(config):
            assert specs.prompts_needed(config, name) <= 144, snippet


def test_the_overlay_of_fixed_lengths_plans_each_of_its_scenarios() -> None:
    names = list(yaml.safe_load((REPOSITORY / "config/lengths.yaml").read_text())["inference"]["scenarios"])
    Path("all.yaml").write_text(
        yaml.safe_dump(
            {
                "inference": {
                    "scenarios_run": names,
                    "run": ["a"],
                    "baseline": "a",
                    "endpoints": {"a": {"base_url": "http://a/v1", "model": "m"}},
                }
            }
        )
    )
    config = load_config(paths.default_config(), [REPOSITORY / "config/lengths.yaml", Path("all.yaml")])
    assert specs.out_of_reach(config) == []
    assert {cell: load.output_tokens for cell, load in specs.cells(config).items()} == dict(
        zip(names, [8192, 1, 8192, 685, 82], strict=True)
    )
