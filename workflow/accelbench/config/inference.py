"""The config of the endpoint benchmark: endpoints, loads and prompts."""

import itertools
import re
import string
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from accelbench.config.fields import (
    HttpUrl,
    Model,
    Name,
    Names,
    Objectives,
    PositiveInt,
    Real,
    Sizes,
    descriptive,
    problem,
    undefined,
)

AXES = {
    "concurrency": "c",
    "rate_per_s": "r",
    "context_tokens": "in",
    "max_tokens": "out",
    "output_tokens": "out",
    "prefix_share": "pre",
}
"""The keys that take lists, and how the names of cells shorten them."""
TWIN = "-twin"
MOST_TURNS = 10
SHARED_CONCURRENCY, SHARED_REQUESTS, SHARED_TOKENS = 8, 2000, 500_000
BUNDLED_QUESTIONS = 144
SQUAD_REVISION = "7b6d24c440a36b6815f21b70d25016731768db1f"
CREDENTIAL = re.compile(r"auth|token|key|secret|cookie|password|credential", re.IGNORECASE)
CREDENTIAL_NAME = re.compile(r"(^|[_-])(token|key|secret|password)(=|$)", re.IGNORECASE)  # HF_TOKEN, --api-key=…
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
FRAMING = {"content-length", "transfer-encoding", "connection"}
CREDENTIAL_VALUE = re.compile(r"(bearer|basic) \S", re.IGNORECASE)


class ColumnMap(Model):
    """The columns of the data set. Nested names are written with dots (answers.text)."""

    id: str | None = Field(None, description="Identifier; left out: the row number.")
    question: str = Field("question", description="The question.")
    context: str | None = Field("context", description="The passage that holds the answer; null: none.")
    answers: str | None = Field(
        "answers",
        description="Gold answers: a string, a list (of aliases), or SQuAD's mapping; null: none. If that column "
        "is missing: answer, gold_answer, target or the like.",
    )
    group: str | None = Field("title", description="What groups questions, such as an article.")


Rate = Annotated[Real, Field(gt=0)]
_Rates = Annotated[list[Rate], Field(min_length=1)]
_Share = Annotated[Real, Field(gt=0, lt=1)]
_Shares = Annotated[list[_Share], Field(min_length=1)]


