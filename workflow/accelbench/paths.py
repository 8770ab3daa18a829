"""Where everything lies under the working directory: written once, used by rules and package alike."""

from pathlib import Path

RESULTS = "results"
RUN_CONFIG = f"{RESULTS}/run_config.yaml"
WORKFLOW_PID = f"{RESULTS}/.workflow.pid"
CORPUS = f"{RESULTS}/corpus"
TRAIN_RUN = f"{RESULTS}/training/{{platform}}/bs{{batch}}/r{{repeat}}"
COMPILED = f"{RESULTS}/training/{{platform}}/bs{{batch}}/compiled.json"
PROMPTS = f"{RESULTS}/prompts/{{set}}"
WEIGHTS = f"{RESULTS}/weights/{{model}}"
INFER_ROUND = f"{RESULTS}/inference/{{endpoint}}/{{cell}}/r{{round}}"
ARCHIVE = Path(RESULTS) / "archive"
LOGS = f"{RESULTS}/logs"


def train_run(platform: str, batch: int, repeat: int) -> Path:
    """Return the folder of one training run."""
    return Path(TRAIN_RUN.format(platform=platform, batch=batch, repeat=repeat))


def compiled(platform: str, batch: int) -> Path:
    """Return the file that says that a batch size was compiled beforehand."""
    return Path(COMPILED.format(platform=platform, batch=batch))


def infer_round(endpoint: str, cell: str, round_no: int) -> Path:
    """Return the folder of one round of one cell against one endpoint."""
    return Path(INFER_ROUND.format(endpoint=endpoint, cell=cell, round=round_no))


def prompt_facts(prompt_set: str) -> Path:
    """Return the file that says what a prompt set holds."""
    return Path(PROMPTS.format(set=prompt_set) + ".json")


def corpus_facts() -> Path:
    """Return the file that says what the training corpus holds."""
    return Path(CORPUS) / "corpus.json"
