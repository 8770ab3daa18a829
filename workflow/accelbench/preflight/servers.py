"""The servers that jobs start themselves: their programs, weights and ports."""

import shutil
import socket
from collections.abc import Iterator
from importlib.util import find_spec

from accelbench.config import CommandServer, Config, Endpoint, LlamaCppServer
from accelbench.errors import UserError
from accelbench.inference.weights import gguf_of
from accelbench.preflight.finding import Finding, fails, ok, warning


def servers(config: Config) -> Iterator[Finding]:
    """Yield, for each endpoint with a server of its own, whether that could start here."""
    named = {name: config.inference.endpoints[name] for name in config.inference.run}
    for name, endpoint in named.items():
        if isinstance(endpoint.server, CommandServer):
            yield _command(name, endpoint, endpoint.server)
        elif endpoint.server is not None:
            yield _packaged(name, endpoint)
    if any(endpoint.server and not endpoint.own_node for endpoint in named.values()):
        yield _port()


def _command(name: str, endpoint: Endpoint, server: CommandServer) -> Finding:
    what, program = f"{name}: server", server.command[0]
    if shutil.which(program, path=server.env.get("PATH")):
        return ok(what, f"{program} is found")
    if endpoint.own_node:
        return warning(what, f"{program} can't be found here", "Its node must find it: give its whole path.")
    return fails(what, f"{program} can't be found", "Install it, or give its whole path in server.command.")


def _packaged(name: str, endpoint: Endpoint) -> Finding:
    what, package = f"{name}: server", "xllamacpp" if isinstance(endpoint.server, LlamaCppServer) else "transformers"
    if find_spec(package) is None:
        return fails(what, f"{package} is not installed", "Run `make setup`.")
    try:
        weights = gguf_of(endpoint.model)
    except UserError as error:
        return fails(what, error)
    return ok(what, f"{package} and the weights {weights.name} are here")


def _port() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return fails("local ports", f"none can be opened on 127.0.0.1 ({error.strerror})", "Ask who runs this machine.")
    return ok("local ports", "free ones are there for the servers")
