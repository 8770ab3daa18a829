"""Whether an endpoint is ready: asked, and waited for, before anything is timed."""

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from accelbench.config import Endpoint
from accelbench.errors import UserError
from accelbench.foreign import one_line
from accelbench.inference.endpoints.credentials import Credentials, refused
from accelbench.inference.endpoints.pages import PAGE_TIMEOUT_S, Page, get_page
from accelbench.inference.endpoints.served_model import COLD, Gateway, entry_of, first_of, model_facts, served_ids
from accelbench.store.records import JsonObject

_POLL_S = 2.0
JOBS_POLL_S = 60.0  # the gateway makes its page of jobs anew once a minute
SAID_EVERY_S = 60.0
BRIEF_S = 5.0  # for an endpoint that was waited for in vain a moment ago: a few probes
NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH",
    "HTTP_REQUEST",
    "UNEXPECTED_EOF",
)  # of openssl
NO_HTTP = ("RemoteDisconnected", "BadStatusLine", "ConnectionReset", "ProtocolError")
LOADING = {408, 503, 504}  # a gateway in front of a model that is not up yet
NO_SUCH_PAGE = {400, 404, 405, 410, 422, 500, 501}  # 500: `transformers serve` without a model hub
ONE_PAGE_S = 1.0  # a look has so long, however little is left of the wait: a busy endpoint needs a moment


class NotReadyError(UserError):
    """The endpoint was waited for, and did not get ready."""


class Patience:
    """A bounded wait for one endpoint, which says at most once a minute that it lasts."""

    def __init__(self, name: str, bound_s: float) -> None:
        """Wait for nothing yet."""
        self._name, self._bound_s = name, bound_s
        self._since_s: float | None = None
        self._said_s: float | None = None

    def begin(self) -> None:
        """Begin to wait, unless it has begun."""
        if self._since_s is None:
            self._since_s = time.perf_counter()

    @property
    def left_s(self) -> float:
        """Seconds that the wait may still take."""
        return max(0.0, self._bound_s - self.waited_s)

    def lasts(self, why: str) -> bool:
        """Begin to wait, and tell whether to wait on; `why` says what for."""
        self.begin()
        now_s = time.perf_counter()
        if self.waited_s > self._bound_s:
            return False
        if self._said_s is None or now_s - self._said_s >= SAID_EVERY_S:
            self._said_s = now_s
            print(
                f"{self._name} is not ready ({why}): waiting, {self.waited_s:.0f} of at most {self._bound_s:g} s.",
                flush=True,
            )
        return True

    @property
    def waited_s(self) -> float:
        """Seconds since the first reason to wait; 0 without any."""
        return 0.0 if self._since_s is None else time.perf_counter() - self._since_s


def wait_until_ready(
    name: str,
    endpoint: Endpoint,
    base_url: str,
    credentials: Credentials,
    cluster: Gateway,
    *,
    in_vain: str | None = None,
) -> JsonObject:
    """Wait until the endpoint answers and its model is loaded; return what it says about itself.

    `ready_after_s` is how long that took, `cold_start_s` how much of it the model was being loaded (null: it was up).
    `in_vain` names a round that just waited for it in vain: it is then waited for only briefly. Raises NotReadyError
    after `ready_timeout_s`, and UserError when the token is refused.
    """
    started_s = time.perf_counter()
    page, cold_s = _until_it_answers(name, endpoint, base_url, credentials, in_vain)
    cold_s += _until_it_is_loaded(name, endpoint, cluster, longest_s(endpoint, in_vain))
    ready_s = time.perf_counter() - started_s
    if endpoint.health_url:
        page = _ask(name, endpoint, f"{base_url}/models", credentials, PAGE_TIMEOUT_S, refusals={401})
    return {
        "ready_after_s": round(ready_s, 2),
        "cold_start_s": round(cold_s, 2) or None,
        **described(name, endpoint, base_url, page, cluster),
    }


def longest_s(endpoint: Endpoint, in_vain: str | None) -> float:
    """Return for how many seconds an endpoint is waited for; `in_vain`: a round that just did so, if one did."""
    return min(BRIEF_S, endpoint.ready_timeout_s) if in_vain else endpoint.ready_timeout_s


def briefly(in_vain: str | None) -> str:
    """Say why an endpoint was waited for only briefly, if it was."""
    return f" The wait was short because {in_vain} had just waited in vain." if in_vain else ""


def is_ready(endpoint: Endpoint, base_url: str, credentials: Credentials) -> bool:
    """Ask once whether the endpoint answers."""
    url = endpoint.health_url or f"{base_url}/models"
    return _answers(get_page(url, _for(endpoint, credentials), _query(endpoint, url)))


