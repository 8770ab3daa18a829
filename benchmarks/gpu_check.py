"""What one GPU does with all this: does it train the same, how near to its own matrix product, at what power.

    python benchmarks/gpu_check.py [--device cuda|cpu] [--tiny] [--minutes 8] [--only PART …] [--out gpu.json]

For a machine with an NVIDIA GPU, torch and transformers, and no network; Snakemake is not needed. Parts, each on its
own (one that fails leaves its reason, and the others go on):

agreement   a small Llama, 20 steps: losses on the device against those on the CPU, in float32 and in bfloat16
card        its matrix product in bfloat16 and its memory's speed, measured now
recorder    what accelbench's own recorder reads of all cards in ten seconds, and what it costs
1.1b, 7b    a Llama of 1.1 G parameters, and one of Llama-2-7B's widths with as many layers as fit, at 4,096 tokens:
            the trainer and a bare loop of the same settings take turns; power and energy are the driver's (NVML)
sharded     where there are several GPUs: all of Llama-2-7B, divided over them as the trainer decides
server      a Llama of 1.1 G random parameters behind `transformers serve`, loaded by `accelbench load`
compiled    on a GPU only: the bare loop of 1.1b through torch.compile, to see what that would bring

One formula counts FLOPs (accelbench.analysis.training). `--tiny` shrinks all models: it shows that the script works and
measures nothing. The JSON goes to --out, a table in Markdown to stdout.
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

import yaml

from accelbench.analysis.training import flop_per_sample, multiplied_parameters
from accelbench.config import TorchPlatform
from accelbench.telemetry.recorder import TELEMETRY, read_telemetry, recording
from accelbench.telemetry.sources.source import Watched
from accelbench.telemetry.summary import telemetry_of
from accelbench.training.backends.torch import Torch
from accelbench.training.dataset import write_corpus
from accelbench.training.params.memory import USABLE, MemorySettings, memory_need
from accelbench.training.torch.run import read_llama
from accelbench.training.torch.settings import Settings

HERE = Path(__file__).parent
SMALL_LLAMA = HERE.parent / "config" / "models" / "llama_small.yaml"
DATA_SHEETS = {"H100 80GB": 989.4, "H100 SXM": 989.4, "H200": 989.4, "A100": 312.0, "B200": 2250.0}
"""Dense bfloat16 TFLOP/s by NVIDIA's data sheets; a card whose name holds none of these has no such figure."""
SAMPLE_EVERY_S = 0.1
RECORDED_S = 10.0
STEP = re.compile(r"^(\S+ \S+),(\d+) INFO: +\| Train Device=\w+, Step=(\d+), Loss=([^,]+),", re.MULTILINE)


class CheckFailed(Exception):
    """A part of the check that came to no figure, and why."""


@dataclass(frozen=True, slots=True)
class Training:
    """One model, and how it is trained."""

    name: str
    model: Mapping[str, int]
    batch_size: int
    micro_batch_size: int
    steps: int
    log_steps: int
    alternations: int


LLAMA_1_1B = {
    "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 22, "num_heads": 16, "rotary_dim": 128,
    "filter_size": 5632, "max_position_embeddings": 4096,
}  # fmt: skip
LLAMA_2_7B = {
    "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32, "num_heads": 32, "rotary_dim": 128,
    "filter_size": 11008, "max_position_embeddings": 4096,
}  # fmt: skip
TINY_LLAMA = {
    "vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_heads": 2, "rotary_dim": 32, "filter_size": 128,
    "max_position_embeddings": 64,
}  # fmt: skip
TRAININGS = {
    "1.1b": Training("Llama of 1.1 G", LLAMA_1_1B, 8, 4, steps=24, log_steps=4, alternations=1),
    "7b": Training("Llama-2-7B's widths", LLAMA_2_7B, 8, 1, steps=12, log_steps=3, alternations=1),
}


