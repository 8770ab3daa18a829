"""`accelbench why`: candidates with an effect, without one, and undecided; what it plans, and how often it is wrong."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from accelbench.analysis.intervals import Comparison, Observations, compare_paired
from accelbench.analysis.verdicts import ALPHA
from accelbench.cli import app
from accelbench.compare import why as reasons_why
from accelbench.compare.reasons.case import Candidate, Case, Experiment, Known
from accelbench.compare.why import Judgement, Why, why
from accelbench.config import Config
from accelbench.config.configfile import load_config, write_merged
from accelbench.plan import specs
from accelbench.report.summary import summarise, write_summary
from accelbench.store import paths
from accelbench.store.records import InferRoundRecord, RequestRecord, ServerFacts, Surroundings, TrainRunRecord
from accelbench.store.requests import writing_requests

from ..analysis.records import log_of, request
from ..analysis.simulated import drawn_logs, nested

RESULTS = Path(paths.RESULTS)
LOAD: dict[str, Any] = {"requests": 8, "rounds": 6, "max_tokens": 48}
SERVERS: dict[str, Any] = {name: {"base_url": f"http://{name}/v1", "model": "m"} for name in "ab"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Planted:
    """What one endpoint does under one load."""

    fixed_s: float = 0.2
    s_per_prompt_token: float = 0.001
    tpot_s: float = 0.01
    tokens: int = 20
    prompt_tokens: int = 200
    noise: float = 0.01
    warm_up_s: float | None = None
    streamed: bool = True
    round: dict[str, Any] | None = None
    """What its rounds record beside."""


Behaviour = Callable[[str, str], Planted]
"""From the endpoint and the load to what it does."""


def explained(behaves: Behaviour, loads: dict[str, Any] | None = None, **inference: Any) -> Why:
    """Leave a workflow's results on such endpoints, and explain them."""
    loads = loads or {"load": LOAD}
    config = Config.model_validate(
        {
            "inference": {
                "run": list(inference.get("endpoints", SERVERS)),
                "endpoints": SERVERS,
                "scenarios_run": list(loads),
                "scenarios": loads,
                "prompts": {"questions": {"source": "bundled"}},
                **inference,
            }
        }
    )
    rounds, requests = [], []
    for item in specs.infer_rounds(config):
        planted = behaves(item.endpoint, item.cell)
        scenario = specs.measured_fields(specs.scenario_of(config, item.cell))
        told = {"facts": {"base_url": f"http://{item.endpoint}/v1"}, "floor_s": [0.001], **(planted.round or {})}
        record = InferRoundRecord(item.endpoint, item.cell, item.round, "measured", None, host={"name": "box"})
        rounds.append(replace(record, scenario=scenario, **told))
        requests += asked(item, planted, specs.scenario_of(config, item.cell).requests)
    left(config, rounds, requests)
    return why(RESULTS)


def asked(item: specs.InferRound, planted: Planted, count: int) -> Iterator[RequestRecord]:
    """Yield the requests of a round; those of the two endpoints take turns, and their times vary without a pattern."""
    for place in range(count):
        seed = 97 * item.round + 13 * place + 31 * len(item.cell) + 7 * ord(item.endpoint[-1])
        vary = math.exp(planted.noise * math.sin(12.9898 * seed))
        ttft_s = (planted.fixed_s + planted.s_per_prompt_token * planted.prompt_tokens) * vary
        e2e_s = ttft_s + planted.tpot_s * planted.tokens * vary
        sent = 1e9 + 1000 * item.round + 20 * place + (ord(item.endpoint[-1]) % 7)
        yield request(
            endpoint=item.endpoint,
            cell=item.cell,
            round=item.round,
            key=f"r{item.round}p{place}",
            passage=f"P{item.round}.{place}",
            sent_unix_s=sent,
            end_unix_s=sent + e2e_s,
            ttft_s=ttft_s if planted.streamed else None,
            ttfat_s=None,
            tpot_s=planted.tpot_s * vary if planted.streamed else None,
            e2e_s=e2e_s,
            completion_tokens=planted.tokens,
            prompt_tokens=planted.prompt_tokens,
            streaming="faithful" if planted.streamed else "none",
        )
    if planted.warm_up_s and item.round == 1:
        yield request(endpoint=item.endpoint, cell=item.cell, key="w", warm_up=True, e2e_s=planted.warm_up_s)


