"""The way to the endpoints: straight, or through a proxy, and exceptions in no_proxy that look right and do nothing."""

from collections.abc import Iterator
from fnmatch import fnmatch
from urllib.parse import urlsplit
from urllib.request import getproxies

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.inference.client import proxy_of
from accelbench.preflight.finding import Finding, fails, ok, warning


def proxies(config: Config) -> Iterator[Finding]:
    """Yield, for each host that is asked, how its requests travel."""
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
            f"{through}, although no_proxy has {pattern}: Python's clients take no * there",
            f"Write {pattern.lstrip('*')} if it is to be asked directly; else all is well, and the way is recorded.",
        )
    return ok(what, through)


def _exceptions() -> list[str]:
    return [pattern.strip() for pattern in getproxies().get("no", "").split(",") if pattern.strip()]