@dataclass(slots=True)
class Machine:
    """Where the check runs: its device, a folder for its files, and until when."""

    device: str
    tiny: bool
    folder: Path
    deadline_s: float
    power: "Power"
    found: dict[str, Any] = field(default_factory=dict)

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
        """Return what a command printed. Raises CheckFailed when it fails, or when the check's time is over."""
        left_s = self.deadline_s - time.monotonic()
        if left_s < 1:
            raise CheckFailed("the check's time was over")
        log = self.folder / "command.log"
        try:
            with log.open("wb") as errors:
                done = subprocess.run(
                    command, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=errors, timeout=left_s
                )
        except subprocess.TimeoutExpired:
            raise CheckFailed("the check's time was over before it ended") from None
        printed = done.stdout.decode(errors="replace")
        if done.returncode:
            said = (printed + log.read_text(errors="replace")).strip().splitlines()
            raise CheckFailed(f"{Path(command[1]).name} ended with {done.returncode}: {' | '.join(said[-3:])[-600:]}")
        return printed


def main() -> int:
    """Run the parts; return 0 when each came to a figure."""
    arguments = _parser().parse_args()
    device = arguments.device or _fastest_device()
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Power.watched(device) as power:
        machine = Machine(device, arguments.tiny, Path(folder), begun_s + 60 * arguments.minutes, power)
        for name in arguments.only or parts_for(device):
            print(f"{time.monotonic() - begun_s:5.0f} s  {name}", file=sys.stderr, flush=True)
            try:
                machine.found[name] = PARTS[name](machine)
            except (CheckFailed, OSError) as error:
                machine.found[name] = {"failed": str(error)}
                print(f"         failed: {error}", file=sys.stderr, flush=True)
            said = {**about(machine), **with_shares(machine.found), "check_s": round(time.monotonic() - begun_s, 1)}
            arguments.out.write_text(json.dumps(said, indent=2) + "\n")  # what is there stays, whatever comes next
    print(table(said))
    return any("failed" in part for part in machine.found.values())


def parts_for(device: str) -> list[str]:
    """Return the parts that a machine has the GPUs for."""
    left_out = {"compiled"} if device != "cuda" else set()
    return [name for name in PARTS if name not in left_out | ({"sharded"} if cards_of(device) < 2 else set())]


def about(machine: Machine) -> dict[str, Any]:
    """Return what the figures are valid for."""
    import torch
    import transformers

    return {
        "device": machine.device,
        "device_name": device_name(machine.device),
        "device_memory_gib": round(memory_bytes(machine.device) / 2**30, 1),
        "driver": machine.power.driver,
        "tiny": machine.tiny,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "date": f"{datetime.now():%Y-%m-%d}",
    }


# --- agreement --------------------------------------------------------------------------------------------------


def agreement(machine: Machine) -> dict[str, Any]:
    """Train a small Llama for 20 steps on the CPU and on the device; return by how much the losses differ at most."""
    training = Training("small Llama", {}, batch_size=8, micro_batch_size=8, steps=20, log_steps=1, alternations=1)
    training = sized(machine, training)
    figures: dict[str, Any] = {"steps": training.steps}
    for dtype in ("float32", "bfloat16"):
        params = write_params(machine.folder / dtype, training, dtype)
        at_cpu = losses(trainer_log(machine, params, dtype, "cpu"))
        here = at_cpu if machine.device == "cpu" else losses(trainer_log(machine, params, dtype, machine.device))
        differences = [abs(a - b) for a, b in zip(at_cpu, here, strict=True)]
        figures[dtype] = {
            "largest_difference": max(differences),
            "largest_relative_difference": max(d / a for d, a in zip(differences, at_cpu, strict=True)),
            "first_loss": at_cpu[0],
            "last_loss_cpu": at_cpu[-1],
            "last_loss_device": here[-1],
        }
    return figures


def losses(log: str) -> list[float]:
    """Return the losses of a log's progress lines."""
    return [float(found[4]) for found in STEP.finditer(log)]


