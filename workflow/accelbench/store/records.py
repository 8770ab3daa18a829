"""The record types of the data contract: the contents of files, line by line or as one object.

Times are in seconds; null: not measured, or unknown. An object that is written as it is, and
read as it was written, is a TypedDict; a key that older versions did not write may be absent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from typing_extensions import TypedDict

SUCCESS = ("ok", "truncated_length")
State = Literal["measured", "failed", "missing", "stale", "refused"]
JsonObject = Mapping[str, object]
"""A JSON object whose keys are others' to choose: a config's fields, what an endpoint says of itself."""


class MeasuredFile(TypedDict):
    """A finished measurement (measured.json)."""

    spec: Mapping[str, Any]
    spec_digest: str
    raw_sha256: dict[str, str]
    measured_at: str
    restored_at: str | None


class HostFacts(TypedDict, total=False):
    """The machine that a measurement is valid for."""

    name: str
    system: str
    cpu: str
    cores: int | None
    memory_gib: float
    load_1min: float
    python: str


class Activity(TypedDict, total=False):
    """What else a host did while a measurement ran; shares are of all CPU time."""

    share_of_others: float | None
    steal_share: float | None
    waiting_share: dict[str, float] | None
    """Of the time, in which some task waited for a resource (pressure); records made before 2026-12 hold
    pressure_start and pressure_end instead, the averages of 10 s at both ends, in percent."""
    wall_s: float
    cores: int
    throttled: float | None
    """How often a processor was throttled, being too hot."""
    cgroup_throttled_s: float | None
    """For how long a limit of the control group kept it from running."""
    least_available_bytes: int | None
    why: str | None
    """What makes the share of others unknown, or known of only some sessions."""


class EnergyFacts(TypedDict):
    """What a card, a package or a node took while the load ran; gross: what it takes idle is part of it."""

    scope: str
    read: str
    """How: by its energy counter, or by samples of its power."""
    joules: float | None
    wall_s: float
    idle_before_w: float | None
    idle_after_w: float | None
    why: str | None


class ServerFacts(TypedDict, total=False):
    """What a server showed of itself while a round ran, warm-ups included; null: it does not show that."""

    most_running: float | None
    most_waiting: float | None
    most_kv_share: float | None
    preemptions: float | None
    prefix_hit_share: float | None
    """Of the prompt tokens that it looked up in its prefix cache."""
    prompt_tokens: float | None
    generated_tokens: float | None
    our_tokens: float | None
    """What we were sent meanwhile, by usage; null where an answer's tokens are not known."""
    our_cached_share: float | None
    """Of our prompts' tokens, those that usage says were cached; null where an answer does not say."""
    requests: float | None


class Surroundings(TypedDict, total=False):
    """What a recorder saw around a measurement (telemetry.jsonl), beside what else the host did."""

    energy: list[EnergyFacts]
    gpu_peak_bytes: int | None
    """The most memory in use on one card."""
    server: ServerFacts | None

    program_peak_bytes: int | None
    """The most memory that was resident of what the job started: the local server, or the trainer."""
    recorder_share: float | None
    """The recorder's own CPU time, as a share of one core."""


class ClientFacts(TypedDict, total=False):
    """The client's check on itself: how late and how busy it was, and whether it was the limit (null: too short)."""

    lag_p50_s: float | None
    lag_p99_s: float | None
    cpu_share: float | None
    late_sends: int
    limited: bool | None


class FloorFacts(TypedDict):
    """The health calls of a round: when each was sent (by the round's clock), and what it took."""

    url: str | None
    at_s: list[float]
    floor_s: list[float]
    failed: int


class LoadSpec(TypedDict, total=False):
    """What a round or a load test measures."""

    kind: str
    endpoint: JsonObject
    scenario: JsonObject
    prompts: str
    ends_when_busy: bool


class ImportedFrom(TypedDict, total=False):
    """Where another tool's requests come from, and what its file says of them beside."""

    file: str
    sha256: str
    format: str
    endpoint: str | None
    load: str
    concurrency: int | None
    rate_per_s: float | None
    summary: JsonObject
    notes: list[str]


