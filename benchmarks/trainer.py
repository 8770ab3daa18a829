"""What the torch trainer costs: its samples/s against those of a bare loop of the same model.

    python benchmarks/trainer.py [--device cpu|cuda] [--alternations N] [--threads N] [--quick]

The trainer is started as the workflow starts it, and its rate is the steady rate of its log. The bare loop is
benchmarks/bare_loop.py. Each run is a process of its own; the two sides take turns, and who is first changes every
time, so that a machine that grows slower favours neither. The goal is a ratio of 0.97 or more.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import yaml

from accelbench.analysis.intervals import Observations, describe, geometric_mean
from accelbench.analysis.training import flop_per_sample, multiplied_parameters
from accelbench.config import TorchPlatform
from accelbench.plan.measurement import host
from accelbench.training.backends.torch import Torch
from accelbench.training.dataset import write_corpus
from accelbench.training.log.reader import read_log

HERE = Path(__file__).parent
SMALL_LLAMA = HERE.parent / "config" / "models" / "llama_small.yaml"
GOAL = 0.97


@dataclass(frozen=True, slots=True)
class Size:
    """What is trained, and how long."""

    model: dict[str, int]
    batch_size: int
    steps: int
    log_steps: int
    alternations: int


SIZES = {
    "cpu": Size({}, batch_size=8, steps=110, log_steps=10, alternations=7),
    "cuda": Size(  # 1.0 G parameters
        {"vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 16, "num_heads": 16, "rotary_dim": 128,
         "filter_size": 5632, "max_position_embeddings": 2048},
        batch_size=8, steps=60, log_steps=10, alternations=5,
    ),
}  # fmt: skip
QUICK: dict[str, Any] = {"batch_size": 2, "steps": 12, "log_steps": 4, "alternations": 1}


def main() -> int:
    """Measure and print; return the exit status."""
    arguments = _parser().parse_args()
    device = arguments.device or fastest_device()
    size = replace(SIZES[device], **(QUICK if arguments.quick else {}))
    size = replace(size, alternations=arguments.alternations or size.alternations)
    platform = TorchPlatform(
        backend="torch",
        device=device,
        dtype="bfloat16" if device == "cuda" else "float32",
        threads=arguments.threads,
    )
    with tempfile.TemporaryDirectory() as folder:
        params = write_params(Path(folder), size, platform)
        rates: dict[str, list[float]] = {"trainer": [], "bare loop": []}
        sides = {"trainer": trainer_rate, "bare loop": bare_rate}
        for alternation in range(size.alternations):
            for side in list(sides) if alternation % 2 == 0 else reversed(sides):
                rates[side].append(sides[side](platform, params))
            print(f"{alternation + 1} of {size.alternations}", end="\r", file=sys.stderr, flush=True)
        facts = Torch("timed", platform).facts(params.parent / "model_dir")
        print(report(size, platform, yaml.safe_load(params.read_text()), facts, rates))
    return 0


def fastest_device() -> Literal["cpu", "cuda"]:
    """Return what PyTorch can train on here."""
    import torch  # only here: it takes seconds, and the processes that train import it themselves

    return "cuda" if torch.cuda.is_available() else "cpu"


def write_params(folder: Path, size: Size, platform: TorchPlatform) -> Path:
    """Write the data and the params file of a run; return the latter's path."""
    params = yaml.safe_load(SMALL_LLAMA.read_text())
    init, loader = params["trainer"]["init"], params["trainer"]["fit"]["train_dataloader"]
    init["model"] |= size.model
    init["precision"] |= {"enabled": platform.dtype == "bfloat16", "fp16_type": "bfloat16"}
    init["loop"] = {"max_steps": size.steps, "eval_frequency": None}
    init["logging"]["log_steps"] = size.log_steps
    loader |= {"batch_size": size.batch_size, "data_dir": str(folder / "corpus" / "train")}
    model = init["model"]
    write_corpus(folder / "corpus", sequence_length=model["max_position_embeddings"], vocab_size=model["vocab_size"])
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return path


def trainer_rate(platform: TorchPlatform, params: Path) -> float:
    """Train once as the workflow does; return the log's steady rate in samples/s."""
    started = Torch("timed", platform).launch(params, params.parent / "model_dir")
    log = params.parent / "run.log"
    log.write_text(_output(started.command, platform))
    rate = read_log(log).steady_rate_samples_per_s
    assert rate is not None
    return rate


def bare_rate(platform: TorchPlatform, params: Path) -> float:
    """Run the bare loop once; return its rate in samples/s."""
    return float(_output([sys.executable, str(HERE / "bare_loop.py"), str(params), platform.device], platform))


def report(
    size: Size, platform: TorchPlatform, params: dict[str, Any], trainer: dict[str, Any], rates: dict[str, list[float]]
) -> str:
    """Return the table, with all that the figures are valid for."""
    model, machine = params["trainer"]["init"]["model"], host()
    length = model["max_position_embeddings"]
    tflop = (flop_per_sample(model, length) or 0) / 1e12
    versions = ", ".join(f"{name} {version}" for name, version in trainer["versions"].items())
    pairs = [ours / theirs for ours, theirs in zip(rates["trainer"], rates["bare loop"], strict=True)]
    ratio = geometric_mean(Observations(np.array(pairs), range(len(pairs)), range(len(pairs))))
    assert ratio is not None
    interval = "" if ratio.low is None else f"95 % interval {ratio.low:.3f} to {ratio.high:.3f}; "
    return "\n".join(
        (
            f"Llama of {(multiplied_parameters(model) or 0) / 1e6:.1f} M multiplied parameters, {platform.dtype}: "
            f"batches of {size.batch_size} × {length} tokens, steps {size.log_steps} to {size.steps}",
            f"{trainer['device_name']}: {trainer['threads']} threads of {machine['cores']} cores, "
            f"load {machine['load_1min']} at the end; {machine['system']}",
            versions,
            "",
            f"{'samples/s':<12}{'median':>10}{'min':>10}{'max':>10}{'TFLOP/s':>10}",
            *(_row(side, each, tflop) for side, each in rates.items()),
            "",
            f"trainer / bare loop: {ratio.value:.3f} ({interval}median {median(pairs):.3f}, "
            f"{min(pairs):.3f} to {max(pairs):.3f} seen; n = {len(pairs)} pairs); goal: {GOAL}",
        )
    )


def _row(side: str, rates: list[float], tflop_per_sample: float) -> str:
    seen = describe(rates)
    assert seen is not None
    figures = "".join(f"{rate:>10.4g}" for rate in (seen.median, seen.min, seen.max, seen.median * tflop_per_sample))
    return f"{side:<12}{figures}"


def _output(command: list[str], platform: TorchPlatform) -> str:
    environment = os.environ | dict(Torch("timed", platform).launch(Path(), Path()).env)
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=SIZES, help="a GPU where PyTorch has one, if not said")
    parser.add_argument("--alternations", type=int, help="runs of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of either side")
    parser.add_argument("--quick", action="store_true", help="a few steps, once: shows that it works, measures nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
