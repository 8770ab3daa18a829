"""The status pages of the gateway in front of an endpoint (ALCF's): what is served where, and whether it is up.

Whatever a page says is only ever a fact to record or a reason to wait; a page that is missing, or says something
else than expected, is no failure.
"""

from collections.abc import Iterator
from typing import Any

from accelbench.config import Endpoint
from accelbench.inference.endpoints.credentials import Credentials
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.endpoints.served_model import entry_of, kept, model_facts
from accelbench.plan.measurement import now
from accelbench.store.records import JsonObject

COLD = ("starting", "queued", "pending", "loading")
STATES = ("running", *COLD)  # of several jobs of one model, the first that is found counts


class Gateway:
    """The status pages of one endpoint's gateway, where the config names them."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials) -> None:
        """Ask nothing yet."""
        self._model, self._credentials = endpoint.model, credentials
        self._pages = endpoint.cluster
        self._base_url = str(endpoint.base_url)
        self.latest: JsonObject | None = None
        """What `jobs` returned last."""

    def jobs(self) -> JsonObject | None:
        """Return the state of the model's jobs (None: no job, or not told) and its entry; None without such a page."""
        if self._pages is None or self._pages.jobs is None:
            return None
        page = get_page(self._pages.jobs, self._credentials)
        state, entry = job_of(page.document, self._model)
        self.latest = {"at": now(), "page": page.text, "state": state, "entry": kept(entry)}
        return self.latest

    def served_ids(self) -> list[str]:
        """Return the ids of all models that the gateway lists for this endpoint's cluster; []: not told."""
        if self._pages is None or self._pages.endpoints is None:
            return []
        return listed_models(get_page(self._pages.endpoints, self._credentials).document, self._base_url)

    def model_facts(self) -> JsonObject:
        """Return what the gateway says about the model."""
        if self._pages is None or self._pages.models is None:
            return {}
        page = get_page(self._pages.models, self._credentials, {"model_id": self._model})
        return model_facts(entry_of(page.document, self._model))


def job_of(document: Any, model: str) -> tuple[str | None, JsonObject | None]:
    """Return state and entry of a model's job on a page of jobs; (None, None) when it has none.

    The page: {"running": [{"Models": "a,b", "Model Status": "running", …}], "queued": […], …}.
    """
    jobs = [(state, job) for state, job in _jobs(document) if model in _models_of(job)]
    return min(jobs, key=lambda job: STATES.index(job[0]) if job[0] in STATES else len(STATES), default=(None, None))


def listed_models(document: Any, base_url: str) -> list[str]:
    """Return the models that a page of endpoints lists for the cluster whose path the base URL holds.

    The page: {"clusters": {"sophia": {"frameworks": {"vllm": {"models": […]}}}}}.
    """
    clusters = document.get("clusters") if isinstance(document, dict) else None
    for name, cluster in clusters.items() if isinstance(clusters, dict) else ():
        if f"/{name}/" in f"{base_url}/":
            return list(dict.fromkeys(_ids(cluster)))
    return []


def _jobs(document: Any) -> Iterator[tuple[str, JsonObject]]:
    for kind, jobs in document.items() if isinstance(document, dict) else ():
        for job in jobs if isinstance(jobs, list) else ():
            if isinstance(job, dict):
                yield str(job.get("Model Status") or kind).lower(), job


def _models_of(job: JsonObject) -> list[str]:
    models = job.get("Models")
    if isinstance(models, str):
        return [name.strip() for name in models.split(",")]
    return models if isinstance(models, list) else []


def _ids(cluster: Any) -> Iterator[str]:
    frameworks = cluster.get("frameworks") if isinstance(cluster, dict) else None
    for framework in frameworks.values() if isinstance(frameworks, dict) else ():
        models = framework.get("models") if isinstance(framework, dict) else None
        yield from (name for name in models if isinstance(name, str)) if isinstance(models, list) else ()