class LoadRun(TypedDict, total=False):
    """What one round or load test has measured (run.json), beside its requests."""

    spec: LoadSpec
    imported: ImportedFrom
    """Alone, beside requests that another tool measured."""
    seed: int
    """Of a load test."""
    started_at: str
    ended_at: str
    sessions: int
    session_starts: list[str]
    resumed: bool
    request_example: JsonObject
    client: ClientFacts
    floor: FloorFacts | None
    host_activity: Activity | None
    endpoint: JsonObject
    jobs: JsonObject | None
    host: HostFacts
    cpu_share: float | None
    """Of the first version, which knew no `client`."""


class PromptSource(TypedDict, total=False):
    """The real source of the questions."""

    kind: str
    name: str
    revision: str


class PromptSetFacts(TypedDict, total=False):
    """What a prompt set holds (prompts/{set}.json)."""

    set: str
    spec: JsonObject
    source: PromptSource
    template: str
    select: str
    seed: int
    count: int
    passages: int
    articles: int
    digest: str
    digests: list[str]
    passages_digest: str


class FailureFile(TypedDict, total=False):
    """Why the last try of a round ended without a result (failure.json)."""

    spec_digest: str
    at: str
    text: str
    not_ready: bool
    workflow: str | None
    """Whose try it was: the process id of its workflow."""


class DatasetFacts(TypedDict, total=False):
    """What is known of the training data."""

    n_samples: int | None
    sequence_length: int | None
    why_unknown: str | None


Outcome = Literal["completed", "failed", "cancelled", "interrupted", "incomplete"]
JobKind = Literal["compile", "execute"]

Failure = TypedDict("Failure", {"class": str | None, "line_no": int, "text": str}, total=False)
"""The first failure in a log; the class is null where the log breaks off before it. Without a log, it is a text."""


@dataclass(frozen=True, slots=True)
class Step:
    """One progress line of a log; t_s counts from its first timestamp. A loss or a rate may be nan or infinite."""

    step: int
    t_s: float | None = None
    loss: float | None = None
    rate: float | None = None
    global_rate: float | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One evaluation on held-out data."""

    step: int | None
    t_s: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class Compile:
    """One compile, of a training or an evaluation; null for what its lines don't tell."""

    of: Literal["train", "eval"] | None = None
    cached: bool | None = None


@dataclass(frozen=True, slots=True)
class Wsjob:
    """One job of the Cerebras cluster."""

    id: str
    kind: JobKind | None


@dataclass(frozen=True, slots=True)
class Check:
    """A doubt about a log's figures, in words."""

    what: str
    text: str


@dataclass(frozen=True, slots=True)
class ParsedLog:
    """What a log says (summary.json). What it doesn't say is null, never 0; a loss or rate may be nan or infinite."""

    file: str = ""
    run_no: int = 1
    """Which of the file's runs it is, from 1."""
    runs_in_file: int = 1
    is_a_log: bool = True
    """Whether any line of the file reads like a training log's."""
    trainer: str | None = None
    """Whose log it is, if it isn't in ModelZoo's words."""
    started_at: str | None = None
    """The first timestamp, by the log's own clock."""
    parts: int = 1
    """How many processes wrote it, one after the other: more than one when a run was resumed."""
    resumed_from_steps: tuple[int, ...] = ()
    """The checkpoints that later parts resumed from; steps that were trained again are left out of `steps`."""
    between_parts_s: float = 0.0
    """The time between parts, in which nothing ran; it is in wall_s and under `other`."""
    outcome: Outcome = "incomplete"
    failure: Failure | None = None
    device: str | None = None
    wsjobs: tuple[Wsjob, ...] = ()
    first_step: int | None = None
    last_step: int | None = None
    max_steps: int | None = None
    """The step at which the log announced the training to end."""
    final_loss: float | None = None
    final_loss_mean: float | None = None
    rate_mean_samples_per_s: float | None = None
    rate_last_samples_per_s: float | None = None
    global_rate_samples_per_s: float | None = None
    steady_rate_samples_per_s: float | None = None
    processed_samples: int | None = None
    processed_seconds: float | None = None
    processed_covers: Literal["fit", "train_loop"] | None = None
    """What processed_seconds spans: the training loop (to 2.2); from 2.3 on everything. Both of the last part."""
    batch_size: int | None = None
    micro_batch: int | None = None
    sequence_length: int | None = None
    flops_utilization: float | None = None
    """The trainer's own figure, a fraction: of ModelZoo's model_dir, or the mean of what another trainer logs."""
    compile_cached: bool | None = None
    """Of all compiles; null where they differ."""
    compiles: tuple[Compile, ...] = ()
    phases_s: dict[str, float | None] = field(default_factory=dict)
    wall_s: float | None = None
    steps: tuple[Step, ...] = ()
    steps_thinned: bool = False
    held_out: tuple[HeldOut, ...] = ()
    checks: tuple[Check, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)