def left(
    config: Config,
    rounds: list[InferRoundRecord] | None = None,
    requests: list[RequestRecord] | None = None,
    runs: list[TrainRunRecord] | None = None,
) -> None:
    """Leave what analysing leaves."""
    with writing_requests(Path(paths.REQUESTS)) as keep:
        keep(requests or [])
    write_summary(RESULTS / "analysis.json", summarise(config, runs or [], rounds or []))
    write_merged(config, Path(paths.RUN_CONFIG))


def answers(found: Why, about: str = "load") -> dict[str, Judgement]:
    [own] = [each.judgements for each in found.explanations if each.difference.startswith(f"{about}: ")]
    return {answer.candidate: answer for answer in own}


def slower(**changes: Any) -> Behaviour:
    """Return what makes endpoint b differ from a under every load."""
    return lambda endpoint, _: replace(Planted(), **changes) if endpoint == "b" else Planted()


def test_sides_that_do_not_differ_need_no_reason() -> None:
    assert explained(lambda endpoint, _: Planted()).explanations == []


NETWORK, BATCHING = "the network, a proxy or a gateway", "requests share the hardware (batching)"


@pytest.mark.parametrize(
    ("behaves", "findings"),
    [
        (slower(tokens=60), {"longer answers": "supported"}),
        (slower(tpot_s=0.03), {"slower decoding": "supported", "slower prefill": "ruled out"}),
        (slower(s_per_prompt_token=0.003), {"slower prefill": "open", "slower decoding": "ruled out"}),
        (
            slower(fixed_s=0.6),
            {
                "longer answers": "ruled out",
                "a prefix cache": "ruled out",
                NETWORK: "ruled out",
                BATCHING: "ruled out",
                "precision": "open",
            },
        ),
        (slower(fixed_s=0.6, streamed=False), {"longer answers": "ruled out", "slower decoding": "open"}),
        (slower(fixed_s=0.6, tpot_s=0.012, noise=1.2), {"slower decoding": "open"}),
        (slower(fixed_s=0.6, round={"floor_s": [0.4]}), {NETWORK: "supported"}),
        (slower(fixed_s=0.6, round={"floor_s": []}), {NETWORK: "open"}),
    ],
)
def test_what_is_recorded_may_settle_a_candidate(behaves: Behaviour, findings: dict[str, str]) -> None:
    found = answers(explained(behaves))
    assert {name: found[name].finding for name in findings} == findings
    assert all(answer.factor for answer in found.values() if answer.finding == "supported")


def test_phases_that_point_in_opposite_ways_are_both_named_though_the_whole_is_a_tie() -> None:
    found = answers(explained(slower(fixed_s=0.0, tpot_s=0.02)))
    decode = found["slower decoding"]
    assert decode.finding == "supported" and decode.factor and decode.factor.value > 1.3
    assert found["longer answers"].finding == "ruled out"


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"s_per_prompt_token": 0.004}, "supported"),
        ({"fixed_s": 0.8}, "ruled out"),
        ({"fixed_s": 0.8, "s_per_prompt_token": 0.0011, "noise": 0.2}, "open"),
    ],
)
def test_longer_prompts_tell_prefill_from_a_fixed_cost(changes: dict[str, Any], finding: str) -> None:
    def behaves(endpoint: str, cell: str) -> Planted:
        own = slower(**changes)(endpoint, cell)
        noise = 3 * own.noise
        return replace(own, prompt_tokens=800, tokens=10, noise=noise) if cell == "long" else own

    loads = {"load": LOAD, "long": {**LOAD, "context_tokens": 800, "max_tokens": 16}}
    assert answers(explained(behaves, loads))["slower prefill"].finding == finding


