"""The config of the endpoint benchmark: endpoints, loads and prompts."""

import re
import string
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from accelbench.config.fields import (
    HttpUrl,
    Model,
    Name,
    Names,
    PositiveInt,
    Real,
    Sizes,
    descriptive,
    problem,
    undefined,
)

SQUAD_REVISION = "7b6d24c440a36b6815f21b70d25016731768db1f"
CREDENTIAL = re.compile(r"auth|token|key|secret|cookie|password|credential", re.IGNORECASE)
CREDENTIAL_VALUE = re.compile(r"(bearer|basic) \S", re.IGNORECASE)


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
                    raise undefined(key, name, f"inference.{home}", defined)
        if self.run and not self.scenarios_run:
            raise problem("scenarios_run", "must name at least one scenario for the endpoints in run")
        for name in self.scenarios_run:
            if self.scenarios[name].prompts not in self.prompts:
                asked = self.scenarios[name].prompts
                raise undefined(f"scenarios.{name}.prompts", asked, "inference.prompts", self.prompts)
            cells = set() if isinstance(self.scenarios[name].concurrency, int) else self.scenarios[name].slots
            for cell in (f"{name}-c{slots}" for slots in cells):
                if cell in self.scenarios_run:
                    raise problem("scenarios_run", f"names {cell}, which is also one cell of {name}; rename either")
        return self