class PromptSet(Model):
    """The source of prompts, and how they are worded."""

    source: Literal["auto", "hub", "bundled", "path"] = Field(
        "hub",
        description="hub: the Hugging Face data set, else fail; bundled: this project's own questions; "
        "path: a local file; auto: hub, or bundled when the hub can't be reached within 5 s.",
    )
    dataset: str = Field("rajpurkar/squad", description="Hugging Face data set id.")
    subset: str | None = Field(None, description="Its configuration, where it has several.")
    revision: str = Field(SQUAD_REVISION, description="Its revision (a commit), so that the data can't change.")
    split: str = Field("validation", description="Its split.")
    path: str | None = Field(None, description="SQuAD json, csv, parquet or jsonl file (source: path).")
    columns: ColumnMap = Field(default_factory=ColumnMap, description="Which column holds what.")
    template: str = Field(
        "reference",
        description="reference: 'Context: … Question: … Answer:'; short_span: asks for the shortest span; "
        "or your own text with {question} and, optionally, {context}.",
    )
    select: Literal["first", "stratified", "passages"] = Field(
        "stratified",
        description="first: in file order; stratified: articles in turn, a new passage each, drawn at random by seed; "
        "passages: passages drawn at random by seed, all questions about each together (for conversations).",
    )
    seed: int = Field(1, ge=0, description="Seed of the stratified draw.")
    scoring: Literal["squad", "contains", "none"] = descriptive(
        "squad",
        "squad: EM, F1 and whether a gold answer is contained; contains: only the last; none: answers aren't scored.",
    )

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
    """One kind of load: when requests are sent, and with which settings.

    A list (of concurrencies, rates, context lengths, answer lengths, prefix shares) makes one cell per value.
    """

    prompts: Name = Field("questions", description="The prompt set to use.")
    arrivals: Literal["closed", "constant", "poisson", "gamma", "trace"] = Field(
        "closed",
        description="closed: `concurrency` slots, each sends its next request when the last one ends; constant, "
        "poisson, gamma: open loop, requests are sent at `rate_per_s` without waiting for earlier ones; trace: open "
        "loop, with the times and lengths of a trace.",
    )
    concurrency: PositiveInt | Sizes = Field(1, description="Requests in flight (closed loop).")
    rate_per_s: Rate | _Rates | None = Field(None, description="Requests per second (open loop).")
    ramp_to_per_s: Rate | None = Field(
        None, description="Open loop: the rate changes evenly from `rate_per_s` to this one during the round."
    )
    burstiness: Real = Field(
        1.0,
        gt=0,
        description="arrivals: gamma: the shape of the gaps' distribution; 1: as poisson, less: in bursts, more: even.",
    )
    trace: str | None = descriptive(
        None,
        "arrivals: trace: a csv or jsonl file in the shape of Mooncake's, Azure's or BurstGPT's traces, or with at_s, "
        "input_tokens and output_tokens. Each round sends its first `requests` requests: contexts are filled to the "
        "input length (at most context_tokens, if given), answers are as long as the trace's (at most max_tokens).",
    )
    time_scale: Rate = Field(1.0, description="arrivals: trace: its times are multiplied by this; 0.5: twice as fast.")
    max_in_flight: PositiveInt = Field(
        64, description="Open loop: most requests in flight; further ones are sent late, and the report says so."
    )
    ramp_up_s: Real = Field(0.0, ge=0, description="Closed loop: the slots start evenly spread over this many seconds.")
    turns: PositiveInt = Field(
        1,
        le=MOST_TURNS,
        description="Closed loop: most turns of a conversation: questions about one passage, or of one conversation of "
        "the file, that follow each other in the prompt set. Each is asked after those before and their gold answers. "
        "After a turn that failed, its conversation is abandoned.",
    )
    think_time_s: Real = Field(0.0, ge=0, description="Seconds from the end of an answer to the next turn.")
    requests: PositiveInt = Field(
        10, description="Requests per round; with 10 or more per slot, all slots are busy for most of the round."
    )
    duration_s: Real | None = Field(
        None, gt=0, description="No request starts later than this many seconds after the first; null: all are sent."
    )
    rounds: PositiveInt = descriptive(1, "Rounds; each uses different prompts.")
    warm_up: int = Field(1, ge=0, description="Requests sent before the round; recorded, but not counted.")
    stream: bool = Field(True, description="Ask for a stream, so that the first token can be timed.")
    nonce: bool = Field(
        True,
        description="Start each prompt with a random prefix, the same for every endpoint, so that no prefix cache can "
        "help.",
    )
    prefix: Literal["unique", "shared", "cold-then-warm"] | None = Field(
        None,
        description="Start each prompt with a long prefix, to measure what a prefix cache brings. unique: each request "
        "has its own; shared: all requests of a round have the same; cold-then-warm: the second half of a round's "
        "requests reuse the prefixes of the first half.",
    )
    prefix_share: _Share | _Shares = Field(
        0.5, description="The prefix's share of the prompt, by length; the passages of the set are its text."
    )
    context_tokens: PositiveInt | Sizes | None = Field(
        None,
        description="Fill the context with other passages of the set, to about this many tokens; the passage that "
        "answers the question is among them, at a random place.",
    )
    max_tokens: PositiveInt | Sizes = Field(512, description="Most tokens in an answer.")
    output_tokens: PositiveInt | Sizes | None = Field(
        None,
        description="Exactly so many tokens in an answer, instead of max_tokens: by min_tokens and ignore_eos, which "
        "vLLM and SGLang have. The report says where an answer has another length.",
    )
    temperature: Real = Field(0.0, ge=0, le=2, description="Sampling temperature; 0: always the most likely token.")
    top_p: Real = Field(1.0, gt=0, le=1, description="Nucleus sampling.")
    find_max: Objectives | None = Field(
        None,
        description="Search the highest load at which these hold, instead of measuring one: ttft_p95<0.5, "
        "tpot_p95<0.05, e2e_p99<20 (seconds), success>0.99, separated by commas. `concurrency` or, in open loop, "
        "`rate_per_s` is the highest that is tried, `requests` the fewest per round; there are as many rounds as it "
        "takes.",
    )
    reasoning_effort: Literal["low", "medium", "high"] | None = Field(
        None, description="Sent to endpoints that accept it (endpoint: reasoning_effort: true)."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Scenario":
        is_open = self.arrivals != "closed"
        has_rate = self.arrivals not in ("closed", "trace")
        if has_rate and self.rate_per_s is None:
            raise problem("rate_per_s", f"must be given, because arrivals is {self.arrivals}")
        if not has_rate and self.rate_per_s is not None:
            raise problem("rate_per_s", "is only used with arrivals: constant, poisson or gamma")
        if self.arrivals == "trace" and self.trace is None:
            raise problem("trace", "must name a file, because arrivals is trace")
        used = {
            "ramp_to_per_s": has_rate,
            "burstiness": self.arrivals == "gamma",
            "trace": self.arrivals == "trace",
            "time_scale": self.arrivals == "trace",
            "output_tokens": self.arrivals != "trace",
        }
        if key := next((key for key, is_used in used.items() if not is_used and key in self.model_fields_set), None):
            raise problem(key, f"is not used with arrivals: {self.arrivals}; remove it")
        for key in ("concurrency", "ramp_up_s", "turns") if is_open else ("max_in_flight",):
            if key in self.model_fields_set:
                raise problem(key, f"is not used with arrivals: {self.arrivals}; remove it")
        if self.turns == 1 and self.think_time_s:
            raise problem("think_time_s", "is only used with turns: 2 or more")
        if self.output_tokens is not None and "max_tokens" in self.model_fields_set:
            raise problem("max_tokens", "is not used with output_tokens; remove it")
        if self.turns > 1 and self.prefix is not None:
            raise problem("prefix", "is not used with turns; remove it")
        if self.prefix is None and "prefix_share" in self.model_fields_set:
            raise problem("prefix_share", "is only used with prefix: unique, shared or cold-then-warm")
        if self.prefix is not None and not self.nonce:
            raise problem("nonce", "must be true with prefix: what follows the prefix must not be in a cache, too")
        if self.find_max is not None:
            self._can_be_searched()
        return self

    def _can_be_searched(self) -> None:
        """Refuse what a search decides by itself, or can't have."""
        for key in ("rounds", "duration_s", "ramp_to_per_s", "trace"):
            if key in self.model_fields_set:
                raise problem(key, "is not used with find_max; remove it")
        if self.turns > 1:
            raise problem("turns", "is not used with find_max; remove it")
        for key in ("concurrency", "rate_per_s"):
            if isinstance(getattr(self, key), list):
                raise problem(key, "must be one value with find_max: the highest that is tried")

    def cells(self, name: str) -> dict[str, "Scenario"]:
        """Return the loads of this scenario, or itself if it has no lists: `name`, or `name-c8-out256`."""
        lists = {key: getattr(self, key) for key in AXES if isinstance(getattr(self, key), list)}
        found = {}
        for values in itertools.product(*lists.values()):
            own = dict(zip(lists, values, strict=True))
            suffix = "".join(
                f"-{AXES[key]}{str(value).removesuffix('.0').replace('.', 'p')}" for key, value in own.items()
            )
            found[name + suffix] = self.model_copy(update=own)
        return found

    @property
    def most_tokens(self) -> int:
        """The most tokens that an answer of any cell may have."""
        return int(max(_listed(self.output_tokens or self.max_tokens)))

    @property
    def most_in_flight(self) -> int:
        """The most requests that any cell has in flight."""
        return max(_listed(self.concurrency)) if self.arrivals == "closed" else self.max_in_flight


def _listed(value: Any) -> list[Any]:
    """Return the values of a key that takes one or a list of them."""
    return value if isinstance(value, list) else [value]


class LocalServer(Model):
    """What planning must know about a kind of server that a job starts itself."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Python packages that serve, of the extra `local`."""
    converts_weights: ClassVar[bool] = False
    """Whether it serves weights that are converted beforehand."""

    keep: Literal["round", "run"] = Field(
        "round",
        description="How often it is started. round: for each round. run: once per run of the workflow, for all rounds "
        "of the endpoint; a round that failed ends it (on Linux; elsewhere, and in `accelbench load`, as round).",
    )


class LlamaCppServer(LocalServer):
    """llama.cpp on this machine (xllamacpp), started and stopped by the workflow."""

    packages: ClassVar = ("xllamacpp",)

    kind: Literal["llama.cpp"] = Field(description="llama.cpp: quantised weights, by xllamacpp.")
    threads: PositiveInt | None = Field(None, description="CPU threads; all cores if left out.")
    slots: PositiveInt = Field(4, description="Requests it processes at a time.")
    context_tokens: PositiveInt = Field(1024, description="Longest prompt + answer per request.")


class TransformersServer(LocalServer):
    """`transformers serve` on this machine, started and stopped by the workflow."""

    packages: ClassVar = ("transformers", "torch")
    converts_weights: ClassVar = True

    kind: Literal["transformers"] = Field(description="transformers: full weights, by `transformers serve`.")
    threads: PositiveInt | None = Field(None, description="CPU threads; all cores if left out.")
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="Type of the weights.")
    context_tokens: PositiveInt = Field(10240, description="Tokens of all requests together in its key-value cache.")