@pytest.mark.parametrize(
    ("changes", "finding"), [({"s_per_prompt_token": 0.004}, "supported"), ({"fixed_s": 0.8}, "ruled out")]
)
def test_a_machine_that_is_slower_by_then_changes_nothing_about_prefill(changes: dict[str, Any], finding: str) -> None:
    def behaves(endpoint: str, cell: str) -> Planted:
        own = slower(**changes)(endpoint, cell)
        if cell == "load":
            return own
        times = {"fixed_s": 3 * own.fixed_s, "s_per_prompt_token": 3 * own.s_per_prompt_token}
        return replace(own, **times, prompt_tokens=800 if cell == "long" else 200)

    short = {**LOAD, "context_tokens": 200, "max_tokens": 16}
    loads = {"load": LOAD, "short": short, "long": {**short, "context_tokens": 800}}
    assert answers(explained(behaves, loads))["slower prefill"].finding == finding


CONTENDED: dict[str, Any] = {**LOAD, "concurrency": 4, "nonce": False}
CONTROLS: dict[str, dict[str, Any]] = {
    "a prefix cache": {**LOAD, "concurrency": 4},
    BATCHING: {**LOAD, "nonce": False},
    "a cold first call": {**CONTENDED, "warm_up": 9},
    "longer answers": {"requests": 8, "rounds": 6, "concurrency": 4, "nonce": False, "output_tokens": 20},
}


def controlled(slow: Callable[[str], bool], noise: float = 0.01, **told: Any) -> dict[str, Judgement]:
    """Explain a load beside all of its controls; endpoint b takes longer under those that are `slow`."""
    names = {f"why-control-{number}": candidate for number, candidate in enumerate(CONTROLS)}
    loads = {"load": CONTENDED, **{name: CONTROLS[candidate] for name, candidate in names.items()}}

    def behaves(endpoint: str, cell: str) -> Planted:
        is_slow = endpoint == "b" and slow(names.get(cell, cell))
        return Planted(fixed_s=0.9 if is_slow else 0.2, noise=noise, round=told)

    found = explained(behaves, loads)
    assert len(found.explanations) == 1  # what serves as a control alone is not explained itself
    return answers(found)


@pytest.mark.parametrize("candidate", CONTROLS)
def test_a_control_under_which_the_difference_is_gone_supports_its_candidate_alone(candidate: str) -> None:
    found = controlled(lambda load: load != candidate)
    expected = {each: "supported" if each == candidate else "ruled out" for each in CONTROLS}
    assert {each: found[each].finding for each in CONTROLS} == expected


def test_controls_that_vary_too_much_leave_their_candidates_open_and_more_rounds_are_planned() -> None:
    found = controlled(lambda _: True, noise=0.9)
    assert {found[each].finding for each in CONTROLS} == {"open"}
    assert found["a prefix cache"].experiments == ["more rounds of load and why-control-0"]
    assert all(found[each].experiments[0].startswith("more rounds of load and ") for each in CONTROLS)


def test_answers_that_keep_no_length_are_no_control() -> None:
    def behaves(endpoint: str, cell: str) -> Planted:
        return Planted(tokens=40 if endpoint == "b" else 20, tpot_s=0.05)

    loads = {"load": LOAD, "control": {**LOAD, "max_tokens": 512, "output_tokens": 20}}
    del loads["control"]["max_tokens"]
    answer = answers(explained(behaves, loads))["longer answers"]
    assert answer.finding == "supported" and "in control, too, they differ" in answer.evidence


IDLE = ServerFacts(most_waiting=0, preemptions=0, most_kv_share=0.2)
QUEUE = "a queue, preemption or a full cache in the server"


@pytest.mark.parametrize(
    ("shown", "finding"), [(IDLE, "ruled out"), ({**IDLE, "most_waiting": 5}, "supported"), (None, "open")]
)
def test_a_queue_is_decided_by_the_servers_counters_and_a_control(shown: ServerFacts | None, finding: str) -> None:
    told = {"surroundings": Surroundings(server=shown)} if shown else {}
    assert controlled(lambda load: load != BATCHING, **told)[QUEUE].finding == finding


def test_on_a_server_of_its_own_one_request_at_a_time_has_no_queue() -> None:
    servers = {name: {"server": {"kind": "llama.cpp"}, "model": "m"} for name in "ab"}
    assert answers(explained(slower(fixed_s=0.6), endpoints=servers))[QUEUE].finding == "ruled out"


