"""The configuration: every key, its default, unit and meaning.

These models are the one source of config/schema.json, of the config reference and of the specs.
A field is *measured* (it changes what is measured, and stands in the spec) unless it is declared
`descriptive` (labels, sources of secrets, commands: changing one measures nothing again).

A default of a measured field is never changed once released: specs leave defaults out, so a new default
would silently give old measurements a new meaning. New behaviour gets a new key (tests/test_specs.py
holds the released defaults).
"""

import math
import re
import string
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

SQUAD_REVISION = "7b6d24c440a36b6815f21b70d25016731768db1f"
CREDENTIAL = re.compile(r"auth|token|key|secret|cookie|password|credential", re.IGNORECASE)
CREDENTIAL_VALUE = re.compile(r"(bearer|basic) \S", re.IGNORECASE)
# one side of a wafer job's label; source: cerebras-appliance 2.6.0, cluster_config.py
LABEL_SIDE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
LABEL_RULE = "each side of a label must be 1 to 63 letters, digits, - _ . with a letter or digit at both ends"


def descriptive(default: Any, description: str, **constraints: Any) -> Any:
    """Declare a field that says something about a measurement without changing what is measured."""
    extra: JsonDict = {"measured": False}
    if callable(default):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **constraints)
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def problem(key: str, text: str) -> PydanticCustomError:
    """Build the error for one key of the model being validated; `text` follows the key in the message."""
    return PydanticCustomError("accelbench", "{text}", {"key": key, "text": text})


def _undefined(key: str, name: str, home: str, defined: Iterable[str]) -> PydanticCustomError:
    return problem(key, f"names {name}, which {home} does not define; it has {', '.join(defined) or 'none'}")


def _unique(values: list[Any]) -> list[Any]:
    doubles = sorted({str(value) for value in values if values.count(value) > 1})
    if doubles:
        raise PydanticCustomError("accelbench", "{text}", {"text": f"must name each entry once: {', '.join(doubles)}"})
    return values


def _http_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", url):
        raise PydanticCustomError(
            "accelbench", "{text}", {"text": "must be http(s)://host[:port]/path, without user, query or #"}
        )
    return url.rstrip("/")


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not (LABEL_SIDE.fullmatch(key) and LABEL_SIDE.fullmatch(value)):
            raise PydanticCustomError("accelbench", "{text}", {"text": f"has {key}={value}; {LABEL_RULE}"})
    return labels


def _log_pattern(pattern: str) -> str:
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        parts = []
    fields = {field for _, field, _, _ in parts if field is not None}
    plain = all(not spec and not conversion for _, _, spec, conversion in parts)
    if not plain or "batch" not in fields or not fields <= {"batch", "repeat"}:
        raise PydanticCustomError(
            "accelbench", "{text}", {"text": "must be a path with {batch} and, if wanted, {repeat} in it"}
        )
    return pattern


def _float(value: Any) -> Any:
    return float(value) if type(value) is int else value


Name = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$", description="Stands in paths: [a-z0-9._-]."),
]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
PositiveInt = Annotated[int, Field(ge=1)]
Names = Annotated[list[Name], AfterValidator(_unique)]
Sizes = Annotated[list[PositiveInt], Field(min_length=1), AfterValidator(_unique)]
Real = Annotated[float, BeforeValidator(_float)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]