# --- card -------------------------------------------------------------------------------------------------------


def card(machine: Machine) -> dict[str, Any]:
    """Measure the device's own speed: the largest rate that any training on it could reach."""
    size, copied_bytes = (512, 2**24) if machine.tiny else (8192, 2**33)
    script = [sys.executable, __file__, "--measure-card", machine.device, str(size), str(copied_bytes)]
    measured = json.loads(machine.run(script))
    sheet = next((peak for name, peak in DATA_SHEETS.items() if name in device_name(machine.device)), None)
    return {**measured, "data_sheet_tflop_per_s": sheet}


def measure_card(device_kind: str, size: int, copied_bytes: int) -> None:
    """Print the median rates of 20 matrix products of random numbers and of 20 copies within the device's memory."""
    import torch

    device = torch.device(device_kind)
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randint(0, 127, (copied_bytes,), device=device, dtype=torch.int8)
    target = torch.empty_like(source)
    product_s = _median_s(lambda: torch.mm(left, right), device)
    copy_s = _median_s(lambda: target.copy_(source), device)
    figures = {
        "matrix_size": size,
        "bf16_matrix_tflop_per_s": 2 * size**3 / product_s / 1e12,
        "copy_gb_per_s": 2 * copied_bytes / copy_s / 1e9,  # read and written
    }
    print(json.dumps(figures))


def _median_s(work: Callable[[], Any], device: Any) -> float:
    from accelbench.training.torch.loop import synchronise

    taken_s = []
    for turn in range(25):
        synchronise(device)
        started_s = time.perf_counter()
        work()
        synchronise(device)
        if turn >= 5:
            taken_s.append(time.perf_counter() - started_s)
    return median(taken_s)


# --- training ---------------------------------------------------------------------------------------------------


def train_1_1b(machine: Machine) -> dict[str, Any]:
    """Train the Llama of 1.1 G parameters."""
    return trained(machine, sized(machine, TRAININGS["1.1b"]))


def train_7b(machine: Machine) -> dict[str, Any]:
    """Train at Llama-2-7B's widths with as many layers as fit, and one less each time that memory runs out."""
    training = sized(machine, TRAININGS["7b"])
    layers = min(training.model["num_hidden_layers"], layers_that_fit(training, memory_bytes(machine.device)))
    while True:
        try:
            return trained(machine, replace(training, model={**training.model, "num_hidden_layers": layers}))
        except CheckFailed as error:
            if "ut of memory" not in str(error) or layers <= 1:
                raise
            layers -= 1


def sized(machine: Machine, training: Training) -> Training:
    """Return a training as it is, or shrunk to show that the script works."""
    if not machine.tiny:
        return training
    small = replace(training, model=TINY_LLAMA, steps=6, log_steps=2, batch_size=4, micro_batch_size=2)
    return replace(small, alternations=1)


def layers_that_fit(training: Training, memory: int) -> int:
    """Return how many decoder layers a device's memory holds while they are trained, by accelbench's own estimate."""
    base = yaml.safe_load(SMALL_LLAMA.read_text())["trainer"]["init"]["model"] | training.model
    settings = MemorySettings(1, training.batch_size, training.micro_batch_size, "bfloat16")

    def fits(layers: int) -> bool:
        model = read_llama(Settings(SMALL_LLAMA, (), base | {"num_hidden_layers": layers}))
        return memory_need(model, settings).peak <= USABLE * memory

    return max(filter(fits, range(1, training.model["num_hidden_layers"] + 1)), default=1)


