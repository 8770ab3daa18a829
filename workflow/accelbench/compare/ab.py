"""Two endpoints measured in turn and compared: `accelbench ab`, and `accelbench gate` with two URLs."""

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from accelbench.config import Config, Endpoint, PromptSet, Scenario, SecretSource
from accelbench.config.configfile import read_endpoint
from accelbench.errors import UserError
from accelbench.inference.endpoints.credentials import Credentials
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.endpoints.served_model import first_of, served_ids
from accelbench.load.loadtest import CELL, measure_rounds, option_of

if TYPE_CHECKING:
    from accelbench.compare.endpoints import Compared  # heavy: not before the first request

_YAML = (".yaml", ".yml")
_WAITS = {"ready_timeout_s": 5.0, "busy_wait_s": 10.0}  # as in `load`: someone is looking on
_OPTIONS = ("model", "token", "env")  # of each side; all else is a .yaml file's
_ENDPOINT_KEY = re.compile(r"inference\.endpoints\.([^.]+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the two as the command line names it: a URL, or a YAML file with an endpoint's keys."""

    given: str
    model: str | None = None
    token_env: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file."""
        return Path(self.given).suffix in _YAML

    def endpoint(self, name: str) -> Endpoint:
        """Return the endpoint. Raises UserError where it can't be one."""
        if self.is_file:
            return read_endpoint(Path(self.given), name)
        asked = {
            "base_url": self.given,
            "model": self.model or "asked for below",
            "token": SecretSource(env=self.token_env) if self.token_env else None,
            **_WAITS,
        }
        try:
            endpoint = Endpoint.model_validate(asked)
        except ValidationError as error:
            raise UserError(
                f"{name}: {self.given}: {error.errors()[0]['msg']}. Give a URL up to /v1, or a .yaml file."
            ) from None
        return endpoint if self.model else endpoint.model_copy(update={"model": _only_model(name, endpoint)})


def _only_model(name: str, endpoint: Endpoint) -> str:
    """Return the model that an endpoint serves, if it is one."""
    page = get_page(f"{endpoint.base_url}/models", Credentials(name, endpoint))
    served = served_ids(page.document)
    if len(served) == 1:
        return served[0]
    lists = f"serves {first_of(served)}" if served else f"does not list its models ({page.text})"
    raise UserError(f"{name}: {endpoint.base_url} {lists}. Name the model with --{name}-model.")


def is_measured(*given: str) -> bool:
    """Tell whether sides are records, and not endpoints to be measured. Raises UserError for a mixture."""
    endpoints = [each for each in given if "://" in each or Path(each).suffix in _YAML]
    if endpoints and len(endpoints) < len(given):
        raise UserError(f"{endpoints[0]} is an endpoint, and the other is not; measure both in turn, or neither.")
    return not endpoints


def measure_in_turn(
    contenders: Mapping[str, Contender], scenario: Scenario, prompts: PromptSet, out: Path
) -> dict[Path, Endpoint]:
    """Measure the contenders in turn, each into a folder of its name; return the folders with their endpoints."""
    endpoints = {out / name: contender.endpoint(name) for name, contender in contenders.items()}

    def called(key: str) -> str:
        match = _ENDPOINT_KEY.fullmatch(key)
        if match is None:
            return option_of(key)
        name, field = match.groups()
        if contenders[name].is_file:
            return f"{field} in {contenders[name].given}"
        if field in _OPTIONS:
            return option_of(field).replace("--", f"--{name}-", 1)
        return f"the URL of {name}" if field == "base_url" else f"{field} (in a .yaml file given as --{name})"

    print(f"Recording in {out}; if this is interrupted, --out {out} continues there.", file=sys.stderr, flush=True)
    measure_rounds(endpoints, scenario, prompts, called=called)
    return endpoints


def write_html(path: Path, compared: "Compared", endpoints: Mapping[Path, Endpoint], scenario: Scenario) -> None:
    """Write the report's page of a comparison that was just measured."""
    from accelbench.report.page.document import write_page
    from accelbench.report.plots import write_plots
    from accelbench.report.summary import summarise
    from accelbench.report.tables import write_tables
    from accelbench.store.requests import writing_requests

    keys = {folder.name: endpoint.model_dump(exclude_unset=True) for folder, endpoint in endpoints.items()}
    config = Config.model_validate(
        {
            "title": " and ".join(keys),
            "inference": {
                "endpoints": keys,
                "run": list(keys),
                "scenarios": {CELL: scenario.model_dump(exclude_unset=True)},
                "scenarios_run": [CELL],
                "prompts": {scenario.prompts: {"source": "bundled"}},
            },
        }
    )
    folder = next(iter(endpoints)).parent / "report"
    folder.mkdir(exist_ok=True)
    with writing_requests(folder / "requests.parquet") as keep:
        for load in compared.loads:
            keep(load.attempts)
    rounds = [record for load in compared.loads for record in load.rounds]
    summary = summarise(config, [], rounds, folder / "requests.parquet")
    write_tables(folder / "tables", summary)
    write_plots(folder / "plots", summary)
    write_page(folder, summary)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "report.html", path)
