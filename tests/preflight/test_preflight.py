"""Each planted problem is found, a good plan passes, and no secret is shown."""

import base64
import json
import os
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accelbench import cli
from accelbench.config import Config
from accelbench.errors import Finding
from accelbench.plan import specs
from accelbench.preflight import preflight, print_findings
from accelbench.preflight.endpoints import check_endpoints, check_proxies, left_s
from accelbench.preflight.inference import check_loads, check_prompts, check_servers, planned_loads
from accelbench.preflight.machine import check_disk, check_machine, check_tools
from accelbench.preflight.training import check_training
from accelbench.store import paths
from tests.inference.endpoint_stand_in import Script, Seen, StandIn, document, error

REPOSITORY = Path(__file__).parents[2]
SECRET = "canary-4c1d7e90aa"
Usage = namedtuple("Usage", "total used free")


def sweep(platform: dict[str, Any], **training: Any) -> Config:
    """A sweep whose data are here."""
    model = Path("model.yaml")
    text = (REPOSITORY / "config/models/llama2_7b.yaml").read_text()
    model.write_text(text.replace("/software/datasets/llama_data_32K/test/", training.pop("data_dir", str(Path.cwd()))))
    tree = {"run": ["p"], "platforms": {"p": platform}, "model": str(model), "batch_sizes": [8], **training}
    return Config.model_validate({"training": tree})


def wafer(**platform: Any) -> dict[str, Any]:
    for program in ("cszoo", "csctl"):
        made(Path("venv/bin") / program)
    return {"backend": "cerebras", "venv": "venv", "job_time_sec": 600, **platform}


def made(program: Path) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)


def asking(
    base_url: str = "http://127.0.0.1:9/v1", scenario: Any = None, source: Any = None, **endpoint: Any
) -> Config:
    there = {} if "server" in endpoint else {"base_url": base_url}
    inference = {
        "run": ["one"],
        "scenarios_run": ["short"],
        "endpoints": {"one": {**there, "model": "m", **endpoint}},
        "scenarios": {"short": scenario or {}},
        "prompts": {"questions": source or {"source": "bundled"}},
    }
    return Config.model_validate({"inference": inference})


def gateway(token: str | None = None, **pages: Any) -> Callable[[Seen], Script]:
    """Play a gateway: each page by its last word; 401 without the token."""

    def get(seen: Seen) -> Script:
        name = seen.target.partition("?")[0].rpartition("/")[2]
        if name == "health":
            return document({}, pages.get("health", 200))
        if token and seen.headers.get("authorization") != f"Bearer {token}":
            return error(401, f"no such token: {seen.headers.get('authorization')}")
        return document(pages.get(name, {"data": [{"id": "m", "max_model_len": 4096}]}))

    return get


def behind(server: StandIn, **more: Any) -> Config:
    root = server.base_url
    pages = {"jobs": f"{root}/jobs", "models": f"{root}/limits"}
    return asking(root, token={"env": "OWN_TOKEN"}, health_url=f"{root}/health", cluster=pages, **more)


def jwt(seconds: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).decode().rstrip("=")
    return f"e30.{claims}.{SECRET}"


def the(findings: Any, what: str) -> Finding:
    [found] = [finding for finding in findings if finding.what.endswith(what)]
    return found


def bad(findings: Any) -> list[str]:
    return [f"{finding.what} {finding.verdict}" for finding in findings if finding.verdict != "ok"]


# --- tools ------------------------------------------------------------------------------------------------------


def test_cszoo_and_csctl_that_are_there_are_found() -> None:
    assert bad(check_training(sweep(wafer(job_time_sec=60)))) == []


def test_a_missing_cszoo_fails_and_a_missing_csctl_is_said() -> None:
    config = sweep(wafer())
    Path("venv/bin/csctl").unlink()
    assert the(check_training(config), "cszoo").verdict == "warning"
    Path("venv/bin/cszoo").unlink()
    found = the(check_training(config), "cszoo")
    assert found.verdict == "fails" and "training.platforms.p.command: cszoo can't be found" in found.text


