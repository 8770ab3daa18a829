"""One plan for a CS-3, for PBS and for an endpoint that has nothing wrong with it; then one thing at a time is planted.

Each is found, says what to do, and changes no other line's verdict.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import Config
from accelbench.errors import Finding
from accelbench.preflight import CHECKS, preflight
from accelbench.preflight.machine import check_noise
from tests.inference.endpoint_stand_in import StandIn

from .test_preflight import MYQUOTA, OVER, REPOSITORY, Usage, gateway, jwt, made, saying

HOT = {"running": [{"Models": "m", "Model Status": "running"}]}
LIMITS = {"models": [{"id": "m", "rate_limit_token_per_minute": 1_000_000}]}


@dataclass
class Site:
    """A machine and a config that fit; plants change them."""

    monkeypatch: pytest.MonkeyPatch
    config: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    accepted: str = ""
    pages: dict[str, Any] = field(default_factory=lambda: {"jobs": HOT, "limits": LIMITS})
    is_up: bool = True

    def __post_init__(self) -> None:
        self.token = self.accepted = jwt(48 * 3600)
        for program in ("qsub", "qstat", "qdel", "qselect"):
            made(Path("bin") / program)
        for program in ("cszoo", "csctl"):
            made(Path("venv/bin") / program)
        saying("myquota", MYQUOTA)
        Path("data").mkdir()
        text = (REPOSITORY / "config/models/llama2_7b.yaml").read_text()
        Path("model.yaml").write_text(
            text.replace("/software/datasets/llama_data_32K/test/", str(Path("data").absolute()))
        )
        self.monkeypatch.setenv("PATH", str(Path("bin").absolute()))  # this machine may have a scheduler of its own
        free = Usage(10**12, 0, 10**12)
        self.monkeypatch.setattr("shutil.disk_usage", lambda _: free)
        endpoint = {"model": "m", "token": {"env": "OWN_TOKEN"}, "shared": True, "requests_per_s": 5}
        self.config = {
            "training": {
                "run": ["cs3", "gpu"],
                "platforms": {
                    "cs3": {"backend": "cerebras", "venv": "venv", "job_time_sec": 600},
                    "gpu": {"backend": "torch", "device": "cuda", "own_node": True},
                },
                "model": "model.yaml",
                "batch_sizes": [8],
            },
            "cluster": {"account": "my-project"},
            "inference": {
                "run": ["one"],
                "scenarios_run": ["short"],
                "endpoints": {"one": endpoint},
                "scenarios": {"short": {"requests": 10, "rounds": 2}},
                "prompts": {"questions": {"source": "bundled"}},
            },
        }

    @property
    def endpoint(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["inference"]["endpoints"]["one"]
        return found

    @property
    def platform(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["training"]["platforms"]["cs3"]
        return found

    @property
    def scenario(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["inference"]["scenarios"]["short"]
        return found

    def wrong(self) -> list[Finding]:
        """Run all checks; return the lines that are not ok."""
        self.monkeypatch.setenv("OWN_TOKEN", self.token)
        with StandIn([], get=gateway(self.accepted, **self.pages)) as server:
            root = server.base_url
            self.endpoint.setdefault("base_url", root)
            self.endpoint["health_url"] = f"{root}/health"
            self.endpoint["cluster"] = {"jobs": f"{root}/jobs", "models": f"{root}/limits"}
            if not self.is_up:
                server.stop()
            return [finding for finding in preflight(Config.model_validate(self.config)) if finding.verdict != "ok"]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(
        "accelbench.preflight.CHECKS", [check for check in CHECKS if check is not check_noise]
    )  # ours vary
    yield Site(monkeypatch)


def test_a_plan_without_a_fault_has_no_line_that_is_not_ok(site: Site) -> None:
    assert site.wrong() == []


def _refused_key(site: Site) -> None:
    model = Path("model.yaml")
    model.write_text(model.read_text().replace("backend_type:", "num_csx: 2\n      backend_type:", 1))


def _full_disk(site: Site) -> None:
    site.monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 10**12, 10**7))


def _old_package(site: Site) -> None:
    site.monkeypatch.setattr("accelbench.preflight.machine.requires", lambda _: ["rich>=999"])


def _another_release(_: Site) -> None:
    meta = Path("venv/lib/python3.11/site-packages/cerebras_pytorch-2.5.0.dist-info/METADATA")
    meta.parent.mkdir(parents=True)
    meta.write_text("Metadata-Version: 2.1\nName: cerebras_pytorch\nVersion: 2.5.0\n")


def _useless_exception(site: Site) -> None:
    site.endpoint["base_url"] = "http://inference-api.alcf.invalid/v1"
    site.monkeypatch.setenv("no_proxy", "127.0.0.1,*.alcf.invalid")
    site.monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


def _open_loop(site: Site) -> None:
    site.endpoint["permission"] = "by those who run it, for this test"
    site.scenario.update(arrivals="poisson", rate_per_s=20)


PLANTED: dict[str, tuple[Callable[[Site], Any], list[str], str]] = {
    "a venv that is not there": (
        lambda _: shutil.rmtree("venv"), ["cs3: cszoo fails"], "Give the path of a virtual environment",
    ),
    "no cszoo in it": (lambda _: Path("venv/bin/cszoo").unlink(), ["cs3: cszoo fails"], "Set training.platforms.cs3"),
    "no csctl": (lambda _: Path("venv/bin/csctl").unlink(), ["cs3: cszoo warning"], "Set it to csctl's path"),
    "another release": (_another_release, ["cs3: release fails"], "Set training.platforms.cs3.release to 2.5.0"),
    "no qsub": (lambda _: Path("bin/qsub").unlink(), ["PBS fails"], "Start from a login node"),
    "no account": (
        lambda site: site.config["cluster"].update(account=None, filesystems="home"), ["PBS warning"], "sbank-list",
    ),
    "an old package": (_old_package, ["packages (local) fails"], "Run `pip install"),
    "a key that ModelZoo refuses": (
        _refused_key, ["cs3: params fails", "gpu: params fails"], "cluster_config.num_csx",
    ),
    "data that are not there": (
        lambda _: Path("data").rmdir(), ["cs3: data fails", "gpu: data fails"], "Prepare the data",
    ),
    "no end of a wafer job": (
        lambda site: site.platform.pop("job_time_sec"), ["cs3: job time warning"], "job_time_sec",
    ),
    "a full disk": (_full_disk, ["disk fails"], "Free some"),
    "an exceeded quota": (lambda _: saying("myquota", OVER), ["quota fails"], "Free some"),
    "no token": (lambda site: setattr(site, "token", ""), ["one: token fails"], "OWN_TOKEN is not set"),
    "no program that gives one": (
        lambda site: site.endpoint.update(token={"command": ["alcf-tokens"]}),
        ["one: token fails"],
        "alcf-tokens can't be found. Install it, or give its whole path",
    ),
    "a token that is refused": (lambda site: setattr(site, "token", "old"), ["one: token fails"], "fresh token into"),
    "a token that ends soon": (
        lambda site: setattr(site, "token", jwt(30)) or setattr(site, "accepted", site.token),
        ["one: token warning"],
        "fresh one into OWN_TOKEN",
    ),
    "an endpoint that is down": (lambda site: setattr(site, "is_up", False), ["one: up fails"], "Is it up"),
    "an endpoint that is loading": (lambda site: site.pages.update(health=503), ["one: up warning"], "A run waits"),
    "a model that is not served": (
        lambda site: site.pages.update(models={"data": [{"id": "another"}]}), ["one: model fails"], "one of: another",
    ),
    "a cold model": (
        lambda site: site.pages.update(jobs={"queued": [{"Models": "m"}]}), ["one: hot warning"], "A run waits",
    ),
    "more requests/s than it may be sent": (_open_loop, ["one: rate warning"], "Lower rate_per_s"),
    "nothing that bounds the requests/s": (
        lambda site: site.endpoint.pop("requests_per_s"), ["one: rate warning"], "Set inference.endpoints.one",
    ),
    "more tokens/min than it allows": (
        lambda site: site.pages.update(limits={"models": [{"id": "m", "rate_limit_token_per_minute": 10}]}),
        ["one: tokens/min warning"],
        "requests_per_s lower",
    ),
    "a context that is too long": (
        lambda site: site.scenario.update(context_tokens=5000), ["one: context fails"], "Lower context_tokens",
    ),
    "an exception in no_proxy that does nothing": (
        _useless_exception, ["one: model warning", "way to inference-api.alcf.invalid warning"], "Write .alcf.invalid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_alone_and_says_what_to_do(name: str, site: Site) -> None:
    plant, lines, advice = PLANTED[name]
    plant(site)
    wrong = site.wrong()
    assert sorted(f"{finding.what} {finding.verdict}" for finding in wrong) == lines
    assert any(advice in f"{finding.text} {finding.remedy}" for finding in wrong), wrong
    assert site.token == "" or site.token not in repr(wrong)