def described(
    name: str,
    endpoint: Endpoint,
    base_url: str,
    page: Page,
    cluster: Gateway | None = None,
) -> JsonObject:
    """Return what `/models` and the gateway say about the model; warn when they list others and not this one."""
    for ids, where in (
        (served_ids(page.document), f"{base_url}/models"),
        (cluster.served_ids() if cluster else [], "the gateway"),
    ):
        if ids and endpoint.model not in ids:
            print(_unlisted(name, endpoint.model, ids, where), flush=True)
    entry = entry_of(page.document, endpoint.model)
    facts = {**(cluster.model_facts() if cluster else {}), **model_facts(entry)}
    served = entry.get("id") if entry else None
    return {"served_as": served, **facts} if served else facts


def _until_it_answers(
    name: str, endpoint: Endpoint, base_url: str, credentials: Credentials, in_vain: str | None
) -> tuple[Page, float]:
    """Return the page that answered, and for how many seconds it was answered that the model is being loaded."""
    url = endpoint.health_url or f"{base_url}/models"
    bound_s = longest_s(endpoint, in_vain)
    patience, loading = Patience(name, bound_s), Patience(name, bound_s)
    patience.begin()
    while True:
        timeout_s = max(ONE_PAGE_S, patience.left_s)
        page = _ask(name, endpoint, url, _for(endpoint, credentials), timeout_s, refusals={401, 403})
        if _answers(page):
            return page, loading.waited_s
        if not patience.lasts(page.text):
            said = f": {page.words}" if page.words else ""
            raise NotReadyError(
                f"{name}: {url} was not ready after {bound_s:g} s ({page.text}{said}). Is it up, and is <base_url> "
                f"right? {_way(page, url)}{briefly(in_vain)}",
                base_url=f"inference.endpoints.{name}.base_url",
            )
        if page.status in LOADING:
            loading.begin()
        time.sleep(min(_POLL_S, patience.left_s))


def _until_it_is_loaded(name: str, endpoint: Endpoint, cluster: Gateway, bound_s: float) -> float:
    """Wait while the gateway says that the model is being started; return the seconds."""
    patience = Patience(name, bound_s)
    while (jobs := cluster.jobs()) and jobs["state"] in COLD:
        if not patience.lasts(f"its job is {jobs['state']}"):
            raise NotReadyError(
                f"{name}: {endpoint.model} was still {jobs['state']} after {bound_s:g} s (<ready_timeout_s>). "
                "Run the same command again later.",
                ready_timeout_s="ready_timeout_s",
            )
        time.sleep(min(JOBS_POLL_S, bound_s))
    return patience.waited_s


def _ask(
    name: str,
    endpoint: Endpoint,
    url: str,
    credentials: Credentials | None,
    timeout_s: float,
    refusals: Collection[int],
) -> Page:
    """Ask for a page; with credentials that are refused, once more with fresh ones. Raises UserError at the second."""
    ask = partial(get_page, url, credentials, _query(endpoint, url), timeout_s=min(PAGE_TIMEOUT_S, timeout_s))
    page = ask()
    if credentials is None or page.status not in refusals:
        return page
    credentials.refresh()
    page = ask()
    if page.status is not None and page.status in refusals:
        raise refused(name, endpoint, page.status, f" {url} said: {page.words}" if page.words else "")
    return page


def _query(endpoint: Endpoint, url: str) -> Mapping[str, str]:
    """Return what is added to a page's address: a health page is asked for as it stands."""
    return {} if url == endpoint.health_url else endpoint.query


def _for(endpoint: Endpoint, credentials: Credentials) -> Credentials | None:
    """Return the credentials for the page that says that the endpoint is up: a health page is asked without any."""
    return None if endpoint.health_url else credentials


def _answers(page: Page) -> bool:
    """Whether the endpoint is up; one without such a page is, as far as one can tell."""
    return page.is_good or page.status in NO_SUCH_PAGE


def _way(page: Page, url: str = "") -> str:
    """Ask for what the environment says of the way to an endpoint, by what went wrong."""
    if url.startswith("https:") and any(sign in page.text for sign in NO_TLS):
        return "Is it http:// and not https://?"
    if url.startswith("http:") and any(sign in page.text for sign in NO_HTTP):
        return "Is it https:// and not http://?"
    if "CERTIFICATE_VERIFY_FAILED" in page.text:
        return "Does REQUESTS_CA_BUNDLE name the authority that its certificate is signed by?"
    return "Behind a proxy, are HTTPS_PROXY and no_proxy?"


def _unlisted(name: str, model: str, ids: Sequence[str], where: str) -> UserError:
    return UserError(
        f"{name}: {where} does not list {one_line(model)}; it lists {first_of(ids)}. Is <model> right?",
        model=f"inference.endpoints.{name}.model",
    )
