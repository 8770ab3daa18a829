"""The sources of the questions: whether they can be had."""

import os
from collections.abc import Iterator
from pathlib import Path

from accelbench.config import Config, PromptSet
from accelbench.config.inference import BUNDLED_QUESTIONS
from accelbench.errors import UserError
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.prompts import all_prompts
from accelbench.plan import specs
from accelbench.plan.findings import Finding, fails, ok, warning
from accelbench.store import paths

HUB = "https://huggingface.co"
CACHE = "~/.cache/huggingface/datasets"


def check_prompts(config: Config) -> Iterator[Finding]:
    """Yield, for each prompt set that is asked, where its questions come from."""
    for name in specs.prompt_sets(config):
        yield _source(config, name, config.inference.prompts[name])


def _source(config: Config, name: str, asked: PromptSet) -> Finding:
    what = f"{name}: prompts"
    if specs.prompts_are_made(config, name):
        return ok(what, "made already, of what the config says")
    needed = specs.prompts_needed(config, name)
    if asked.source == "bundled":
        return _counted(ok(what, "the project's own questions"), name, needed, BUNDLED_QUESTIONS)
    if asked.path is None:
        return _hub(what, name, asked, needed)
    if not paths.found(asked.path).is_file():
        return fails(what, f"{asked.path} is not there", f"Put it there, or correct inference.prompts.{name}.path.")
    try:
        there = len(all_prompts(asked, Path())[1])
    except UserError as error:
        return fails(what, error)
    return _counted(ok(what, f"{asked.path}, {there:,} questions"), name, needed, there)


def _counted(found: Finding, name: str, needed: int, there: int) -> Finding:
    """Return the finding, or that the source holds fewer questions than the scenarios ask."""
    if needed <= there:
        return found
    text = f"{there:,} questions are there, and the scenarios ask {needed:,} (rounds × requests)"
    return fails(found.what, text, f"Ask fewer, or name a larger data set under inference.prompts.{name}.")


def _hub(what: str, name: str, asked: PromptSet, needed: int) -> Finding:
    host = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    page = get_page(f"{host}/api/datasets/{asked.dataset}/revision/{asked.revision}")
    if page.is_good:
        return ok(what, f"{asked.dataset}, from {host}")
    answer = f"{host} does not give {asked.dataset} ({page.text})"
    if page.status in (401, 403, 404):
        return fails(what, answer, f"Correct dataset and revision of inference.prompts.{name}.")
    if asked.source == "auto":
        instead = f"{answer}: the project's own questions are asked instead"
        return _counted(warning(what, instead, "Set HTTPS_PROXY for SQuAD."), name, needed, BUNDLED_QUESTIONS)
    if _is_cached(asked.dataset):
        return warning(what, f"{answer}; there is a copy in the cache of `datasets`")
    remedy = f"Set HTTPS_PROXY, or write inference.prompts.{name}: {{source: path, path: dev-v1.1.json}}."
    return fails(what, answer, remedy)


def _is_cached(dataset: str) -> bool:
    cache = Path(os.environ.get("HF_DATASETS_CACHE", CACHE)).expanduser()
    return (cache / dataset.replace("/", "___")).is_dir()