def train_sharded(machine: Machine) -> dict[str, Any]:
    """Train all of Llama-2-7B on all GPUs, divided as the trainer decides (on a CPU: in two processes)."""
    training, cards = sized(machine, TRAININGS["7b"]), cards_of(machine.device)
    params = write_params(machine.folder / "training", training, "bfloat16")
    log = trainer_log(
        machine,
        params,
        "bfloat16",
        machine.device,
        processes=cards,
        sharding="full" if machine.tiny else "auto",
        activation_checkpointing="auto",
    )
    rate, _, _ = steady(log, training.batch_size)
    facts = json.loads((params.parent / "model_dir" / "trainer.json").read_text())
    model = yaml.safe_load(params.read_text())["trainer"]["init"]["model"]
    length = model["max_position_embeddings"]
    told = ("processes", "sharding", "activation_checkpointing", "memory_need_bytes", "memory_peak_bytes")
    return {
        "samples_per_s": rate,
        "tokens_per_s": rate * length,
        "model_tflop_per_s_of_a_card": rate * (flop_per_sample(model, length) or 0.0) / 1e12 / cards,
        **{name: facts.get(name) for name in told},
    }


def trained(machine: Machine, training: Training) -> dict[str, Any]:
    """Let trainer and bare loop take turns at one model; return their rates, the device's use and its power."""
    params = write_params(machine.folder / "training", training, "bfloat16")
    model = yaml.safe_load(params.read_text())["trainer"]["init"]["model"]
    length = model["max_position_embeddings"]
    trainer, bare, watts, joules, peaks, why = [], [], [], [], [], None
    for turn in range(training.alternations):
        for side in ("trainer", "bare loop") if turn % 2 == 0 else ("bare loop", "trainer"):
            if side == "bare loop":
                try:
                    bare.append(bare_rate(machine, params))
                except CheckFailed as error:
                    why = str(error)
                continue
            log = trainer_log(machine, params, "bfloat16", machine.device)
            rate, begun_s, ended_s = steady(log, training.batch_size)
            trainer.append(rate)
            used = machine.power.between(begun_s, ended_s)
            peaks.append(machine.power.memory_bytes(begun_s, ended_s))
            watts += [used.watts] if used.watts is not None else []
            joules += [used.joules / ((ended_s - begun_s) * rate * length)] if used.joules is not None else []
    flop = flop_per_sample(model, length) or 0.0
    return {
        "name": training.name,
        "layers": model["num_hidden_layers"],
        "multiplied_parameters": multiplied_parameters(model),
        "tokens_per_sample": length,
        "batch_size": training.batch_size,
        "micro_batch_size": training.micro_batch_size,
        "steps": [training.log_steps, training.steps],
        "trainer_samples_per_s": trainer,
        "bare_loop_samples_per_s": bare,
        "bare_loop_failed": why,
        "trainer_to_bare_loop": None if why else median(a / b for a, b in zip(trainer, bare, strict=True)),
        "tokens_per_s": median(trainer) * length,
        "tflop_per_sample": flop / 1e12,
        "model_tflop_per_s": median(trainer) * flop / 1e12,
        "power_w": mean(watts) if watts else None,
        "joules_per_token": mean(joules) if joules else None,
        "memory_gib": max(peaks) / 2**30 if all(peak is not None for peak in peaks) else None,
        "power_source": machine.power.source,
    }