def test_a_first_call_that_was_not_slow_rules_out_a_cold_start() -> None:
    def behaves(endpoint: str, cell: str) -> Planted:
        return Planted(fixed_s=0.6 if endpoint == "b" else 0.2, warm_up_s=0.5)

    assert answers(explained(behaves))["a cold first call"].finding == "ruled out"


TRANSFORMERS: dict[str, Any] = {
    "a": {"server": {"kind": "llama.cpp"}, "model": "m"},
    "b": {"server": {"kind": "transformers"}, "model": "m"},
}


def served(endpoint: str, dtype: str, fixed_s: float) -> Planted:
    precision = {"a": "Q4_1", "b": "bfloat16"}.get(endpoint, dtype)
    return Planted(fixed_s=fixed_s, round={"facts": {"precision": precision}})


@pytest.mark.parametrize(("twins_s", "finding"), [(1.2, "supported"), (0.6, "ruled out")])
def test_the_same_server_in_another_precision_tells_what_it_matters(twins_s: float, finding: str) -> None:
    twin = {"server": {"kind": "transformers", "dtype": "float32"}, "model": "m"}
    times = {"a": 0.2, "b": 0.6}
    found = explained(
        lambda endpoint, _: served(endpoint, "float32", times.get(endpoint, twins_s)),
        endpoints={**TRANSFORMERS, "why-float32-b": twin},
    )
    assert [each.difference.partition(":")[0] for each in found.explanations] == ["load"]
    assert answers(found)["precision"].finding == finding


def test_one_precision_on_both_sides_is_no_reason() -> None:
    found = explained(slower(fixed_s=0.6, round={"facts": {"precision": "Q4_1"}}))
    assert answers(found)["precision"].finding == "open"

    def behaves(endpoint: str, cell: str) -> Planted:
        return replace(slower(fixed_s=0.6)(endpoint, cell), round={"facts": {"precision": "Q4_1"}})

    assert answers(explained(behaves))["precision"].finding == "ruled out"


def test_a_candidate_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def more(case: Case) -> Iterator[Experiment]:
        scenario = {**LOAD, "max_tokens": 8}
        yield Experiment("why-toy", {"inference": {"scenarios_run": ["why-toy"], "scenarios": {"why-toy": scenario}}})

    toy = Candidate("a toy", "toys differ", lambda case: Known(f"{case.ours.name} has toys"), more)
    monkeypatch.setattr(reasons_why, "OF_ENDPOINTS", (*reasons_why.OF_ENDPOINTS, toy))
    found = explained(slower(fixed_s=0.6))
    answer = answers(found)["a toy"]
    assert (answer.finding, answer.evidence) == ("open", "b has toys; if so, toys differ")
    assert "why-toy" in specs.cells(planned(found))


# --- what is planned ----------------------------------------------------------------------------------------


def planned(found: Why) -> Config:
    Path("why.yaml").write_text(yaml.safe_dump(dict(found.overlay)))
    return load_config(paths.default_config(), [Path(paths.RUN_CONFIG), Path("why.yaml")])


def test_what_is_open_is_planned_over_the_config_that_ran() -> None:
    loads = {"load": {**LOAD, "concurrency": 4, "nonce": False}}
    found = explained(slower(s_per_prompt_token=0.003), loads, endpoints=TRANSFORMERS)
    config = planned(found)
    assert config.inference.run == ["a", "b", "why-float32-b"]
    cells = specs.cells(config)
    assert {"load", "why-alone-load", "why-unique-load", "why-warm-load", "why-prefill-load"} <= set(cells)
    assert cells["why-alone-load"].load.concurrency == 1
    assert cells["why-unique-load"].load.nonce
    assert 300 <= (cells["why-prefill-load"].context_tokens or 0) <= 800
    assert cells["why-prefill-load"].max_tokens == 16
    known = {effort.name: effort for effort in found.efforts}
    assert known["why-alone-load"].requests == 2 * 6 * 9 and known["why-alone-load"].minutes is None
    assert set(known) == {name for e in found.explanations for a in e.judgements for name in a.experiments}