@pytest.mark.parametrize(
    ("installed", "verdict"), [("2.6.0", "ok"), ("2.6.0+38a1", "ok"), ("2.5.0", "fails"), ("2.6.01", "fails")]
)
def test_the_release_that_is_recorded_is_the_one_that_is_installed(installed: str, verdict: str) -> None:
    config = sweep(wafer())
    meta = Path(f"venv/lib/python3.11/site-packages/cerebras_pytorch-{installed}.dist-info/METADATA")
    meta.parent.mkdir(parents=True)
    meta.write_text(f"Metadata-Version: 2.1\nName: cerebras_pytorch\nVersion: {installed}\n")
    found = the(check_training(config), "release")
    assert found.verdict == verdict and installed in found.text


def on_nodes(**cluster: Any) -> Config:
    config = sweep({"backend": "torch", "device": "cuda", "own_node": True})
    return Config.model_validate({**config.model_dump(exclude_unset=True), "cluster": cluster})


def test_pbs_is_looked_for_where_the_config_is_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    assert bad(check_tools(on_nodes())) == ["Slurm warning"]
    assert the(check_tools(on_nodes(account="mine")), "PBS").verdict == "fails"
    for program in ("qsub", "qstat", "qdel", "qselect"):
        made(Path("bin") / program)
    assert the(check_tools(on_nodes(account="mine")), "PBS").verdict == "ok"
    assert "cluster.account" in the(check_tools(on_nodes(filesystems="home")), "PBS").text


def test_slurm_is_looked_for_where_the_config_is_not_for_pbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    for program in ("sbatch", "squeue", "scancel", "scontrol"):
        made(Path("bin") / program)
    assert "use --profile profiles/slurm" in the(check_tools(on_nodes()), "Slurm").text
    Path("bin/scontrol").unlink()
    assert "scontrol can't be found" in the(check_tools(on_nodes()), "Slurm").text
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert the(check_tools(on_nodes()), "Slurm").verdict == "ok"