_NO_LOG = ParsedLog()


class WaferJob(TypedDict, total=False):
    """One wafer job of a model_dir (run_meta.json, which writes moments as text or as seconds)."""

    kind: JobKind
    id: object
    workflow_id: object
    start_time: object
    scheduled_time: object
    end_time: object
    execution_time_s: object
    software_versions: object
    queue_s: float | None


class TrainerFacts(TypedDict, total=False):
    """What a trainer left beside its log: the torch backend's of itself, ModelZoo's figures, or a log's own place."""

    not_honoured: list[str]
    versions: dict[str, str]
    device: str
    device_name: str
    processes: int
    nodes: int
    dtype: str
    initial_weights: str
    sharding: str
    activation_checkpointing: str
    compiled: bool
    memory_need_bytes: int
    memory_peak_bytes: int
    threads: int
    parameters: int
    sequence_length: int
    samples_per_epoch: int
    performance_file: str
    global_rate_samples_per_s: float
    rate_samples_per_s: float
    total_samples: float
    total_time_s: float
    flops_utilization: float
    sections_s: dict[str, float]
    jobs: list[WaferJob]
    queue_s: float
    log_file: str


def run_name(platform: str, batch: int, repeat: int, micro: int | None, length: int | None) -> str:
    """Return the name of a training run in lists."""
    axes = (f" micro batch {micro}" if micro else "") + (f" length {length}" if length else "")
    return f"{platform} batch {batch}{axes} repeat {repeat}"


@dataclass(frozen=True, slots=True)
class TrainRunRecord:
    """One planned training run: its parsed log, or why there is none (results/training/runs.jsonl)."""

    platform: str
    batch_size: int
    repeat: int
    state: State
    why: str | None
    measured_at: str | None = None
    restored_at: str | None = None
    seed: int | None = None
    log: ParsedLog | None = None
    host: HostFacts | None = None
    trainer: TrainerFacts | None = None
    model: JsonObject | None = None
    """trainer.init.model of the params file that was run."""
    micro_batch_size: int | None = None
    """As the config sets it; null leaves it to the base params file."""
    lr_factor: float | None = None
    """What the base file's learning rates were multiplied by; null for a log that was brought along."""
    schedule_factor: float | None = None
    """What the iteration counts of their schedule were multiplied by."""
    dataset: DatasetFacts | None = None
    busy: tuple[tuple[str, str], ...] = ()
    """From when to when it kept `host` busy; empty where another machine trained (a CS-3)."""
    host_activity: Activity | None = None
    surroundings: Surroundings | None = None
    initial_weights: str | None = None
    """How they were drawn; null for a log that was brought along."""
    length: int | None = None
    """The tokens of a sample, where they are an axis of the sweep."""

    @property
    def name(self) -> str:
        """The name of the run in lists."""
        return run_name(self.platform, self.batch_size, self.repeat, self.micro_batch_size, self.length)

    @property
    def logged(self) -> ParsedLog:
        """What its log says: nothing where there is none."""
        return self.log or _NO_LOG


@dataclass(frozen=True, slots=True)
class InferRoundRecord:
    """One planned round of one cell: how it was measured, or why it was not (results/inference/rounds.jsonl)."""

    endpoint: str
    cell: str
    round: int
    state: State
    why: str | None
    measured_at: str | None = None
    restored_at: str | None = None
    resumed: bool | None = None
    started_at: str | None = None
    client: ClientFacts | None = None
    facts: JsonObject | None = None
    host: HostFacts | None = None
    request_example: JsonObject | None = None
    scenario: JsonObject | None = None
    """The load's measured settings, those at their default left out."""
    floor_s: list[float] | None = None
    """Health calls, without credentials: what the network and the gateway take."""
    busy: tuple[tuple[str, str], ...] = ()
    """From when to when it kept `host` busy."""
    host_activity: Activity | None = None
    surroundings: Surroundings | None = None

    @property
    def name(self) -> str:
        """The name of the round in lists."""
        return f"{self.endpoint} {self.cell} round {self.round}"