class Model(BaseModel):
    """Base of all config models: unknown keys are errors, types are taken as written, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# --- training -------------------------------------------------------------------------------------------


class PeakTflops(Model):
    """The peak that MFU is against. Utilisations of peaks of different kinds are never ranked."""

    value: Real = descriptive(..., "TFLOP/s of all the devices of one run together.", gt=0)
    kind: Literal["dense", "sparse", "unstated"] = descriptive(
        "unstated", "Whether the vendor's figure counts dense or sparse operations, or does not say."
    )
    source: str = descriptive(..., "Where the figure comes from.", min_length=1)


class TorchPlatform(Model):
    """This machine, or a GPU node: the params file is trained by transformers' LlamaForCausalLM."""

    backend: Literal["torch"] = Field(description="torch: this project's own trainer.")
    label: str | None = descriptive(None, "Shown in tables and plots instead of the platform's name.")
    device: Literal["cpu", "cuda", "mps"] = Field("cpu", description="Where the model trains.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast; parameters and optimizer stay float32."
    )
    threads: PositiveInt | None = Field(None, description="CPU threads of the trainer; all cores if left out.")
    own_node: bool = descriptive(
        False, "The job has a node of its own (a cluster's GPU node) and may run beside other measurements."
    )
    peak_tflops: PeakTflops | None = descriptive(None, "Its peak, for MFU; left out: no MFU.")


class CerebrasPlatform(Model):
    """A Cerebras CS-3 through ModelZoo's `cszoo fit`, Release 2.6.0."""

    backend: Literal["cerebras"] = Field(description="cerebras: ModelZoo's own trainer, on the wafer.")
    label: str | None = descriptive(None, "Shown in tables and plots instead of the platform's name.")
    peak_tflops: PeakTflops | None = descriptive(None, "Its peak, for MFU; left out: no MFU.")
    release: str = Field("2.6.0", description="The Cerebras release that is installed.")
    num_csx: PositiveInt = Field(1, description="CS-3 systems per job.")
    command: list[str] = descriptive(
        lambda: ["cszoo"], "How cszoo is called, e.g. [~/R_2.6.0/venv_cerebras_pt/bin/cszoo].", min_length=1
    )
    job_time_sec: PositiveInt | None = descriptive(
        None, "The wafer job is stopped after so many seconds of running (queueing left out)."
    )
    job_labels: Labels = descriptive(dict, "Labels of the wafer job, shown by `csctl get jobs`.")
    mount_dirs: list[str] = descriptive(list, "Folders that the worker pods must see.")
    python_paths: list[str] = descriptive(list, "Folders put on the worker pods' PYTHONPATH.")
    csctl: list[str] = descriptive(
        lambda: ["csctl"], "How csctl is called; it cancels the wafer jobs of a cszoo that was killed.", min_length=1
    )
    prewarm: bool = descriptive(
        False, "Compile each batch size in a job of its own first (cszoo --compile_only), which holds no wafer."
    )


class LogPlatform(Model):
    """Runs that are over: their progress logs, read as if they had been measured here."""

    backend: Literal["log"] = Field(description="log: reads logs that are there already; runs nothing.")
    label: str | None = descriptive(None, "Shown in tables and plots instead of the platform's name.")
    peak_tflops: PeakTflops | None = descriptive(None, "Its peak, for MFU; left out: no MFU.")
    logs: Annotated[str, AfterValidator(_log_pattern)] = Field(
        description="One log per run, such as logs/mytest_{batch}.log; {repeat} for several runs of a size."
    )

    def log(self, batch_size: int, repeat: int) -> Path:
        """Return the log of one run."""
        return Path(self.logs.format(batch=batch_size, repeat=repeat)).expanduser()


Platform = Annotated[TorchPlatform | CerebrasPlatform | LogPlatform, Field(discriminator="backend")]


class BatchSettings(Model):
    """What one batch size does differently from the rest of the sweep."""

    max_steps: PositiveInt | None = Field(None, description="Training steps of this batch size.")
    log_steps: PositiveInt | None = Field(None, description="Steps between its progress lines.")
    micro_batch_size: PositiveInt | None = Field(None, description="Samples per gradient accumulation.")


