"""The servers that jobs start themselves: their programs, weights and ports."""

import shlex
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from accelbench.config import Config, Endpoint
from accelbench.errors import UserError
from accelbench.inference.endpoints.credentials import NO_ENVIRONMENT
from accelbench.inference.servers import found_here
from accelbench.plan import specs
from accelbench.plan.findings import Finding, fails, ok, warning


def check_servers(config: Config) -> Iterator[Finding]:
    """Yield, for each endpoint with a server of its own, whether that could start here."""
    named = {name: config.inference.endpoints[name] for name in config.inference.run}
    for name, endpoint in named.items():
        if endpoint.server is not None:
            yield _server(f"{name}: server", endpoint)
            yield from _secrets(name, endpoint, for_pbs=config.cluster.is_for_pbs)
    for sentence in specs.too_long_contexts(config):
        yield fails("context", sentence)
    if any(endpoint.server and not endpoint.own_node for endpoint in named.values()):
        yield _port()


def _server(what: str, endpoint: Endpoint) -> Finding:
    try:
        return ok(what, found_here(endpoint))
    except UserError as error:
        if endpoint.own_node:
            return warning(what, str(error), "Its node must find it.")
        return fails(what, error)


def _secrets(name: str, endpoint: Endpoint, *, for_pbs: bool) -> Iterator[Finding]:
    """Yield whether a job on a node gets the endpoint's secrets: PBS hands on no variable, a file is there for both."""
    if not endpoint.own_node:
        return
    token = {"token": endpoint.token} if endpoint.token else {}
    for key, source in {**token, **endpoint.secret_headers}.items():
        what, prefix = f"{name}: {key}", "" if key == "token" else "secret_headers."
        if source.command is None and for_pbs:
            place = f"inference.endpoints.{name}.{prefix}{key}"
            yield fails(what, f"{place}: a job on a node does not get the variable {source.env}. {NO_ENVIRONMENT}.")
        elif source.command and source.command[0] == "cat" and len(source.command) > 1:
            yield _secret_file(what, Path(source.command[1]))


def _secret_file(what: str, path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return fails(what, f"{path}: {error.strerror}", "Put the secret there, in a file with mode 0600.")
    if mode & 0o077:
        return warning(what, f"{path} can be read by others (mode {mode:04o})", f"`chmod 600 {shlex.quote(str(path))}`")
    return ok(what, f"{path} is there, with mode {mode:04o}")


def _port() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return fails("local ports", f"none can be opened on 127.0.0.1 ({error.strerror})", "Ask who runs this machine.")
    return ok("local ports", "free ones are there for the servers")