@pytest.mark.parametrize(
    ("sacct", "said"),
    [
        (None, "sacct is not found"),
        ("echo Slurm accounting storage is disabled >&2; exit 1", "sacct says: Slurm accounting storage is disabled"),
        ("exit 0", None),
    ],
)
def test_a_slurm_without_accounting_is_said_with_the_options_for_it(
    sacct: str | None, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:/bin")
    for program in ("sbatch", "squeue", "scancel", "scontrol"):
        made(Path("bin") / program)
    if sacct:
        made(Path("bin/sacct"))
        Path("bin/sacct").write_text(f"#!/bin/sh\n{sacct}\n")
    else:
        monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    found = the(check_tools(on_nodes()), "Slurm")
    assert found.verdict == ("warning" if said else "ok")
    if said:
        assert said in found.text and "--slurm-status-command squeue" in found.remedy


def on_a_node(token: dict[str, Any], **cluster: Any) -> Config:
    far = {"server": {"kind": "command", "command": ["sh", "{port}"]}, "own_node": True, "model": "m", "token": token}
    tree = asking().model_dump(exclude_unset=True)
    tree["inference"] |= {"run": ["far"], "baseline": "far", "endpoints": {"far": far}}
    return Config.model_validate({**tree, "cluster": cluster})


def test_a_variable_does_not_reach_a_job_of_pbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_TOKEN", SECRET)
    found = the(check_servers(on_a_node({"env": "FAR_TOKEN"}, account="mine")), "token")
    assert found.verdict == "fails" and "inference.endpoints.far.token: a job on a node" in found.text
    assert "{command: [cat, /home/you/token]}" in found.text
    assert [each.what for each in check_servers(on_a_node({"env": "FAR_TOKEN"}))] == [
        "far: server"
    ]  # Slurm hands it on


@pytest.mark.parametrize(("mode", "verdict"), [(None, "fails"), (0o644, "warning"), (0o600, "ok")])
def test_the_file_that_a_job_takes_its_token_from_is_there_and_private(mode: int | None, verdict: str) -> None:
    if mode is not None:
        Path("token").touch(mode)
        Path("token").chmod(mode)
    found = the(check_servers(on_a_node({"command": ["cat", "token"]}, account="mine")), "token")
    assert found.verdict == verdict


def test_a_home_and_a_temporary_folder_that_take_nothing_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    config = asking()
    assert [finding.what for finding in check_disk(config)] == ["disk", "quota"]
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setenv("TMPDIR", "/nowhere")
    home, temporary = list(check_disk(config))[2:]
    assert home.text == "/dev/null/home can't hold caches (Not a directory)"
    assert temporary.text == "/nowhere can't hold temporary files (No such file or directory)"


def test_a_node_needs_no_qsub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    monkeypatch.setenv("PBS_JOBID", "12.server")
    assert the(check_tools(on_nodes(account="mine")), "PBS").verdict == "ok"


def test_missing_and_old_packages_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["no-such-package>=1", "rich>=999", "typer", 'h5py>=999; extra == "local"']
    monkeypatch.setattr("accelbench.preflight.machine.requires", lambda _: asked)
    found = the(check_machine(asking()), "packages (core)")
    assert found.verdict == "fails"
    assert "no-such-package>=1 is not installed" in found.text and "rich>=999 is required" in found.text
    assert "typer" not in found.text and "h5py" not in found.text


# --- training ---------------------------------------------------------------------------------------------------


def test_params_that_modelzoo_would_refuse_fail_once() -> None:
    config = sweep(wafer(), batch_sizes=[8, 16])
    model = Path("model.yaml")
    model.write_text(model.read_text().replace("backend_type:", "num_csx: 2\n      backend_type:", 1))
    found = the(check_training(config), "params")
    assert found.verdict == "fails" and "backend.num_csx does nothing" in found.text


def test_data_that_are_not_here_fail() -> None:
    found = list(check_training(sweep(wafer(), data_dir="/nowhere/at/all")))
    assert bad(found) == ["p: data fails"]
    assert "/nowhere/at/all isn't on this machine" in the(found, "data").text


def test_a_wafer_job_without_an_end_is_warned_of() -> None:
    assert "p: job time warning" in bad(check_training(sweep(wafer(job_time_sec=None))))
    assert "p: job time warning" in bad(check_training(sweep(wafer(job_time_sec=90_000))))


def test_logs_that_were_not_brought_along_fail() -> None:
    tree = {"run": ["p"], "platforms": {"p": {"backend": "log", "logs": "run_{batch}.log"}}, "batch_sizes": [8, 16]}
    Path("run_8.log").touch()
    found = the(check_training(Config.model_validate({"training": tree})), "logs")
    assert found.verdict == "fails" and found.text == "not there: run_16.log"


def test_a_batch_size_that_is_in_no_log_of_a_file_fails() -> None:
    tree = {"run": ["p"], "platforms": {"p": {"backend": "log", "logs": "notes.md"}}, "batch_sizes": [8, 16]}
    Path("notes.md").write_text(
        "".join(
            f"Effective batch size is {size}.\n| Train Device=CSX, Step={step}, Loss=7.5, Rate={size}.00 samples/sec\n"
            for size in (8, 32)
            for step in (1, 2)
        )
    )
    found = the(check_training(Config.model_validate({"training": tree})), "logs")
    assert found.verdict == "fails" and "run 1 of batch 16 is not among them" in found.text


def test_a_search_is_named_beside_the_plan() -> None:
    inference = {
        "run": ["one"],
        "endpoints": {"one": {"base_url": "http://h/v1", "model": "m"}},
        "scenarios": {"users": {"find_max": "success>0.9", "concurrency": 8, "requests": 10}},
        "scenarios_run": ["users"],
        "prompts": {"questions": {"source": "bundled"}},
    }
    found = the(check_loads(Config.model_validate({"inference": inference})), "one: users")
    assert "beside the plan, rounds of at least 10 requests" in found.text


def test_the_plan_of_a_sweep_is_counted() -> None:
    found = the(check_training(sweep(wafer(), batch_sizes=[8, 16], max_steps=10, repeats=2)), "plan")
    assert found.text == "4 runs: 40 steps, 480 samples; at most 0.667 h on the wafer, one after the other"


def test_checkpoints_that_do_not_fit_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 0, 100 * 10**9))
    assert the(check_disk(sweep(wafer())), "disk").verdict == "ok"
    assert the(check_disk(sweep(wafer(), checkpoint_steps=200)), "disk").verdict == "warning"  # one of about 80 GB
    assert the(check_disk(sweep(wafer(), checkpoint_steps=100)), "disk").verdict == "fails"


def saying(program: str, text: str, status: int = 0) -> None:
    """Put a program on the PATH that prints a text when it is called as the preflight calls it."""
    path = Path("bin") / program
    made(path)
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}'\nexit {status}\n")


MYQUOTA = "Name     Type  Filesystem  Used    Quota   Grace\nstudent  User  /home       44.1G   50.0G   -"
OVER = "Disk quotas for usr student (uid 7):\n/lus/eagle   51.2G*  50G  60G  6d  100  0  0  -"


