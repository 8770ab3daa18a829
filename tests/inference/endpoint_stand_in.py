"""An HTTP endpoint on 127.0.0.1 that does, request by request, what a test tells it to.

A script is a list of steps: bytes are sent, a number is waited for (seconds), HANG waits until the stand-in stops,
RESET ends the connection with a TCP reset, CLOSE closes it (at the end of the script it is kept), and GONE takes the
whole stand-in away. From SHUT on new connections are refused, from DEAF on they are left waiting; those there stay.
"""

import contextlib
import itertools
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

HANG, RESET, CLOSE, GONE, SHUT, DEAF = "hang", "reset", "close", "gone", "shut", "deaf"
Step = bytes | float | str
Script = Sequence[Step]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at_s: float = field(default_factory=time.perf_counter)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def content(self) -> str:
        return str(self.json["messages"][0]["content"])


class StandIn:
    """The endpoint; `answer(seen)` returns the script for each POST, `get` the one for each GET."""

    def __init__(
        self,
        answer: Callable[[Seen], Script] | Iterable[Script],
        get: Callable[[Seen], Script] | None = None,
        *,
        port: int = 0,
    ) -> None:
        scripts = None if callable(answer) else iter(answer)
        self._answer = answer if callable(answer) else lambda _: next(scripts)  # type: ignore[arg-type]
        self._get = get or (lambda _: document({"data": []}))
        self.seen: list[Seen] = []
        self.in_flight = self.most_in_flight = 0
        self._lock, self._stopping, self._deaf = threading.Lock(), threading.Event(), threading.Event()
        self._fillers: list[socket.socket] = []
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    @property
    def posts(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]

    def __enter__(self) -> "StandIn":
        acceptor = threading.Thread(target=self._accept, daemon=True)
        self._threads.append(acceptor)
        acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(5)

    def stop(self) -> None:
        """Go away: refuse new connections and end all open ones."""
        self._stopping.set()
        self._shut()
        for filler in self._fillers:
            filler.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _go_deaf(self) -> None:
        """Stop accepting, and fill the listener's queue."""
        self._deaf.set()
        with contextlib.suppress(OSError):  # wakes the acceptor, which ends
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        self._threads[0].join(5)
        self._listener.listen(0)
        for _ in range(8):
            self._fillers.append(filler := socket.socket())
            filler.settimeout(0.05)
            try:
                filler.connect(("127.0.0.1", self.port))
            except OSError:
                return

    def _accept(self) -> None:
        for number in itertools.count(1):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._deaf.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError, StopIteration), connection, connection.makefile("rb") as stream:
            while (seen := _read_request(stream, number)) is not None:
                with self._lock:
                    self.seen.append(seen)
                    self.in_flight += 1
                    self.most_in_flight = max(self.most_in_flight, self.in_flight)
                    script = self._get(seen) if seen.method == "GET" else self._answer(seen)
                steps, end = _parted(script)
                try:
                    keep = self._play(connection, steps)
                finally:
                    with self._lock:
                        self.in_flight -= 1  # before the client can know of the end, and send its next request
                if not (keep and self._play(connection, end)):
                    return

    def _play(self, connection: socket.socket, script: Script) -> bool:
        """Do the steps; return whether the connection is kept."""
        for step in script:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif step == HANG:
                self._stopping.wait(30)
            elif step == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            elif step == GONE:
                self.stop()
                return False
            elif step == CLOSE:
                return False
            elif step == SHUT:
                self._shut()
            elif step == DEAF:
                self._go_deaf()
            else:
                self._stopping.wait(float(step))
        return True


def _parted(script: Script) -> tuple[Script, Script]:
    """Part what tells the client of the end ([DONE], or the last bytes) from what comes before.

    An endless script (a generator) has no end.
    """
    if not (isinstance(script, list) and script and isinstance(script[-1], bytes)):
        return script, []
    done = (place for place, step in enumerate(script) if isinstance(step, bytes) and b"[DONE]" in step)
    end = next(done, len(script) - 1)
    return script[:end], script[end:]


def _read_request(stream: Any, connection: int) -> Seen | None:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode().split()
    headers = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Seen(method, target, headers, stream.read(int(headers.get("content-length", 0))), connection)


# --- answers --------------------------------------------------------------------------------------------------


def head(status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(*steps: Step, last: bool = True, **headers: str) -> list[Step]:
    """Return a chunked answer: bytes become chunks, other steps stay."""
    headers = {"Content_Type": "text/event-stream", **headers}
    body = [chunk(step) if isinstance(step, bytes) else step for step in steps]
    return [head(Transfer_Encoding="chunked", **headers), *body, *([b"0\r\n\r\n"] if last else [])]


def document(content: Any, status: int = 200, **headers: str) -> list[Step]:
    """Return a JSON document (or bytes as they are) of known length."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return [head(status, Content_Length=str(len(body)), Content_Type="application/json", **headers) + body]


def error(status: int, message: str = "no") -> list[Step]:
    return document({"error": {"code": status, "message": message}}, status)


def event(content: Any) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def delta(text: str | None = None, **more: Any) -> bytes:
    """Return one streamed event; `finish_reason` and `id` go where they belong, the rest into the delta."""
    finish, identifier = more.pop("finish_reason", None), more.pop("id", "chatcmpl-1")
    content = {**({"content": text} if text is not None else {}), **more}
    return event({"id": identifier, "choices": [{"index": 0, "delta": content, "finish_reason": finish}]})


def usage(completion: int, prompt: int = 7) -> bytes:
    return event(
        {"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
    )


DONE = event(b"[DONE]")


def tokens(*texts: str, gap_s: float = 0.0) -> list[Step]:
    """Return the events of a whole stream with usage."""
    said: list[Step] = [delta(role="assistant", content="")]
    for text in texts:
        said += [delta(text), gap_s] if gap_s else [delta(text)]
    return [*said, delta(finish_reason="stop"), usage(len(texts)), DONE]


def stream(*texts: str, gap_s: float = 0.0) -> list[Step]:
    """Return a whole streamed answer, a write per token."""
    return chunked(*tokens(*(texts or ("Par", "is")), gap_s=gap_s))


def answer_document(text: str = "Paris", **more: Any) -> list[Step]:
    """Return a whole unstreamed answer."""
    message = {"role": "assistant", "content": text}
    return document(
        {
            "id": "chatcmpl-1",
            "created": 1764022114.35,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2},
            **more,
        }
    )
