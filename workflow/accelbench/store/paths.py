"""Where everything is under the working directory: defined once, for rules and package."""

import re
import shlex
from pathlib import Path

INSTALLATION = Path(__file__).parents[3]
"""The folder of the Snakefile, config/ and profiles/; the working directory may be another one."""
DEFAULT_CONFIG, OWN_CONFIG = Path("config/config.yaml"), Path("config.yaml")
RESULTS = "results"
RUN_CONFIG = f"{RESULTS}/run_config.yaml"
RUNS = f"{RESULTS}/training/runs.jsonl"
ROUNDS = f"{RESULTS}/inference/rounds.jsonl"
REQUESTS = f"{RESULTS}/inference/requests.parquet"
CORPUS = f"{RESULTS}/corpus"
TRAIN_RUN = f"{RESULTS}/training/{{platform}}/{{size}}/r{{repeat}}"
COMPILED = f"{RESULTS}/training/{{platform}}/{{size}}/compiled.json"
SIZE = r"bs\d+(?:-mb\d+)?(?:-sl\d+)?"
PROMPTS = f"{RESULTS}/prompts/{{set}}"
WEIGHTS = f"{RESULTS}/weights/{{model}}"
INFER_ENDPOINT = f"{RESULTS}/inference/{{endpoint}}"
SEARCH = f"{RESULTS}/inference/{{endpoint}}/{{cell}}"
INFER_ROUND = f"{RESULTS}/inference/{{endpoint}}/{{cell}}/r{{round}}"
HISTORY = f"{RESULTS}/history.jsonl"
CALIBRATION = f"{RESULTS}/calibration"
ARCHIVE = Path(RESULTS) / "archive"
LOGS = f"{RESULTS}/logs"


def found(path: str | Path) -> Path:
    """Return the path of a file that a config names: in the working directory, or else in the installation."""
    path = Path(path).expanduser()
    return path if path.exists() or not (INSTALLATION / path).exists() else INSTALLATION / path


def default_config() -> Path:
    """Return the installation's default config, by its short name where that is the working directory."""
    return DEFAULT_CONFIG if is_installation() else INSTALLATION / DEFAULT_CONFIG


def own_configs() -> list[Path]:
    """Return the config that lies in a working directory of its own (`accelbench init`), if it is one."""
    return [OWN_CONFIG] if OWN_CONFIG.exists() and not Path("Snakefile").exists() else []


def is_installation() -> bool:
    """Tell whether the working directory is the installation itself."""
    return Path.cwd().resolve() == INSTALLATION.resolve()


def snakemake() -> str:
    """Return the Snakemake command in this working directory, up to its cores or profile."""
    return f"snakemake -s {shlex.quote(str(INSTALLATION / 'Snakefile'))}" if own_configs() else "snakemake"


def profile(name: str) -> str:
    """Return how a profile of the installation is named in this working directory."""
    return shlex.quote(str(INSTALLATION / "profiles" / name)) if own_configs() else f"profiles/{name}"


def size(batch: int, micro: int | None = None, length: int | None = None) -> str:
    """Name a size of the sweep: bs256, or bs256-mb64-sl4096 where the micro batch and the sequence length are axes."""
    return f"bs{batch}" + (f"-mb{micro}" if micro else "") + (f"-sl{length}" if length else "")


def parse_size(name: str) -> tuple[int, int | None, int | None]:
    """Return batch size, micro batch and sequence length of a size's name. Raises ValueError for another text."""
    if not re.fullmatch(SIZE, name):
        raise ValueError(name)
    parts = {part[:2]: int(part[2:]) for part in name.split("-")}
    return parts["bs"], parts.get("mb"), parts.get("sl")


def train_run(platform: str, batch: int, repeat: int, micro: int | None = None, length: int | None = None) -> Path:
    """Return the folder of one training run."""
    return Path(TRAIN_RUN.format(platform=platform, size=size(batch, micro, length), repeat=repeat))


def compiled(platform: str, batch: int, micro: int | None = None) -> Path:
    """Return the file that says that a size was compiled beforehand."""
    return Path(COMPILED.format(platform=platform, size=size(batch, micro)))


def infer_round(endpoint: str, cell: str, round_no: int) -> Path:
    """Return the folder of one round of one cell against one endpoint."""
    return Path(INFER_ROUND.format(endpoint=endpoint, cell=cell, round=round_no))


def search_folder(endpoint: str, cell: str) -> Path:
    """Return the folder of the search for the highest load at one endpoint."""
    return Path(SEARCH.format(endpoint=endpoint, cell=cell))


def prompt_facts(prompt_set: str) -> Path:
    """Return the file that says what a prompt set holds."""
    return Path(PROMPTS.format(set=prompt_set) + ".json")


def corpus_folder(length: int | None = None) -> Path:
    """Return the folder of the training corpus, or of the one cut into samples of another length."""
    return Path(CORPUS) / f"sl{length}" if length else Path(CORPUS)


def corpus_facts() -> Path:
    """Return the file that says what the training corpus holds."""
    return Path(CORPUS) / "corpus.json"
