"""Where everything lies under the working directory: written once, used by rules and package alike."""

import re
from pathlib import Path

RESULTS = "results"
RUN_CONFIG = f"{RESULTS}/run_config.yaml"
RUNS = f"{RESULTS}/training/runs.jsonl"
ROUNDS = f"{RESULTS}/inference/rounds.jsonl"
CORPUS = f"{RESULTS}/corpus"
TRAIN_RUN = f"{RESULTS}/training/{{platform}}/{{size}}/r{{repeat}}"
COMPILED = f"{RESULTS}/training/{{platform}}/{{size}}/compiled.json"
SIZE = r"bs\d+(?:-mb\d+)?"
PROMPTS = f"{RESULTS}/prompts/{{set}}"
WEIGHTS = f"{RESULTS}/weights/{{model}}"
INFER_ROUND = f"{RESULTS}/inference/{{endpoint}}/{{cell}}/r{{round}}"
CALIBRATION = f"{RESULTS}/calibration"
ARCHIVE = Path(RESULTS) / "archive"
LOGS = f"{RESULTS}/logs"


def size(batch: int, micro: int | None = None) -> str:
    """Name a size of the sweep: bs256, or bs256-mb64 where the micro batch is an axis."""
    return f"bs{batch}" if micro is None else f"bs{batch}-mb{micro}"


def parse_size(name: str) -> tuple[int, int | None]:
    """Return the batch size and the micro batch of a size's name. Raises ValueError for another text."""
    if not re.fullmatch(SIZE, name):
        raise ValueError(name)
    batch, _, micro = name.removeprefix("bs").partition("-mb")
    return int(batch), int(micro) if micro else None


def train_run(platform: str, batch: int, repeat: int, micro: int | None = None) -> Path:
    """Return the folder of one training run."""
    return Path(TRAIN_RUN.format(platform=platform, size=size(batch, micro), repeat=repeat))


def compiled(platform: str, batch: int, micro: int | None = None) -> Path:
    """Return the file that says that a size was compiled beforehand."""
    return Path(COMPILED.format(platform=platform, size=size(batch, micro)))


def infer_round(endpoint: str, cell: str, round_no: int) -> Path:
    """Return the folder of one round of one cell against one endpoint."""
    return Path(INFER_ROUND.format(endpoint=endpoint, cell=cell, round=round_no))


def prompt_facts(prompt_set: str) -> Path:
    """Return the file that says what a prompt set holds."""
    return Path(PROMPTS.format(set=prompt_set) + ".json")


def corpus_facts() -> Path:
    """Return the file that says what the training corpus holds."""
    return Path(CORPUS) / "corpus.json"