def with_shares(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts, each training with its share of the card's speeds (MFU); null where these are not known."""
    speeds = found.get("card", {})
    shares = {"mfu_of_measured_product": "bf16_matrix_tflop_per_s", "mfu_of_data_sheet": "data_sheet_tflop_per_s"}

    def shared(part: dict[str, Any]) -> dict[str, Any]:
        rate = part.get("model_tflop_per_s")
        return part if rate is None else part | {name: _share(rate, speeds.get(key)) for name, key in shares.items()}

    return {name: shared(part) for name, part in found.items()}


def compiled(machine: Machine) -> dict[str, Any]:
    """Run the bare loop of the Llama of 1.1 G parameters through torch.compile, once."""
    params = write_params(machine.folder / "training", sized(machine, TRAININGS["1.1b"]), "bfloat16")
    rate = bare_rate(machine, params, "--compile")
    plain = machine.found.get("1.1b", {}).get("bare_loop_samples_per_s")
    return {"bare_loop_samples_per_s": rate, "to_bare_loop": rate / median(plain) if plain else None}


def write_params(folder: Path, training: Training, dtype: str) -> Path:
    """Write the data and the params file of a training; return the latter's path."""
    params = yaml.safe_load(SMALL_LLAMA.read_text())
    init, loader = params["trainer"]["init"], params["trainer"]["fit"]["train_dataloader"]
    init["model"] |= training.model
    init["precision"] |= {"enabled": dtype == "bfloat16", "fp16_type": "bfloat16"}
    init["loop"] = {"max_steps": training.steps, "eval_frequency": None}
    init["logging"]["log_steps"] = training.log_steps
    init["callbacks"] = [{"ScopedTrainFlags": {"csx.performance.micro_batch_size": training.micro_batch_size}}]
    loader |= {"batch_size": training.batch_size, "data_dir": str(folder / "corpus" / "train"), "drop_last": True}
    model = init["model"]
    shutil.rmtree(folder, ignore_errors=True)
    write_corpus(folder / "corpus", sequence_length=model["max_position_embeddings"], vocab_size=model["vocab_size"])
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return path


def trainer_log(machine: Machine, params: Path, dtype: str, device: str, **more: Any) -> str:
    """Train once as the workflow does; return the log."""
    model_dir = params.parent / "model_dir"
    shutil.rmtree(model_dir, ignore_errors=True)
    wanted = TorchPlatform(backend="torch", device=device, dtype=dtype, **more)  # type: ignore[arg-type]
    started = Torch("checked", wanted).launch(params, model_dir)
    return machine.run(started.command, started.env)


def bare_rate(machine: Machine, params: Path, *options: str) -> float:
    """Run the bare loop once; return its rate in samples/s."""
    command = [sys.executable, str(HERE / "bare_loop.py"), str(params), machine.device, *options]
    wanted = TorchPlatform(backend="torch", device=machine.device)  # type: ignore[arg-type]
    return float(machine.run(command, Torch("checked", wanted).launch(params, params.parent).env).split()[-1])


def steady(log: str, batch_size: int) -> tuple[float, float, float]:
    """Return samples/s between a log's first and last progress line, and when (Unix time) these were printed."""
    lines = list(STEP.finditer(log))
    if len(lines) < 2:
        raise CheckFailed(f"the trainer's log has {len(lines)} progress lines")
    first, last = (datetime.fromisoformat(f"{line[1]}.{line[2]}").timestamp() for line in (lines[0], lines[-1]))
    return (int(lines[-1][3]) - int(lines[0][3])) * batch_size / (last - first), first, last


# --- recorder ---------------------------------------------------------------------------------------------------


def recorder(machine: Machine) -> dict[str, Any]:
    """Record beside a load of the card; return what was read of each card, its energy, and the recorder's own share."""
    begun_s = time.time()
    with recording(machine.folder, Watched()):
        if machine.device == "cuda":
            card(machine)
        time.sleep(1.0 if machine.tiny else max(0.0, begun_s + RECORDED_S - time.time()))
    sessions, found = read_telemetry(machine.folder / TELEMETRY), telemetry_of(machine.folder)
    if not sessions or found is None:
        raise CheckFailed("the recorder wrote nothing")
    readings = [reading for reading in sessions[-1].readings.get("gpu", []) if reading.shown]
    return {
        "facts": sessions[-1].facts["gpu"],
        "last_reading": readings[-1].shown if readings else {},
        "readings": len(readings),
        "energy": found.surroundings["energy"],
        "gpu_peak_bytes": found.surroundings["gpu_peak_bytes"],
        "recorder_share": found.surroundings["recorder_share"],
    }


# --- server -----------------------------------------------------------------------------------------------------


def server(machine: Machine) -> dict[str, Any]:
    """Serve a Llama of random weights by `transformers serve`; return what `accelbench load` measures of it."""
    model = TINY_LLAMA if machine.tiny else LLAMA_1_1B
    weights = machine.folder / "random-llama"
    machine.run([sys.executable, __file__, "--write-weights", str(weights), machine.device, json.dumps(dict(model))])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(weights), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", machine.device, "--dtype", "bfloat16", "--continuous-batching"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    figures: dict[str, Any] = {"model": model, "loads": {}}
    with (machine.folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            for slots, requests, tokens in [(1, 2, 8)] if machine.tiny else [(1, 5, 64), (32, 96, 64)]:
                figures["loads"][str(slots)] = loaded(machine, port, weights, slots, requests, tokens)
        except CheckFailed as error:
            said = (machine.folder / "server.log").read_text(errors="replace").strip().splitlines()
            raise CheckFailed(f"{error}; the server said: {' | '.join(said[-4:])[-800:]}") from None
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
    return figures


def loaded(machine: Machine, port: int, weights: Path, slots: int, requests: int, tokens: int) -> dict[str, Any]:
    """Put the server under one load; return the figures of `accelbench load`."""
    command = [sys.executable, "-m", "accelbench", "load", "--base-url", f"http://127.0.0.1:{port}/v1"]
    command += ["--model", str(weights), "--out", str(machine.folder / f"load-c{slots}"), "--json", "--wait-s", "120"]
    command += ["--concurrency", str(slots), "--requests", str(requests), "--max-tokens", str(tokens)]
    figures = json.loads(machine.run(command))
    wanted = ("attempts_by_class", "output_tok_per_s", "requests_per_s", "ttft_s", "tpot_s", "e2e_s")
    return {name: figures[name] for name in wanted}


def write_weights(folder: Path, device: str, model: Mapping[str, int]) -> None:
    """Write a Llama of random weights and a tokenizer whose every token is one printable word."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(1)
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{n}": n for n in range(3, model["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    fast.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=model["vocab_size"], hidden_size=model["hidden_size"], intermediate_size=model["filter_size"],
        num_hidden_layers=model["num_hidden_layers"], num_attention_heads=model["num_heads"],
        num_key_value_heads=model["num_heads"], max_position_embeddings=4096, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with torch.device(device):
        transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


# --- power ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Used:
    """What a device took in a span; null where nothing could be read."""

    watts: float | None = None
    joules: float | None = None


class Power:
    """NVML's readings of the first GPU, ten times a second: power, cumulative energy, memory in use.

    On some cards both readings come from one sensor, so that their agreement is no independent check.
    """

    def __init__(self, why: str | None) -> None:
        """Begin without a reading; `why` says why there will be none."""
        self.driver: str | None = None
        self.why = why
        self.at_s: list[float] = []
        self.samples: list[tuple[float, float, int]] = []

    @property
    def source(self) -> str:
        """Where the readings come from, or why there are none."""
        return self.why or "NVML: power mean of 10 readings a second, energy by its counter"

    @classmethod
    @contextmanager
    def watched(cls, device: str) -> Iterator["Power"]:
        """Read inside the block."""
        if device != "cuda":
            yield cls(f"no power is read of a {device}")
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            power = cls(None)
            power.driver = str(pynvml.nvmlSystemGetDriverVersion())
            power._read(pynvml, handle)
        except Exception as error:  # NVML's own errors have no common base that is there without it
            yield cls(f"NVML can't be read: {type(error).__name__}: {error}")
            return
        over = threading.Event()

        def read_on() -> None:
            while not over.wait(SAMPLE_EVERY_S):
                power._read(pynvml, handle)

        thread = threading.Thread(target=read_on, daemon=True)
        thread.start()
        yield power
        over.set()
        thread.join()

    def between(self, begun_s: float, ended_s: float) -> Used:
        """Return the mean power and the energy of a span (Unix time)."""
        low, high = bisect_left(self.at_s, begun_s), bisect_right(self.at_s, ended_s)
        if high - low < 3:
            return Used()
        spans_s = self.at_s[high - 1] - self.at_s[low]
        counted_j = (self.samples[high - 1][1] - self.samples[low][1]) / 1000
        watts = mean(watts for watts, _, _ in self.samples[low:high])
        return Used(watts, counted_j * (ended_s - begun_s) / spans_s)

    def memory_bytes(self, begun_s: float, ended_s: float) -> int | None:
        """Return the most memory in use on the card within a span."""
        low, high = bisect_left(self.at_s, begun_s), bisect_right(self.at_s, ended_s)
        return max((used for _, _, used in self.samples[low:high]), default=None)

    def _read(self, nvml: Any, handle: Any) -> None:
        watts = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        counter_mj = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        self.samples.append((watts, counter_mj, nvml.nvmlDeviceGetMemoryInfo(handle).used))
        self.at_s.append(time.time())


# --- the table --------------------------------------------------------------------------------------------------


def table(found: Mapping[str, Any]) -> str:
    """Return the figures for people, in Markdown."""
    lines = [
        f"{found['date']}, {found['device_name']} ({found['device_memory_gib']} GiB), driver {found['driver']}, "
        f"torch {found['torch']}, transformers {found['transformers']}, Python {found['python']}",
        "" if not found["tiny"] else "\n--tiny: these figures show that the script works, and nothing else.\n",
        *(f"{name}: failed: {part['failed']}" for name, part in _parts(found) if "failed" in part),
        *_agreement_lines(found.get("agreement", {})),
        *_card_lines(found.get("card", {})),
        *_recorder_lines(found.get("recorder", {})),
        "",
        *_sharded_lines(found.get("sharded", {})),
        *_training_lines([part for name, part in _parts(found) if name in TRAININGS and "failed" not in part]),
        "",
        *_compiled_lines(found.get("compiled", {})),
        *_server_lines(found.get("server", {})),
    ]
    return "\n".join(lines)


def _parts(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, found[name]) for name in PARTS if name in found]


def _agreement_lines(part: Mapping[str, Any]) -> Iterator[str]:
    for dtype in ("float32", "bfloat16"):
        if dtype in part:
            yield (
                f"Losses on device and CPU over {part['steps']} steps, {dtype}: at most "
                f"{part[dtype]['largest_difference']:.1e} apart ({part[dtype]['largest_relative_difference']:.2%})."
            )


def _card_lines(part: Mapping[str, Any]) -> Iterator[str]:
    if "bf16_matrix_tflop_per_s" in part:
        sheet = part["data_sheet_tflop_per_s"]
        beside = f" (data sheet: {sheet:g})" if sheet else ""
        yield (
            f"bfloat16 matrix product, {part['matrix_size']}³: {part['bf16_matrix_tflop_per_s']:.4g} TFLOP/s{beside}; "
            f"copy in memory: {part['copy_gb_per_s']:.4g} GB/s, read and written."
        )


def _recorder_lines(part: Mapping[str, Any]) -> Iterator[str]:
    if "facts" not in part:
        return
    yield f"The recorder: {part['readings']} readings of GPUs, {_text(part['recorder_share'], '.2%')} of a core."
    if why := part["facts"]["why"]:
        yield f"No figures of a GPU: {why}."
    for energy in part["energy"]:
        idle_w = ", ".join(_text(energy[f"idle_{when}_w"], ".0f", " W") for when in ("before", "after"))
        joules = _text(energy["joules"], ".0f", " J")
        yield f"{energy['scope']}, {energy['read']}: {joules} in {energy['wall_s']:.1f} s; before and after: {idle_w}."
    for figure, value in part["last_reading"].items():
        yield f"- {figure}: {_text(value, 'g')}"


def _training_lines(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not parts:
        return
    yield (
        "| model | batch (micro) | tokens/s | model TFLOP/s | of the measured product | of the data sheet "
        "| trainer / bare loop | power | J/token | memory |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for part in parts:
        cells = (
            f"{part['name']}, {part['layers']} layers ({part['multiplied_parameters'] / 1e9:.3g} G multiplied)",
            f"{part['batch_size']} ({part['micro_batch_size']})",
            f"{part['tokens_per_s']:,.0f}",
            f"{part['model_tflop_per_s']:.4g}",
            _text(part["mfu_of_measured_product"], ".1%"),
            _text(part["mfu_of_data_sheet"], ".1%"),
            _text(part["trainer_to_bare_loop"], ".3f", f" (n = {len(part['trainer_samples_per_s'])})"),
            _text(part["power_w"], ".0f", " W"),
            _text(part["joules_per_token"], ".3g"),
            _text(part["memory_gib"], ".1f", " GiB"),
        )
        yield f"| {' | '.join(cells)} |"


def _sharded_lines(part: Mapping[str, Any]) -> Iterator[str]:
    if "samples_per_s" in part:
        yield (
            f"Llama-2-7B in {part['processes']} processes (sharding {part['sharding']}, activation checkpointing "
            f"{part['activation_checkpointing']}): {part['tokens_per_s']:,.0f} tokens/s, "
            f"{part['model_tflop_per_s_of_a_card']:.4g} model TFLOP/s per card, memory "
            f"{_gib(part['memory_need_bytes'])} GiB estimated, {_gib(part['memory_peak_bytes'])} GiB at most."
        )
        yield ""


def _gib(n_bytes: int | None) -> str:
    return _text(n_bytes and n_bytes / 2**30, ".3g")


def _compiled_lines(part: Mapping[str, Any]) -> Iterator[str]:
    if part.get("to_bare_loop"):
        yield f"The bare loop of the first through torch.compile: {part['to_bare_loop']:.2f} times as fast (n = 1)."
        yield ""


def _server_lines(part: Mapping[str, Any]) -> Iterator[str]:
    if not part.get("loads"):
        return
    yield "| requests at a time | requests | output tok/s | TTFT p50 | TPOT p50 |"
    yield "|---|---|---|---|---|"
    for slots, load in part["loads"].items():
        requests = ", ".join(f"{count} {kind}" for kind, count in load["attempts_by_class"].items())
        seconds = [_text(load[name] and load[name]["p50"], ".4f", " s") for name in ("ttft_s", "tpot_s")]
        yield f"| {slots} | {requests} | {_text(load['output_tok_per_s'], '.4g')} | {' | '.join(seconds)} |"


def _text(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def _share(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None


# --- the machine ------------------------------------------------------------------------------------------------


def device_name(device: str) -> str:
    """Return the name its maker gave a device."""
    from accelbench.training.torch.loop import device_name as name_of_device

    return name_of_device(device)


def memory_bytes(device: str) -> int:
    """Return the device's memory."""
    import psutil
    import torch

    return int(torch.cuda.mem_get_info()[1] if device == "cuda" else psutil.virtual_memory().total)


def cards_of(device: str) -> int:
    """Return how many processes train a divided model: one per GPU, or two on a CPU."""
    from accelbench.training.torch.ranks import devices_here

    return 2 if device == "cpu" else devices_here(device)


def _fastest_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


PARTS: dict[str, Callable[[Machine], dict[str, Any]]] = {
    "agreement": agreement,
    "card": card,
    "recorder": recorder,
    "1.1b": train_1_1b,
    "7b": train_7b,
    "sharded": train_sharded,
    "server": server,
    "compiled": compiled,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), help="a GPU where PyTorch has one, if not said")
    parser.add_argument("--tiny", action="store_true", help="small models: shows that it works, measures nothing")
    parser.add_argument("--minutes", type=float, default=8.0, help="what is not done by then is left out, and said")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="only these parts")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="where the JSON goes")
    return parser


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure-card"]:
        measure_card(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:2] == ["--write-weights"]:
        write_weights(Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
    else:
        sys.exit(main())
