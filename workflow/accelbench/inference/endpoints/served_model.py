"""What an endpoint says about the model it serves: in `/models`, or on the status pages of its gateway (ALCF's).

Whatever a page says is only ever a fact to record or a reason to wait; a page that is missing, or says something
else than expected, is no failure.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from accelbench.config import Endpoint
from accelbench.foreign import as_number, one_line
from accelbench.inference.endpoints.credentials import Credentials
from accelbench.inference.endpoints.pages import get_page
from accelbench.plan.measurement import now
from accelbench.store.records import JsonObject

_NAMES = ("id", "model", "model_id", "name", "aliases")
LIMITS = {
    "max_context_tokens": (
        "max_model_len",  # vLLM
        "context_length",  # SambaNova, OpenRouter
        "context_window",  # ALCF
        "max_context_length",
        "max_context_tokens",
        "n_ctx",  # llama.cpp
    ),
    "max_num_seqs": ("max_num_seqs", "max_concurrency"),
    "default_reasoning_effort": ("default_reasoning_effort", "reasoning_effort"),
    "tokens_per_minute": ("rate_limit_token_per_minute",),
}
_REASONING = "reasoning"
ENTRY_BYTES = 4000
IDS_SHOWN, MOST_ID = 10, 100


def served_ids(document: Any) -> list[str]:
    """Return the ids that `/models` lists; [] when it lists none, or is no such page."""
    listed = document.get("data") if isinstance(document, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]


def first_of(ids: Sequence[str]) -> str:
    """Return the first of several ids, as a line that is safe to print."""
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return ", ".join(one_line(name, MOST_ID) for name in ids[:IDS_SHOWN]) + more


def entry_of(document: Any, model: str) -> JsonObject | None:
    """Return the innermost mapping that describes a model: one that names it, or one that stands under its name."""
    found = None
    for key, mapping in _mappings(document):
        names = [name for field in _NAMES for name in _listed(mapping.get(field))]
        if key == model or model in names:
            found = mapping
    return found


def model_facts(entry: JsonObject | None) -> JsonObject:
    """Return what an entry says: limits, what it tells of reasoning, and the entry itself, cut when it is long."""
    if entry is None:
        return {}
    facts: dict[str, object] = {}
    for fact, keys in LIMITS.items():
        said = next((value for key in keys for value in _values(entry, key)), None)
        if isinstance(said, str) or as_number(said) is not None:
            facts[fact] = said
    reasoning = {key: value for _, mapping in _mappings(entry) for key, value in mapping.items() if _REASONING in key}
    if reasoning:
        facts[_REASONING] = short_enough(reasoning)
    return {**facts, "entry": short_enough(entry)}


def short_enough(said: Any) -> Any:
    """Return what a page said, for the record: as it is, or the beginning of its text when it is long."""
    text = orjson.dumps(said)
    return said if len(text) <= ENTRY_BYTES else text[:ENTRY_BYTES].decode(errors="ignore") + " (cut)"


def _mappings(value: Any, key: str | None = None) -> Iterator[tuple[str | None, JsonObject]]:
    """Yield all mappings inside a document with the key each stands under, outer ones first."""
    if isinstance(value, dict):
        yield key, value
        for name, inner in value.items():
            yield from _mappings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _mappings(inner)


def _values(entry: JsonObject, key: str) -> Iterator[Any]:
    return (mapping[key] for _, mapping in _mappings(entry) if mapping.get(key) is not None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
        self.latest = {"at": now(), "page": page.text, "state": state, "entry": short_enough(entry)}
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