def test_a_quota_is_shown_as_the_site_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    saying("myquota", MYQUOTA)
    found = the(check_disk(sweep(wafer())), "quota")
    assert (found.verdict, found.text) == ("ok", f"`myquota` says:\n{MYQUOTA}")


@pytest.mark.parametrize("program", ["quota", "lfs"])
def test_a_quota_that_is_exceeded_fails(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    saying(program, OVER, status=1)
    found = the(check_disk(sweep(wafer())), "quota")
    assert found.verdict == "fails" and "51.2G*" in found.text


def test_no_quota_that_is_known_is_a_warning_where_much_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    assert the(check_disk(sweep(wafer())), "quota").verdict == "ok"
    assert the(check_disk(sweep(wafer(), checkpoint_steps=200)), "quota").verdict == "warning"
    saying("lfs", "")  # not a Lustre folder: an error on stderr, and nothing else
    assert "no program here reports one" in the(check_disk(sweep(wafer())), "quota").text


def test_more_questions_than_there_are_are_missed_before_the_run() -> None:
    many = {"requests": 160, "rounds": 3}
    Path("dev.jsonl").write_text('{"question": "why?"}\n' * 100)
    for source, there in (
        ({"source": "bundled"}, "144"),
        ({"source": "path", "path": "dev.jsonl", "columns": {"context": None, "answers": None}}, "100"),
    ):
        found = the(check_prompts(asking(source=source, scenario=many)), "prompts")
        assert found.verdict == "fails"
        assert found.text == f"{there} questions are there, but the scenarios need 480 (rounds × requests)"
    assert "480 questions" in specs.out_of_reach(asking(scenario=many))[0]


def test_a_context_that_a_server_of_the_config_can_not_hold_is_missed_before_the_run() -> None:
    small = {"server": {"kind": "llama.cpp"}, "base_url": None}
    config = asking(scenario={"context_tokens": [700, 4000], "max_tokens": 128}, **small)
    [said] = [each.text for each in check_servers(config) if each.what == "context"]
    assert said == specs.out_of_reach(config)[0]
    assert said.startswith("inference.endpoints.one.server.context_tokens is 1,024, and short-in4000 asks for 4,000")
    assert specs.out_of_reach(asking(scenario={"context_tokens": 700, "max_tokens": 128}, **small)) == []


def test_prompts_that_were_made_of_something_else_are_not_taken_for_those_of_the_config() -> None:
    config = asking(source={"source": "path", "path": "dev.json"})
    facts = paths.prompt_facts("questions")
    facts.parent.mkdir(parents=True)
    facts.write_text(json.dumps({"spec": {"source": "bundled"}, "count": 99, "digests": ["0"] * 99}))
    assert the(check_prompts(config), "prompts").verdict == "fails"
    facts.write_text(json.dumps({"spec": specs.measured_fields(config.inference.prompts["questions"]), "count": 99}))
    assert "already made" in the(check_prompts(config), "prompts").text


# --- prompts, servers -------------------------------------------------------------------------------------------


def test_a_data_set_that_is_not_there_fails() -> None:
    assert the(check_prompts(asking(source={"source": "path", "path": "dev.json"})), "prompts").verdict == "fails"
    Path("dev.json").touch()
    assert the(check_prompts(asking(source={"source": "path", "path": "dev.json"})), "prompts").verdict == "fails"
    Path("q.csv").write_text("question,context,answers\n" + "why?,c,a\n" * 10)
    source = {"source": "path", "path": "q.csv", "columns": {"group": None}}
    assert the(check_prompts(asking(source=source)), "prompts").text == "q.csv, 10 questions"


def test_a_hub_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_DATASETS_CACHE", "cache")
    assert the(check_prompts(asking(source={"source": "hub"})), "prompts").verdict == "fails"
    assert the(check_prompts(asking(source={"source": "auto"})), "prompts").verdict == "warning"
    Path("cache/rajpurkar___squad").mkdir(parents=True)
    assert the(check_prompts(asking(source={"source": "hub"})), "prompts").verdict == "warning"


def test_servers_that_could_not_start_fail() -> None:
    command = {"kind": "command", "command": ["no-such-server", "{port}"]}
    assert "one: server fails" in bad(check_servers(asking(server=command)))
    assert bad(check_servers(asking(server=command, own_node=True))) == ["one: server warning"]
    assert "one: server fails" in bad(check_servers(asking(server={"kind": "llama.cpp"})))  # no weights named m


# --- endpoints --------------------------------------------------------------------------------------------------


def test_a_good_endpoint_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", jwt(48 * 3600))
    pages = {"jobs": {"running": [{"Models": "m", "Model Status": "running"}]}}
    with StandIn([], get=gateway(os.environ["OWN_TOKEN"], **pages)) as server:
        found = list(check_endpoints(behind(server)))
    assert bad(found) == []
    assert the(found, "token").text == "accepted; valid for 48 h"
    assert server.posts == []


def test_an_endpoint_that_does_not_answer_fails() -> None:
    assert bad(check_endpoints(asking())) == ["one: up fails"]


def test_an_endpoint_that_is_down_is_said_to_be_whatever_the_token() -> None:
    """What is wrong with the token is no reason of the connection's."""
    token = {"command": ["no-such-program"]}
    found = list(check_endpoints(asking(token=token, health_url="http://127.0.0.1:9/health")))
    assert bad(found) == ["one: token fails", "one: up fails"]
    assert "no-such-program" not in the(found, "up").text and "Connection refused" in the(found, "up").text


def test_a_token_that_is_missing_refused_or_old_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with StandIn([], get=gateway("another")) as server:
        missing = list(check_endpoints(behind(server)))
        monkeypatch.setenv("OWN_TOKEN", SECRET)
        refused = list(check_endpoints(behind(server)))
    assert bad(missing) == bad(refused) == ["one: token fails"]
    assert "OWN_TOKEN is not set" in the(missing, "token").text
    assert "refused (401). Put a fresh token into OWN_TOKEN" in the(refused, "token").text
    monkeypatch.setenv("OWN_TOKEN", jwt(-60))
    with StandIn([], get=gateway()) as server:
        assert "no longer valid" in the(check_endpoints(behind(server)), "token").text


def test_a_token_that_the_plan_outlasts_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", jwt(120))
    with StandIn([], get=gateway()) as server:
        found = the(check_endpoints(behind(server, scenario={"requests": 1000})), "token")
    assert found.verdict == "warning" and "valid for 2 min" in found.text


def test_a_model_that_is_not_served_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", SECRET)
    with StandIn([], get=gateway(models={"data": [{"id": "m-131072"}]})) as server:
        found = the(check_endpoints(behind(server)), "model")
    assert found.verdict == "fails" and found.remedy.endswith("to one of: m-131072.")


@pytest.mark.parametrize(
    ("jobs", "text"),
    [
        ({"queued": [{"Models": "m"}]}, "the model's job is queued"),
        ({"running": []}, "cold, or always on: the gateway lists no job for the model"),
    ],
)
def test_a_cold_model_is_warned_of(jobs: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", SECRET)
    with StandIn([], get=gateway(jobs=jobs)) as server:
        found = the(check_endpoints(behind(server)), "hot")
    assert (found.verdict, found.text) == ("warning", text)


def test_an_endpoint_that_is_loading_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", SECRET)
    with StandIn([], get=gateway(health=503)) as server:
        assert the(check_endpoints(behind(server)), "up").verdict == "warning"


def test_limits_are_held_against_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", SECRET)
    limits = {"models": [{"id": "m", "max_num_seqs": 4, "rate_limit_token_per_minute": 1000}]}
    many = {"concurrency": 8, "requests": 80, "max_tokens": 4000, "context_tokens": 1000}
    with StandIn([], get=gateway(limits=limits)) as server:
        found = bad(check_endpoints(behind(server, scenario=many)))
    assert "one: context fails" in found and "one: slots warning" in found and "one: tokens/min warning" in found


# --- the load, the way there ------------------------------------------------------------------------------------


def test_the_planned_load_counts_all_rounds_and_warm_ups() -> None:
    scenario = {"requests": 10, "rounds": 3, "warm_up": 2, "max_tokens": [50, 100], "concurrency": 5}
    plan = planned_loads(asking(scenario=scenario), "one")
    assert (plan.requests, plan.answer_tokens) == (72, 36 * 150)
    round_s = [2 * s + s + 2 * s for s in (1 + 50 / 50, 1 + 100 / 50)]  # two waves, the last one's end, two warm-ups
    assert plan.minutes == pytest.approx(3 * sum(round_s) / 60)


def test_a_plan_that_is_held_back_is_warned_of() -> None:
    fast = {"arrivals": "poisson", "rate_per_s": 20}
    assert bad(check_loads(asking(scenario=fast, requests_per_s=5))) == ["one: rate warning"]
    assert bad(check_loads(asking(shared=True))) == ["one: rate warning"]
    assert bad(check_loads(asking(shared=True, requests_per_s=5))) == []


@pytest.mark.parametrize(
    ("no_proxy", "verdict", "text"),
    [
        ("*.alcf.anl.gov", "warning", "no_proxy has *.alcf.anl.gov: Python's clients ignore a * there"),
        (".alcf.anl.gov", "ok", "no proxy"),
        ("*.example.org", "ok", "through the proxy proxy.alcf.anl.gov"),
    ],
)
def test_exceptions_that_do_nothing_are_warned_of(
    no_proxy: str, verdict: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://someone:{SECRET}@proxy.alcf.anl.gov:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    found = the(check_proxies(asking("https://inference-api.alcf.anl.gov/v1")), "inference-api.alcf.anl.gov")
    assert found.verdict == verdict and text in found.text
    assert SECRET not in repr(found)


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.e30.c", f"a.{'é' * 3}.c", "..", "a.W10.c"])
def test_a_token_that_says_nothing_has_no_end(token: str) -> None:
    assert left_s(token) is None


# --- all of it --------------------------------------------------------------------------------------------------


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def careless(seen: Seen) -> Script:
        said = seen.headers.get("authorization", "")
        return document({"data": [{"id": said}], "running": [{"Models": "m", "Model Status": said}]})

    for token in (SECRET, jwt(60), jwt(-60)):
        monkeypatch.setenv("OWN_TOKEN", token)
        with StandIn([], get=careless) as server:
            print_findings(preflight(behind(server)))
    shown = capsys.readouterr().out
    assert "is not served" in shown
    assert SECRET not in shown and "canary" not in shown


@pytest.mark.parametrize(
    "page",
    [
        b'{"data":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"data":[{"id":"m","max_model_len":' + b"9" * 400 + b',"rate_limit_token_per_minute":1e308}]}',
        json.dumps({"data": [{"id": "\x1b[2Jx\u202e"}]}).encode(),
    ],
    ids=["nested 300 deep", "counts that none can be", "control characters"],
)
def test_whatever_an_endpoint_lists_ends_in_lines_that_are_safe_to_print(
    page: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with StandIn([], get=lambda _: document(page)) as server:
        print_findings(list(check_endpoints(asking(server.base_url))))
    shown = capsys.readouterr().out
    assert "up" in shown and not {"\x1b", "\u202e"} & set(shown)


@pytest.mark.parametrize(("there", "status"), [(True, 0), (False, 1)])
def test_the_commands_exit_status_says_whether_something_fails(
    there: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("base.yaml").write_text("{training: {run: []}}")
    tree = {"run": ["p"], "platforms": {"p": {"backend": "log", "logs": "run_{batch}.log"}}, "batch_sizes": [8]}
    Path("mine.yaml").write_text(json.dumps({"training": tree}))
    if there:
        Path("run_8.log").touch()
    monkeypatch.setattr(sys, "argv", ["accelbench", "preflight", "--base", "base.yaml", "--config", "mine.yaml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == status
    shown = capsys.readouterr().out
    assert ("0 fail" in shown) == there and "Nothing was measured." in shown


@pytest.mark.parametrize(("bytes_each", "verdict"), [(1 << 20, "ok"), (1 << 40, "warning")])
def test_weights_of_kept_servers_fit_into_memory_together(bytes_each: int, verdict: str) -> None:
    server = {"kind": "transformers", "keep": "run"}
    tree = asking(server=server).model_dump(mode="json", exclude_unset=True)
    tree["inference"]["run"] = ["one", "other"]
    tree["inference"]["endpoints"]["other"] = {"model": "m", "server": server}
    assert not [each for each in check_servers(Config.model_validate(tree)) if each.what == "kept servers"]
    weights = Path(paths.WEIGHTS.format(model="m")) / "model.safetensors"
    weights.parent.mkdir(parents=True)
    with weights.open("wb") as file:
        file.truncate(bytes_each)  # a sparse file
    found = the(check_servers(Config.model_validate(tree)), "kept servers")
    assert found.verdict == verdict and "GiB of weights" in found.text
