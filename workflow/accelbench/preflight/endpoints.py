"""The endpoints as they are now: token, health, model, limits, and how they are reached.

Only pages are requested, never a prompt. A token is never shown; its lifetime is read if it is a JSON Web Token. The
network path is direct or through a proxy; some exceptions in no_proxy look right but have no effect.
"""

import base64
import binascii
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import orjson

from accelbench.config import Config, Endpoint
from accelbench.errors import Finding, UserError, fails, ok, warning
from accelbench.inference.client.http import proxy_of
from accelbench.inference.endpoints.credentials import Credentials, refused
from accelbench.inference.endpoints.pages import Page, get_page
from accelbench.inference.endpoints.readiness import LOADING, NO_SUCH_PAGE
from accelbench.inference.endpoints.served_model import COLD, Gateway, entry_of, first_of, model_facts, served_ids
from accelbench.plan import specs
from accelbench.preflight.inference import planned_loads
from accelbench.store.records import JsonObject


def left_s(token: str) -> float | None:
    """Return for how many seconds a token is still valid, below 0 if it has expired; None if it does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"]) - time.time()
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None


def check_proxies(config: Config) -> Iterator[Finding]:
    """Yield, for each host, how its requests are routed."""
    urls = [config.inference.endpoints[name].base_url for name in config.inference.run]
    for host, url in {urlsplit(url).hostname or "": url for url in urls if url}.items():
        yield _way(host, url)


def _way(host: str, url: str) -> Finding:
    what = f"way to {host}"
    try:
        proxy = proxy_of(url)
    except UserError as error:
        return fails(what, error)
    if proxy is None:
        return ok(what, "no proxy")
    through = f"through the proxy {proxy.hostname}"
    ineffective = [pattern for pattern in _exceptions() if "*" in pattern and fnmatch(host, pattern)]
    if ineffective:
        pattern = ineffective[0]
        return warning(
            what,
            f"{through}, although no_proxy has {pattern}: Python's clients ignore a * there",
            f"Write {pattern.lstrip('*')} if the host is to be reached directly; otherwise nothing is wrong: the "
            "proxy is recorded.",
        )
    return ok(what, through)


def _exceptions() -> list[str]:
    return [pattern.strip() for pattern in getproxies().get("no", "").split(",") if pattern.strip()]


REFUSED = (401, 403)


def check_endpoints(config: Config) -> Iterator[Finding]:
    """Yield the state of each remote endpoint; a twin is the same endpoint again."""
    for name in config.inference.run:
        endpoint = config.inference.endpoints[name]
        if endpoint.base_url is not None and endpoint.control_of is None:
            yield from _asked(config, name, endpoint, endpoint.base_url)


def _asked(config: Config, name: str, endpoint: Endpoint, base_url: str) -> Iterator[Finding]:
    credentials = _credentials(name, endpoint)
    if isinstance(credentials, UserError):
        yield fails(f"{name}: token", credentials)
        if endpoint.health_url:
            yield _up(name, endpoint, get_page(endpoint.health_url))
        return
    models = get_page(f"{base_url}/models", credentials, endpoint.query)
    health = get_page(endpoint.health_url) if endpoint.health_url else models
    up = _up(name, endpoint, health)
    yield up
    if up.verdict == "fails":
        return
    cluster = Gateway(endpoint, credentials)
    token = _token(config, name, endpoint, credentials, models)
    yield token
    if token.verdict == "fails":
        return
    yield from _model(name, endpoint, models, cluster)
    yield from _jobs(name, endpoint, cluster)
    yield from _limits(
        config, name, {**cluster.model_facts(), **model_facts(entry_of(models.document, endpoint.model))}
    )


def _up(name: str, endpoint: Endpoint, page: Page) -> Finding:
    what = f"{name}: up"
    if page.is_good or page.status in (*NO_SUCH_PAGE, *REFUSED):
        return ok(what, f"answers ({page.text})")
    if page.status in LOADING:
        return warning(what, f"{page.text}: not ready yet", f"A run waits up to {endpoint.ready_timeout_s:g} s for it.")
    remedy = (
        f"Is it up, and is inference.endpoints.{name}.base_url right? Behind a proxy, are HTTPS_PROXY and no_proxy?"
    )
    return fails(what, f"not confirmed ({page.text})", remedy)


def _credentials(name: str, endpoint: Endpoint) -> Credentials | UserError:
    try:
        return Credentials(name, endpoint)
    except UserError as error:
        return error


# --- the token --------------------------------------------------------------------------------------------------


def _token(config: Config, name: str, endpoint: Endpoint, credentials: Credentials, models: Page) -> Finding:
    """Say whether the token is accepted, and for how long it is valid. The token is not in the finding."""
    what = f"{name}: token"
    listed = endpoint.cluster.endpoints if endpoint.cluster else None
    pages = [models, *([get_page(listed, credentials)] if listed else [])]
    for page in pages:
        if page.status in REFUSED:
            return fails(what, refused(name, endpoint, page.status))
    if endpoint.token is None:
        return ok(what, "none, and none is required")
    accepted = "accepted" if any(page.is_good for page in pages) else "set; no page shows whether it is accepted"
    remaining_s = left_s(credentials.headers()["Authorization"].removeprefix("Bearer "))
    if remaining_s is None:
        return ok(what, f"{accepted}; it does not say how long it is valid{_renewal(endpoint)}")
    remedy = "Log in again before the run." if endpoint.token.command else f"Put a fresh one into {endpoint.token.env}."
    if remaining_s <= 0:
        return fails(what, "it is no longer valid", remedy)
    if remaining_s < planned_loads(config, name).minutes * 60:
        return warning(what, f"{accepted}; valid for {remaining_s / 60:.0f} min, which the plan may outlast", remedy)
    return ok(what, f"{accepted}; valid for {remaining_s / 3600:.3g} h")


def _renewal(endpoint: Endpoint) -> str:
    command = endpoint.token.command if endpoint.token else None
    renews = command is not None and Path(command[0]).name == "alcf-tokens"
    return " (48 h; alcf-tokens renews it until 30 days after the login)" if renews else ""


# --- the model ----------------------------------------------------------------------------------------------------


def _model(name: str, endpoint: Endpoint, models: Page, cluster: Gateway) -> Iterator[Finding]:
    what, ids = f"{name}: model", cluster.served_ids() or served_ids(models.document)
    if not ids:
        yield warning(what, "no page lists the served models", f"If {endpoint.model} is new to you, try it by hand.")
    elif endpoint.model in ids or entry_of(models.document, endpoint.model):
        yield ok(what, f"{endpoint.model} is served")
    else:
        remedy = f"Set inference.endpoints.{name}.model to one of: {first_of(ids)}."
        yield fails(what, f"{endpoint.model} is not served", remedy)


def _jobs(name: str, endpoint: Endpoint, cluster: Gateway) -> Iterator[Finding]:
    """Yield whether the model is loaded, where the gateway has a page that says so."""
    jobs, what = cluster.jobs(), f"{name}: hot"
    if jobs is None:
        return
    waits = f"A run waits up to {endpoint.ready_timeout_s:g} s for it, and records that separately."
    if jobs["state"] == "running":
        yield ok(what, "the model is loaded")
    elif jobs["state"] in COLD:
        yield warning(what, f"the model's job is {jobs['state']}", waits)
    elif jobs["page"] == "status 200":
        yield warning(what, "cold, or always on: the gateway lists no job for the model", waits)
    else:
        yield warning(what, f"the gateway's page of jobs is not available ({jobs['page']})")


# --- its limits -----------------------------------------------------------------------------------------------------


def _limits(config: Config, name: str, said: JsonObject) -> Iterator[Finding]:
    """Yield the endpoint's own limits against the plan."""
    yield from _tokens_per_minute(config, name, said.get("tokens_per_minute"))
    cells = [*specs.cells(config).values(), *specs.searched_cells(config).values()]
    longest = max((cell.context_tokens or 0) + cell.max_tokens for cell in cells)
    context = said.get("max_context_tokens")
    if isinstance(context, int) and longest > context:
        text = f"{longest:,} tokens of context and answer are planned, but it accepts {context:,}"
        yield fails(f"{name}: context", text, "Lower context_tokens or max_tokens of the scenario.")
    slots, at_once = said.get("max_num_seqs"), max(cell.slots for cell in cells)
    if isinstance(slots, int) and at_once > slots:
        text = f"up to {at_once:,} requests at a time are planned, but it processes {slots:,}: the others queue"
        yield warning(f"{name}: slots", text, "Lower concurrency, unless you want to measure queueing.")


def _tokens_per_minute(config: Config, name: str, limit: Any) -> Iterator[Finding]:
    if not isinstance(limit, int | float) or limit <= 0:
        return
    what, plan = f"{name}: tokens/min", planned_loads(config, name)
    if plan.tok_per_min <= limit:
        yield ok(what, f"{limit:,} are allowed, {plan.tok_per_min:,.0f} are planned on average")
    else:
        text = (
            f"{limit:,} are allowed, {plan.tok_per_min:,.0f} are planned on average: expect 429s, and waits that no "
            "latency includes"
        )
        yield warning(what, text, "Lower concurrency, or set requests_per_s lower.")