def test_minutes_are_those_of_like_measurements_before() -> None:
    run = '{"spec": {"kind": "infer", "endpoint": {"name": "%s"}, "cell": "load"}, "wall_s": 60, '
    run += '"started_at": "2026-11-28T01:00:00+00:00", "ended_at": "2026-11-28T01:01:00+00:00"}'
    for name in "ab":
        (paths.ARCHIVE / name).mkdir(parents=True)
        (paths.ARCHIVE / name / "run.json").write_text(run % name)
    found = explained(slower(fixed_s=0.6), {"load": {**LOAD, "concurrency": 2}}, endpoints=TRANSFORMERS)
    minutes = {effort.name: effort.minutes for effort in found.efforts}
    assert minutes["why-alone-load"] == pytest.approx(24) and minutes["why-warm-load"] == pytest.approx(12)
    assert minutes["why-float32-b"] == pytest.approx(6 * (1 + 1 + 2 + 4), rel=0.2)  # under all loads
    assert list(minutes.values()) == sorted(minutes.values(), key=lambda each: each or 0.0)


def test_what_a_shared_endpoint_may_not_be_asked_is_not_planned() -> None:
    shared = {name: {**SERVERS[name], "shared": True} for name in "ab"}
    found = explained(slower(fixed_s=0.6), {"load": {**LOAD, "max_tokens": 6000}}, endpoints=shared)
    assert "why-warm-load" not in {effort.name for effort in found.efforts}
    assert (
        found.notes
        and "why-warm-load can't be planned: endpoints.a.shared " in found.notes[0]
        and "others use it too" in found.notes[0]
    )


def test_the_command_prints_the_reasons_and_how_to_measure_what_is_open() -> None:
    explained(slower(s_per_prompt_token=0.003))
    done = CliRunner().invoke(app, ["why"])
    assert done.exit_code == 0, done.output
    assert "  ruled out  a prefix cache: every prompt begins with a random prefix\n" in done.output
    assert "    snakemake --cores 4 --configfile results/run_config.yaml why.yaml\n" in done.output
    again = load_config(paths.default_config(), [Path(paths.RUN_CONFIG), Path("why.yaml")])
    assert len(specs.infer_rounds(again)) > 12
    assert '"finding": "ruled out"' in CliRunner().invoke(app, ["why", "--json"]).output


def test_what_the_last_config_no_longer_has_is_not_explained() -> None:
    assert explained(slower(fixed_s=0.6)).explanations
    write_merged(Config(), Path(paths.RUN_CONFIG))
    assert why(RESULTS).explanations == []


def test_without_results_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["why", "nowhere"])
    assert done.exit_code == 1 and "is not there" in str(done.exception)


# --- training -----------------------------------------------------------------------------------------------


def trained(batch: int, seconds: dict[str, float], micro: int | None = None, **given: Any) -> list[TrainRunRecord]:
    """Return four runs of 100 samples; their phases vary by 1 %."""
    runs = []
    for repeat in range(1, 5):
        vary = math.exp(0.01 * math.sin(12.9898 * (repeat + batch)))
        phases = {name: lasts_s * vary for name, lasts_s in seconds.items()}
        log = {"outcome": "completed", "phases_s": phases, "processed_samples": 100, "micro_batch": micro}
        log |= {"steady_rate_samples_per_s": 100 / phases["train"], "wall_s": sum(phases.values())}
        run = TrainRunRecord("cpu", batch, repeat, "measured", None, log=log_of(log))
        runs.append(replace(run, **given))
    return runs


def of_training(runs: list[TrainRunRecord], **training: Any) -> Why:
    Path("model.yaml").write_text("trainer: {init: {}, fit: {train_dataloader: {batch_size: 1}}}")
    tree = {"run": ["cpu"], "platforms": {"cpu": {"backend": "torch"}}, "model": "model.yaml", "batch_sizes": [4, 8]}
    left(Config.model_validate({"training": {**tree, **training}}), runs=runs)
    return why(RESULTS)


FAST = {"train": 10.0, "setup": 1.0}


STEPS, LOADING = "the training steps themselves", "data loading"