class Training(Model):
    """The batch-size sweep."""

    run: Names = descriptive(list, "The platforms that are swept; [] sweeps none.")
    platforms: dict[Name, Platform] = descriptive(dict, "Definitions: name -> platform.")
    model: str | None = Field(None, description="Base params file in ModelZoo's format.")
    corpus: Literal["python_docs"] | None = Field(
        None,
        description="python_docs: prepared as HDF5 from the standard library's help texts; "
        "left out: the base file's own data_dir.",
    )
    batch_sizes: Sizes = descriptive(lambda: [1], "Global batch sizes, in samples.")
    max_steps: PositiveInt = Field(200, description="Training steps.")
    match: Literal["steps", "samples"] = Field(
        "steps",
        description="What all batch sizes train alike. steps: max_steps each; samples: as many samples as "
        "base_batch_size does in max_steps, rounded up to whole steps.",
    )
    base_batch_size: PositiveInt | None = Field(
        None,
        description="The batch size that the base file's learning rates and schedule, and under match: samples "
        "max_steps, are meant for; left out: the smallest of batch_sizes (write it down, or a smaller size added "
        "later changes the other runs).",
    )
    lr_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none",
        description="All learning rates times batch size / base_batch_size (linear), or the root of it (sqrt).",
    )
    schedule_unit: Literal["steps", "samples"] | None = Field(
        None,
        description="What the iteration counts of the learning rate's schedule keep when the batch size changes. "
        "steps: as the base file has them; samples: times base_batch_size / batch size, rounded up; left out: as "
        "match says, since with fewer steps a warm-up in steps would be all that is trained.",
    )
    log_steps: PositiveInt = Field(10, description="Steps between progress lines.")
    micro_batch_size: PositiveInt | None = Field(
        None, description="Samples per gradient accumulation; left out: as the base file says."
    )
    eval_frequency: PositiveInt | Real | None = Field(
        None, description="Held-out loss: an integer k: every k steps; 1.0: after training; null: never."
    )
    checkpoint_steps: PositiveInt | None = Field(
        None, description="Steps between checkpoints; null: none (one of a 7B model takes about 9 minutes)."
    )
    seed: int = Field(1, ge=0, description="Seed of the first repeat; repeat r trains with seed + r - 1.")
    repeats: PositiveInt = descriptive(1, "Runs per batch size, each with a seed of its own.")
    sequence_length: PositiveInt | None = descriptive(
        None, "Tokens per sample, for tokens/s and TFLOP/s of runs whose trainer does not say it (a CS-3)."
    )
    project_steps: PositiveInt | None = descriptive(
        None, "Show the time and the effective rate of a run of so many steps, start-up included."
    )
    reference: str | None = descriptive(
        None, "Published figures to print beside one's own, such as config/reference/llama2_7b_cs3.yaml."
    )
    sizes: dict[PositiveInt, BatchSettings] = descriptive(dict, "Settings of single batch sizes.")

    @model_validator(mode="after")
    def _fits_together(self) -> "Training":
        for name in self.run:
            if name not in self.platforms:
                raise _undefined("run", name, "training.platforms", self.platforms)
        ran = [self.platforms[name] for name in self.run]
        if self.model is None and not all(isinstance(platform, LogPlatform) for platform in ran):
            raise problem("model", "must name a base params file, such as config/models/llama_small.yaml")
        if isinstance(self.eval_frequency, float) and self.eval_frequency != 1.0:
            raise problem("eval_frequency", "must be an integer (every k steps), 1.0 (after training) or null")
        for size in self.sizes:
            if size not in self.batch_sizes:
                raise problem("sizes", f"has settings for {size}, which is not among batch_sizes")
        for size in self.batch_sizes:
            micro = self.settings(size).micro_batch_size
            if micro is not None and size % micro:
                raise problem(
                    "batch_sizes",
                    f"has {size}, which is no multiple of the micro batch {micro}; "
                    f"write {size - size % micro or micro} or another micro_batch_size",
                )
        for name in self.run:
            platform = self.platforms[name]
            if isinstance(platform, LogPlatform) and self.repeats > 1 and "{repeat}" not in platform.logs:
                raise problem(
                    f"platforms.{name}.logs",
                    f"is {platform.logs!r}; with {self.repeats} repeats it must have {{repeat}} in it, "
                    "or one log would count as several runs",
                )
            if isinstance(platform, CerebrasPlatform) and min(self.batch_sizes) < platform.num_csx:
                raise problem(
                    "batch_sizes",
                    f"has {min(self.batch_sizes)}, and {name} has {platform.num_csx} systems (num_csx): each needs a "
                    "sample of every batch",
                )
        return self

    def settings(self, batch_size: int) -> BatchSettings:
        """Return the settings in force for one batch size: its own over the sweep's."""
        own = self.sizes.get(batch_size, BatchSettings())
        return BatchSettings(
            max_steps=own.max_steps or self._steps(batch_size),
            log_steps=own.log_steps or self.log_steps,
            micro_batch_size=own.micro_batch_size or self.micro_batch_size,
        )

    def lr_factor(self, batch_size: int) -> float:
        """Return what the learning rates of one batch size are multiplied by."""
        ratio = batch_size / self._base_size
        return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[self.lr_scaling]

    def schedule_factor(self, batch_size: int) -> Fraction:
        """Return what the schedule's iteration counts of one batch size are multiplied by."""
        unit = self.schedule_unit or self.match
        return Fraction(self._base_size, batch_size) if unit == "samples" else Fraction(1)

    def _steps(self, batch_size: int) -> int:
        samples = self.max_steps * self._base_size
        return self.max_steps if self.match == "steps" else -(-samples // batch_size)

    @property
    def _base_size(self) -> int:
        return self.base_batch_size or min(self.batch_sizes)


# --- inference ------------------------------------------------------------------------------------------


class ColumnMap(Model):
    """Which column of the data set holds what. Nested names are written with dots (answers.text)."""

    id: str | None = Field(None, description="Identifier; the row's number if left out.")
    question: str = Field("question", description="What is asked.")
    context: str | None = Field("context", description="The passage that holds the answer; null: none.")
    answers: str | None = Field("answers", description="Gold answers: a string, a list, or SQuAD's mapping.")
    group: str | None = Field("title", description="What questions belong together by (an article).")


class PromptSet(Model):
    """Where prompts come from and how they are worded."""

    source: Literal["auto", "hub", "bundled", "path"] = Field(
        "hub",
        description="hub: the Hugging Face data set, else fail; bundled: this project's own questions; "
        "path: a local file; auto: hub, or bundled when the hub can't be reached within 5 s.",
    )
    dataset: str = Field("rajpurkar/squad", description="Hugging Face data set id.")
    revision: str = Field(SQUAD_REVISION, description="Its revision (a commit), so that it can't change.")
    split: str = Field("validation", description="Its split.")
    path: str | None = Field(None, description="SQuAD json, csv, parquet or jsonl file (source: path).")
    columns: ColumnMap = Field(default_factory=ColumnMap, description="Which column holds what.")
    template: str = Field(
        "reference",
        description="reference: 'Context: … Question: … Answer:'; short_span: asks for the shortest span; "
        "or a text of your own with {question} and, if wanted, {context}.",
    )
    select: Literal["first", "stratified"] = Field(
        "stratified",
        description="first: in file order; stratified: articles in turn, a new passage each, drawn by seed.",
    )
    seed: int = Field(1, ge=0, description="Seed of the stratified draw.")

    @model_validator(mode="after")
    def _fits_together(self) -> "PromptSet":
        if self.source == "path" and self.path is None:
            raise problem("path", "must name a file, because source is path")
        if self.source != "path" and self.path is not None:
            raise problem("path", f"is only used with source: path, and source is {self.source}")
        if self.template not in ("reference", "short_span"):
            try:
                fields = {field for _, field, _, _ in string.Formatter().parse(self.template) if field is not None}
            except ValueError:
                fields = set()
            if "question" not in fields or not fields <= {"question", "context"}:
                raise problem(
                    "template",
                    "must be reference, short_span, or a text with {question} and, if wanted, {context}",
                )
        return self


class Scenario(Model):
    """One kind of load: how many requests at a time, and what each asks for."""

    prompts: Name = Field("questions", description="The prompt set that is asked.")
    concurrency: PositiveInt | Sizes = Field(
        1, description="Requests in flight (closed loop); a list makes one cell per value."
    )
    requests: PositiveInt = Field(10, description="Requests per round; a multiple of every concurrency.")
    rounds: PositiveInt = descriptive(1, "Rounds; each asks prompts that no other round of it asks.")
    warm_up: int = Field(1, ge=0, description="Requests sent before the round, recorded and left out.")
    stream: bool = Field(True, description="Ask for a stream, so that the first token can be timed.")
    nonce: bool = Field(
        True,
        description="Put a short code in front of each prompt, the same for every endpoint, so that no prefix "
        "cache answers.",
    )
    max_tokens: PositiveInt = Field(512, description="Most tokens in an answer.")
    temperature: Real = Field(0.0, ge=0, le=2, description="Sampling temperature; 0: the likeliest token.")
    top_p: Real = Field(1.0, gt=0, le=1, description="Nucleus sampling.")
    reasoning_effort: Literal["low", "medium", "high"] | None = Field(
        None, description="Sent to endpoints that take it (endpoint: reasoning_effort: true)."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Scenario":
        for slots in self.slots:
            if self.requests % slots:
                raise problem(
                    "requests",
                    f"is {self.requests}; it must be a multiple of the concurrency {slots}, "
                    f"such as {-(-self.requests // slots) * slots}",
                )
        return self

    @property
    def slots(self) -> list[int]:
        """The concurrencies, one per cell."""
        return [self.concurrency] if isinstance(self.concurrency, int) else self.concurrency


class LlamaCppServer(Model):
    """llama.cpp on this machine (xllamacpp), started and stopped by the job that measures it."""

    kind: Literal["llama.cpp"] = Field(description="llama.cpp: quantised weights, by xllamacpp.")
    threads: PositiveInt | None = Field(None, description="CPU threads; all cores if left out.")
    slots: PositiveInt = Field(4, description="Requests it works on at a time.")
    context_tokens: PositiveInt = Field(1024, description="Longest prompt + answer per request.")


class TransformersServer(Model):
    """`transformers serve` on this machine, started and stopped by the job that measures it."""

    kind: Literal["transformers"] = Field(description="transformers: full weights, by `transformers serve`.")
    threads: PositiveInt | None = Field(None, description="CPU threads; all cores if left out.")
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="Type of the weights.")
    context_tokens: PositiveInt = Field(10240, description="Tokens of all requests together in its key-value cache.")


Server = Annotated[LlamaCppServer | TransformersServer, Field(discriminator="kind")]


class SecretSource(Model):
    """Where a secret is read from when a job starts. The secret itself never stands in a file."""

    env: str | None = descriptive(None, "Environment variable that holds it.", pattern=r"^[A-Za-z_]\w*$")
    command: list[str] | None = descriptive(
        None, "Command that prints it, asked when the variable is not set.", min_length=1
    )

    @model_validator(mode="after")
    def _names_a_source(self) -> "SecretSource":
        if self.env is None and self.command is None:
            raise problem("env", "must name a variable, or command a command that prints the secret")
        return self


class Endpoint(Model):
    """One OpenAI-compatible endpoint: a base_url, or a server that the job starts itself."""

    label: str | None = descriptive(None, "Shown in tables and plots instead of the endpoint's name.")
    hardware: str | None = descriptive(None, "What it runs on, as far as you know.")
    notes: str | None = descriptive(None, "Anything a reader of the report should know.")
    base_url: HttpUrl | None = Field(None, description="Up to and including /v1.")
    server: Server | None = Field(None, description="A server that the job starts instead.")
    model: str = Field(min_length=1, description="The id that the endpoint serves.")
    token: SecretSource | None = descriptive(None, "Source of the bearer token.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers sent as they are written.")
    secret_headers: dict[str, SecretSource] = Field(
        default_factory=dict, description="Headers whose values are secret: name -> source."
    )
    extra_body: dict[str, Any] = Field(default_factory=dict, description="Fields added to each request.")
    reasoning_effort: bool = Field(False, description="It takes reasoning_effort.")
    requests_per_s: Real | None = Field(
        None, gt=0, description="Never send faster than this (ALCF: 10 per second and user)."
    )
    timeout_connect_s: Real = Field(10.0, gt=0, description="Seconds to wait for a connection.")
    timeout_read_s: Real = Field(120.0, gt=0, description="Seconds to wait for the next byte.")
    timeout_total_s: Real = Field(600.0, gt=0, description="Seconds that one attempt may take.")
    health_url: HttpUrl | None = descriptive(None, "Answers 200 when the endpoint is ready; else {base_url}/models.")
    ready_timeout_s: Real = descriptive(120.0, "Seconds to wait until it is ready.", gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> "Endpoint":
        if (self.base_url is None) == (self.server is None):
            raise problem("base_url", "must be given, or server instead of it: exactly one of the two")
        for header, value in self.headers.items():
            if CREDENTIAL.search(header) or CREDENTIAL_VALUE.match(value):
                raise problem(
                    "headers",
                    f"must not hold credentials: write secret_headers: {{{header}: {{env: NAME}}}} instead "
                    f"and put the value of {header} into that variable",
                )
        return self


class Inference(Model):
    """The endpoint benchmark."""

    run: Names = descriptive(list, "The endpoints that are asked; [] asks none.")
    scenarios_run: Names = descriptive(list, "The scenarios they are asked under.")
    baseline: Name | None = descriptive(None, "The endpoint that ratios are against; the first that runs if left out.")
    endpoints: dict[Name, Endpoint] = descriptive(dict, "Definitions: name -> endpoint.")
    scenarios: dict[Name, Scenario] = descriptive(dict, "Definitions: name -> scenario.")
    prompts: dict[Name, PromptSet] = descriptive(dict, "Definitions: name -> prompt set.")

    @model_validator(mode="after")
    def _fits_together(self) -> "Inference":
        for key, names, defined in (
            ("run", self.run, self.endpoints),
            ("scenarios_run", self.scenarios_run, self.scenarios),
            ("baseline", [self.baseline] if self.baseline else [], self.endpoints),
        ):
            for name in names:
                if name not in defined:
                    home = "scenarios" if key == "scenarios_run" else "endpoints"
                    raise _undefined(key, name, f"inference.{home}", defined)
        if self.run and not self.scenarios_run:
            raise problem("scenarios_run", "must name at least one scenario for the endpoints in run")
        for name in self.scenarios_run:
            if self.scenarios[name].prompts not in self.prompts:
                asked = self.scenarios[name].prompts
                raise _undefined(f"scenarios.{name}.prompts", asked, "inference.prompts", self.prompts)
            cells = set() if isinstance(self.scenarios[name].concurrency, int) else self.scenarios[name].slots
            for cell in (f"{name}-c{slots}" for slots in cells):
                if cell in self.scenarios_run:
                    raise problem("scenarios_run", f"names {cell}, which is also one cell of {name}; rename either")
        return self


class Config(Model):
    """A run: what is trained, what is asked, and in which order."""

    title: str = descriptive("accelbench", "Heading of the report.")
    seed: int = Field(1, ge=0, description="Seed of the order in which jobs run and of the nonces.")
    restore: bool = descriptive(
        True, "Take a finished measurement of the same spec from results/archive instead of measuring again."
    )
    training: Training = descriptive(Training, "The batch-size sweep.")
    inference: Inference = descriptive(Inference, "The endpoint benchmark.")