@dataclass(frozen=True, slots=True)
class SearchLevel:
    """A concurrency or rate that was tried, and in how many of its rounds all objectives were met."""

    at: float
    rounds: int
    held: int
    requests: int
    missed: str | None
    """What the last round missed that missed any."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The 90 % interval of the highest level at which the objectives are met, and all levels that were tried."""

    axis: str
    """`concurrency` or `rate_per_s`."""
    objectives: str
    holds_at: float | None
    """The lower end; None: they are missed even at the lowest level."""
    fails_at: float | None
    """The upper end; None: they are met even at the highest level."""
    undecided: tuple[float, ...]
    """The levels in between: too many of their rounds disagree."""
    rounds: int
    requests: int
    levels: tuple[SearchLevel, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """A planned search at one endpoint, and what it found, or why there is nothing."""

    endpoint: str
    cell: str
    state: State
    why: str | None = None
    measured_at: str | None = None
    result: SearchResult | None = None

    @property
    def name(self) -> str:
        """The name of the search in lists."""
        return f"{self.endpoint} {self.cell}"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One attempt of one request (requests.jsonl).

    Success = ok + truncated_length; a request's class is that of its last attempt. Successes carry latencies and
    scores; `no_answer` carries latencies where usage counts its tokens (a whole generation), and never scores.
    """

    endpoint: str
    cell: str
    round: int
    key: str
    attempt: int
    last_attempt: bool
    session: int
    warm_up: bool
    article: str | None
    passage: str | None
    class_: str
    http_status: int | None
    error_text: str | None
    dequeued_unix_s: float | None
    sent_unix_s: float | None
    end_unix_s: float | None
    ttft_s: float | None
    ttfat_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    events: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None
    answer: str
    reasoning: str
    golds: list[str]
    exact_match: bool | None
    f1: float | None
    contains_gold: bool | None
    server_timings: JsonObject
    scheduled_unix_s: float | None = None
    """When it was due, in open loop."""
    event_times_s: Sequence[float] = field(default_factory=list)
    """Of each token event, from the moment the request was written."""
    connected_unix_s: float | None = None
    """When a connection was there to write to: at once where one was open."""
    first_byte_unix_s: float | None = None
    streaming: Literal["faithful", "batched", "none"] | None = None
    """How tokens were passed on; `batched`: TTFT, TTFAT, TPOT and event times are a gateway's; null: can't be told."""
    tokens_estimated: bool = False
    """Whether usage lacked `completion_tokens`: then one per event, or (unstreamed) one per four characters."""
    reasoning_tokens: int | None = None
    """Of the completion; null where they can't be told apart."""
    reasoning_tokens_estimated: bool = False
    """Whether they are the reasoning's share of the events."""
    server_s: float | None = None
    """The whole request by the server's own clock."""
    server_ttft_s: float | None = None
    overhead_s: float | None = None
    """The last byte's time less `server_s`: network, gateway and queue. (The server's time includes the end token,
    which E2E of a stream does not.)"""
    exact_match_folded: bool | None = None
    """As exact_match, f1: of the plain answer, typographic characters folded."""
    f1_folded: float | None = None
    note: str | None = None
    """A remark on an answer that counts."""
    cached_tokens: int | None = None
    """Of the prompt's tokens, those that a prefix cache held, as the server says."""
    tokens_rule: str | None = None
    """How completion_tokens was found: the counts of usage that it is, or `events` or `characters` (estimates)."""
    tokens_claimed: int | None = None
    """What usage claims, where the stream contradicts it; completion_tokens is an estimate then."""
    prefix_reused: bool | None = None
    """Whether a prompt with the same prefix had been answered, or begun to be, when it was sent; null: no prefix."""
    turn: int | None = None
    """Its number in its conversation, from 1; null: it was asked alone."""
    turns: int | None = None
    """How many turns were planned for its conversation; none is sent after one that failed."""
    output_tokens_asked: int | None = None
    """The tokens that its answer must have, by scenario or trace; null: not fixed, or recorded before 2026-12."""

    @property
    def is_success(self) -> bool:
        """Whether an answer came, whole or cut by its length."""
        return self.class_ in SUCCESS


def contradiction(claimed: int, events: int | None) -> str:
    """Say how a count of tokens contradicts its stream."""
    return f"{claimed:,} token{'s' * (claimed != 1)}, {events or 0:,} event{'s' * (events != 1)}"