class CommandServer(LocalServer):
    """Any server of the OpenAI API (`vllm serve`), started and stopped by the workflow."""

    context_tokens: ClassVar = None  # known only to its command

    kind: Literal["command"] = Field(description="command: a command of your own, such as `vllm serve`.")
    command: list[str] = Field(
        description="The command and its arguments; {port} and {model} stand for the port to serve on and the "
        "endpoint's model.",
        min_length=1,
    )
    ready: str = descriptive("/health", "Path that answers 200 once the server is ready.", pattern=r"^/\S*$")
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables of the server, in addition to the job's own (put secrets there).",
    )
    version_command: list[str] | None = descriptive(
        None, "Command that prints the server's version, such as [vllm, --version].", min_length=1
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "CommandServer":
        if not any("{port}" in word for word in self.command):
            raise problem("command", "must have {port} in it: the job picks a free one (vllm: --port, '{port}')")
        for key, names in (("env", list(self.env)), ("command", self.command)):
            for name in names:
                if CREDENTIAL_NAME.search(name):
                    raise problem(
                        key,
                        f"must not hold credentials ({name.partition('=')[0]}): export a variable that the server "
                        "knows (vLLM: VLLM_API_KEY, HF_TOKEN) before the workflow starts instead; for a PBS job, "
                        "which does not get it, start the server by a script that reads it from a file of mode 0600",
                    )
        return self


Server = Annotated[LlamaCppServer | TransformersServer | CommandServer, Field(discriminator="kind")]


class SecretSource(Model):
    """Where a secret is read from when a job starts. The secret itself is never written to a file."""

    env: str | None = descriptive(None, "Environment variable that holds the secret.", pattern=r"^[A-Za-z_]\w*$")
    command: list[str] | None = descriptive(
        None, "Command that prints it, run when the variable is not set.", min_length=1
    )

    @model_validator(mode="after")
    def _names_a_source(self) -> "SecretSource":
        if self.env is None and self.command is None:
            raise problem("env", "must name a variable, or command a command that prints the secret")
        return self


class ClusterStatus(Model):
    """The gateway's status pages (ALCF's: /resource_server/…), requested with the endpoint's token."""

    endpoints: HttpUrl | None = descriptive(None, "Lists the models served (ALCF: …/list-endpoints).")
    jobs: HttpUrl | None = descriptive(None, "Shows whether the model is running or starting (ALCF: …/{cluster}/jobs).")
    models: HttpUrl | None = descriptive(None, "Shows the limits of each model (ALCF: …/{cluster}/models).")


class Cost(Model):
    """What the endpoint's hardware costs, for cost and energy per token."""

    price_per_hour: Real | None = descriptive(None, "Price of the whole endpoint per hour.", gt=0)
    currency: str = descriptive("USD", "Currency of the price.")
    power_w: Real | None = descriptive(None, "Its power under load, in watts.", gt=0)
    source: str = descriptive(..., "Where the figures come from.", min_length=1)


class DecodeLimit(Model):
    """The hardware limit of one request's decode speed: names from config/hardware.yaml."""

    machine: str = descriptive(..., "One of `machines`.", min_length=1)
    count: PositiveInt = descriptive(1, "Machines that share the weights.")
    model: str = descriptive(..., "One of `models`.", min_length=1)


class Endpoint(Model):
    """One OpenAI-compatible endpoint: a base_url, or a server that the job starts itself."""

    label: str | None = descriptive(None, "Shown in tables and plots instead of the endpoint's name.")
    hardware: str | None = descriptive(None, "What it runs on, as far as you know.")
    notes: str | None = descriptive(None, "Anything a reader of the report should know.")
    base_url: HttpUrl | None = Field(None, description="Up to and including /v1.")
    server: Server | None = Field(None, description="A server that the job starts instead.")
    own_node: bool = descriptive(
        False,
        "Its server has its own node (a cluster's GPU node), so its rounds may run during other measurements. With "
        "server.keep: run, all of its rounds are one job, one after the other.",
    )
    model: str = Field(min_length=1, description="The id that the endpoint serves.")
    token: SecretSource | None = descriptive(None, "Source of the bearer token.")
    headers: dict[str, str] = Field(default_factory=dict, description="Headers sent as written.")
    secret_headers: dict[str, SecretSource] = Field(
        default_factory=dict, description="Headers whose values are secret: name -> source."
    )
    extra_body: dict[str, Any] = Field(default_factory=dict, description="Fields added to each request.")
    omit_body: list[str] = Field(
        default_factory=list,
        description="Default fields that this endpoint is not sent (temperature, stream_options).",
    )
    query: dict[str, str] = Field(
        default_factory=dict, description="Added to the address of each request, and of /models (Azure: api-version)."
    )
    reasoning_effort: bool = Field(False, description="It accepts reasoning_effort.")
    requests_per_s: Real | None = Field(
        None, gt=0, description="Upper limit of the sending rate (ALCF: 10 per second and user)."
    )
    timeout_connect_s: Real = Field(10.0, gt=0, description="Seconds to wait for a connection.")
    timeout_read_s: Real = Field(120.0, gt=0, description="Seconds to wait for the next byte.")
    timeout_total_s: Real = Field(600.0, gt=0, description="Longest duration of one attempt, in seconds.")
    busy_wait_s: Real = Field(
        120.0,
        ge=0,
        description="Closed loop: total seconds that one request waits after 429 and 503 answers before it counts as "
        "failed.",
    )
    health_url: HttpUrl | None = descriptive(
        None,
        "Answers 200, without a token, when the endpoint is up; its response time is the network's and gateway's "
        "floor. Left out: {base_url}/models.",
    )
    metrics_url: HttpUrl | None = descriptive(
        None,
        "Where its server shows its own figures (/metrics of vLLM, SGLang, TGI, llama.cpp). The token is sent only to "
        "the host of base_url.",
    )
    cluster: ClusterStatus | None = descriptive(None, "Status pages of the gateway in front of it.")
    shared: bool = descriptive(
        False,
        f"Other people use it too: at most {SHARED_CONCURRENCY} requests in flight, {SHARED_REQUESTS:,} requests and "
        f"{SHARED_TOKENS:,} answer tokens in one config.",
    )
    permission: str | None = descriptive(None, "Who allowed more than that on a shared endpoint, and when.")
    cost: Cost | None = descriptive(None, "What it costs to run.")
    limit: DecodeLimit | None = descriptive(None, "Hardware limit of its decode speed, if known.")
    power_csv: str | None = descriptive(
        None, "CSV of its power (a PDU, a facility's dashboard): time (ISO with zone, or Unix seconds), watts."
    )
    power_scope: str = descriptive("node", "What the watts of power_csv are of.", min_length=1)
    control_of: Name | None = descriptive(None, "Set by control: aa: the endpoint that this one duplicates.")
    ready_timeout_s: Real = descriptive(120.0, "Seconds to wait until it is ready.", gt=0)

    @property
    def in_one_job(self) -> bool:
        """Whether all of its rounds are one job on a node, which starts the server once."""
        return self.own_node and self.server is not None and self.server.keep == "run"

    @model_validator(mode="after")
    def _fits_together(self) -> "Endpoint":
        if (self.base_url is None) == (self.server is None):
            raise problem("base_url", "must be given, or server instead of it: exactly one of the two")
        if self.own_node and self.server is None:
            raise problem("own_node", "is for servers that the job starts; an endpoint with a base_url needs no node")
        if both := set(self.omit_body) & set(self.extra_body):
            raise problem(
                "omit_body", f"holds {', '.join(sorted(both))}, which extra_body adds; name it in one of them"
            )
        for name in self.query:
            if is_credential(name):
                raise problem("query", f"must not hold credentials ({name}): send them in secret_headers")
        for key, names in (("headers", self.headers), ("secret_headers", self.secret_headers)):
            if wrong := [name for name in names if not HEADER_NAME.fullmatch(name) or name.lower() in FRAMING]:
                raise problem(key, f"must not set {wrong[0]!r}: it is not a header name, or the client sets it itself")
        for header, value in self.headers.items():
            if not (value.isascii() and value.isprintable()):
                raise problem("headers", f"has characters in {header} that a header can't hold")
            if is_credential(header, value):
                raise problem(
                    "headers",
                    f"must not hold credentials: write secret_headers: {{{header}: {{env: NAME}}}} instead "
                    f"and put the value of {header} into that variable",
                )
        return self


def is_credential(name: str, value: str = "") -> bool:
    """Whether a header, or a query field, looks like a credential that must not be written down."""
    return bool(CREDENTIAL.search(name) or CREDENTIAL_VALUE.match(value))


class GoodputLimits(Model):
    """Limits that a request must meet to count: all that are given."""

    ttft_s: Real | None = descriptive(None, "Most seconds to the first token (TTFT).", gt=0)
    tpot_s: Real | None = descriptive(None, "Most seconds per further token (TPOT).", gt=0)
    e2e_s: Real | None = descriptive(None, "Most seconds to the last token.", gt=0)

    @model_validator(mode="after")
    def _limits_something(self) -> "GoodputLimits":
        if self.ttft_s is self.tpot_s is self.e2e_s is None:
            raise problem("e2e_s", "must be given, or ttft_s or tpot_s: goodput needs a limit")
        return self


class Equivalence(Model):
    """The margins: differences that count as negligible."""

    time: Real = descriptive(0.05, "Of times and speeds, as a share.", gt=0, lt=1)
    quality: Real = descriptive(0.02, "Of scores between 0 and 1.", gt=0, lt=1)


class Inference(Model):
    """The endpoint benchmark."""

    run: Names = descriptive(list, "The endpoints to measure; []: none.")
    scenarios_run: Names = descriptive(list, "The scenarios to run.")
    baseline: Name | None = descriptive(None, "The endpoint that ratios are relative to; left out: the first in run.")
    primary: Literal["e2e_s", "ttft_s", "tpot_s"] = descriptive(
        "e2e_s",
        "The metric that the verdict is based on, chosen before the run. All verdicts are corrected for the number "
        "of tests (Holm).",
    )
    equivalence: Equivalence = descriptive(Equivalence, "Differences that count as negligible.")
    interleaved_within_s: Real = descriptive(
        1800.0, "Rounds that started further apart, or on different hosts, are compared unpaired.", gt=0
    )
    goodput: GoodputLimits | None = descriptive(None, "Limits for goodput: requests per second that meet all of them.")
    control: Literal["aa"] | None = descriptive(
        None, "aa: the baseline is measured twice, as two endpoints; its ratio to itself is the noise floor."
    )
    endpoints: dict[Name, Endpoint] = descriptive(dict, "Definitions: name -> endpoint.")
    scenarios: dict[Name, Scenario] = descriptive(dict, "Definitions: name -> scenario.")
    prompts: dict[Name, PromptSet] = descriptive(dict, "Definitions: name -> prompt set.")

    @model_validator(mode="before")
    @classmethod
    def _with_twin(cls, tree: Any) -> Any:
        """Add the baseline's twin for `control: aa`, unless it is already there."""
        if not isinstance(tree, dict) or tree.get("control") != "aa" or not isinstance(tree.get("endpoints"), dict):
            return tree
        run, endpoints = tree.get("run") or [], tree["endpoints"]
        name = tree.get("baseline") or (run[0] if run else None)
        if name not in endpoints or not isinstance(endpoints[name], dict) or f"{name}{TWIN}" in endpoints:
            return tree
        label = endpoints[name].get("label") or name
        twin = {**endpoints[name], "label": f"{label} (control)", "control_of": name}
        return {**tree, "run": [*run, f"{name}{TWIN}"], "endpoints": {**endpoints, f"{name}{TWIN}": twin}}

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
            if self.scenarios[name].turns > 1 and self.prompts[self.scenarios[name].prompts].select == "stratified":
                asked = self.scenarios[name].prompts
                raise problem(f"scenarios.{name}.turns", f"needs prompts.{asked}.select: passages, or first")
        cells = [cell for name in self.scenarios_run for cell in self.scenarios[name].cells(name).items()]
        names = [name for name, _ in cells]
        for name in names:
            if names.count(name) > 1:
                raise problem("scenarios_run", f"has two cells named {name}; rename a scenario")
        for name in self.run:
            self._spare(name, [load for _, load in cells])
        return self

    def _spare(self, name: str, loads: list[Scenario]) -> None:
        """Refuse a plan that exceeds the limits for a shared endpoint."""
        endpoint = self.endpoints[name]
        if not endpoint.shared or endpoint.permission:
            return
        if any(load.find_max for load in loads):
            raise problem(
                f"endpoints.{name}.shared",
                "is true, and find_max looks for the load that is too much; others use it too. Leave such scenarios "
                "out, or say under permission who granted it",
            )
        at_once = max((load.most_in_flight for load in loads), default=0)
        requests = sum(load.rounds * (load.requests + load.warm_up) for load in loads)
        tokens = sum(load.rounds * load.requests * load.most_tokens for load in loads)
        for what, plan, bound in (
            ("requests in flight", at_once, SHARED_CONCURRENCY),
            ("requests", requests, SHARED_REQUESTS),
            ("answer tokens", tokens, SHARED_TOKENS),
        ):
            if plan > bound:
                raise problem(
                    f"endpoints.{name}.shared",
                    f"is true, and the plan has up to {plan:,} {what}; others use it too, so the bound is {bound:,}. "
                    "Ask for less, or say under permission who granted more",
                )