@pytest.mark.parametrize(
    ("seconds", "findings"),
    [
        (
            {"train": 20.0, "setup": 1.0},
            {
                STEPS: "supported",
                "start-up": "ruled out",
                "compilation": "ruled out",
                "checkpoints": "ruled out",
                "torch.compile": "ruled out",
                LOADING: "open",
            },
        ),
        ({"train": 10.0, "setup": 9.0}, {STEPS: "ruled out", "start-up": "supported"}),
        ({"train": 10.0, "setup": 1.0, "compile": 9.0}, {"compilation": "supported", "start-up": "ruled out"}),
        ({"train": 10.0, "setup": 1.0, "checkpoint": 9.0}, {"checkpoints": "supported", STEPS: "ruled out"}),
    ],
)
def test_phases_make_up_the_difference_between_batch_sizes(seconds: dict[str, float], findings: dict[str, str]) -> None:
    found = answers(of_training([*trained(4, FAST, 1), *trained(8, seconds, 1)]), "cpu, batch 8 against cpu, batch 4")
    assert {name: found[name].finding for name in findings} == findings


@pytest.mark.parametrize(
    ("micros", "control_s", "finding"),
    [
        ((4, 4), None, "ruled out"),
        ((4, 8), None, "open"),
        ((8, 4), None, "open"),
        ((4, 8), 10.0, "supported"),
        ((4, 8), 20.0, "ruled out"),
    ],
)
def test_one_micro_batch_tells_the_batch_size_from_the_micro_batch(
    micros: tuple[int, int], control_s: float | None, finding: str
) -> None:
    runs = [*trained(4, FAST, micros[0], micro_batch_size=micros[0] if control_s else None)]
    runs += trained(8, {"train": 20.0, "setup": 1.0}, micros[1], micro_batch_size=micros[1] if control_s else None)
    runs += trained(8, {"train": control_s, "setup": 1.0}, 4, micro_batch_size=4) if control_s else []
    axis = {"micro_batch_sizes": [4, 8]} if control_s else {}
    found = of_training(runs, **axis)
    [own] = found.explanations
    answer = {a.candidate: a for a in own.judgements}["the micro batch"]
    assert answer.finding == finding, own
    if answer.experiments:
        assert planned(found).training.micro_batch_sizes == [4, 8]


def test_a_twin_tells_what_compiling_changes() -> None:
    platforms = {"cpu": {"backend": "torch"}, "other": {"backend": "torch", "compile": True}}
    runs = [*trained(4, {"train": 20.0, "setup": 1.0}, 1), *trained(4, FAST, 1, platform="other")]
    found = of_training(runs, run=["cpu", "other"], platforms=platforms, batch_sizes=[4])
    answer = answers(found, "cpu, batch 4 against other, batch 4")["torch.compile"]
    assert (answer.finding, answer.experiments) == ("open", ["why-compile-cpu"])
    config = planned(found)
    assert config.training.run == ["cpu", "other", "why-compile-cpu"]
    runs += trained(4, FAST, 1, platform="why-compile-cpu")
    again = of_training(runs, run=config.training.run, platforms=platforms | {"why-compile-cpu": platforms["other"]})
    assert answers(again, "cpu, batch 4 against other, batch 4")["torch.compile"].finding == "supported"


# --- how often it is wrong ----------------------------------------------------------------------------------

SESSIONS, CANDIDATES, BOUND = 200, 6, 0.09  # 5 %, and what 200 sessions vary by


def test_a_candidate_without_an_effect_is_seldom_supported() -> None:
    """One endpoint takes twice as long under the load and under each control: all controls judged as one family."""
    draw = np.random.default_rng(22)
    asked = nested(8, 6)
    passages, rounds = [p for p, _ in asked], [r for _, r in asked]

    def ratio() -> Comparison:
        ours, theirs = (
            Observations(np.exp(drawn_logs(draw, asked, 0.2, 0.1, 0.1) + shift), passages, rounds)
            for shift in (math.log(2), 0)
        )
        found = compare_paired(ours, theirs, "ratio")
        assert found
        return found

    wrong = 0
    for _ in range(SESSIONS):
        now = ratio()
        effects = [Known("", now.minus(ratio())) for _ in range(CANDIDATES)]
        findings = [each.finding(abs(now.centre), 1 - ALPHA / CANDIDATES) for each in effects]
        wrong += "supported" in findings
    assert wrong / SESSIONS <= BOUND
