"""A truth server: it writes each token at a scheduled instant, and the token's text says when that was.

    python -m accelbench.inference.truth_server --ttft-s 0.2 --gap-s 0.02 [--certificate FILE] [--core 0]

It speaks the streamed part of OpenAI's chat completions, sends `max_tokens` tokens whatever it is asked, and prints
its port on one line. The text of the first token also holds the instant at which the request had arrived. Instants
are seconds of perf_counter, the clock that the client on the same machine reads too: what a client reports minus
what the texts say is the client's own error.
"""

import argparse
import asyncio
import gc
import heapq
import itertools
import json
import math
import os
import ssl
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import httptools
import uvloop

IDLE_S = 0.002  # uvloop counts in milliseconds: what is due sooner is waited for awake
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = 'data: {"id":"chatcmpl-truth","choices":[{"index":0,"delta":{"content":"%s "},"finish_reason":%s}]}\n\n'
_USAGE = 'data: {"id":"chatcmpl-truth","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":%d}}\n\n'
MODELS = b'{"object":"list","data":[{"id":"truth","object":"model"}]}'


class TokenSchedule:
    """All tokens that are due, over all streams."""

    def __init__(self, ttft_s: float, gap_s: float, slots: float = math.inf) -> None:
        """Take the time to the first token, the one between tokens, and how many streams are served at a time."""
        self.ttft_s, self.gap_s = ttft_s, gap_s
        self._due: list[tuple[float, int, Stream]] = []
        self._order = itertools.count()
        self._free, self._waiting = slots, deque[Stream]()

    def begin(self, at_s: float, stream: "Stream") -> None:
        """Serve a stream from an instant on, or once another has ended."""
        if self._free > 0:
            self._free -= 1
            self._add(at_s + self.ttft_s, stream)
        else:
            self._waiting.append(stream)

    def _add(self, at_s: float, stream: "Stream") -> None:
        heapq.heappush(self._due, (at_s, next(self._order), stream))

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            while self._due and self._due[0][0] <= time.perf_counter():
                at_s, _, stream = heapq.heappop(self._due)
                if stream.send():
                    self._add(at_s + self.gap_s, stream)
                    continue
                self._free += 1
                if self._waiting:
                    self.begin(at_s, self._waiting.popleft())
            idle = not self._due or self._due[0][0] - time.perf_counter() > 2 * IDLE_S
            await asyncio.sleep(IDLE_S if idle else 0)


class Stream:
    """One answer under way."""

    def __init__(self, transport: asyncio.Transport, tokens: int, arrived_s: float) -> None:
        """Note when the request arrived, and how many tokens it gets."""
        self._transport, self._tokens, self._left, self._arrived_s = transport, tokens, tokens, arrived_s

    def send(self) -> bool:
        """Send the next token; return whether more follow."""
        if self._transport.is_closing():
            return False
        first, last = self._left == self._tokens, self._left == 1
        self._left -= 1
        arrived = f"{self._arrived_s:.7f}:" if first else ""
        event = EVENT % (f"{arrived}{time.perf_counter():.7f}", '"length"' if last else "null")
        end = b"" if not last else _chunk(_USAGE % self._tokens + "data: [DONE]\n\n") + b"0\r\n\r\n"
        self._transport.write((_HEAD if first else b"") + _chunk(event) + end)
        return not last


class TruthServer(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, schedule: TokenSchedule) -> None:
        """Wait for requests."""
        self._schedule = schedule
        self._expect()

    def connection_made(self, transport: Any) -> None:
        """Keep the transport, and let it write at once: by default uvloop waits for what else its loop has to do."""
        self.transport = transport
        transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        """Read a request; the last read of it is its arrival."""
        self._read_s = time.perf_counter()
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer a GET at once; put a POST's tokens on the schedule."""
        if self._parser.get_method() == b"GET":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(MODELS), MODELS))
        else:
            tokens = int(json.loads(self._body)["max_tokens"])
            self._schedule.begin(self._read_s, Stream(self.transport, tokens, self._read_s))
        asyncio.get_running_loop().call_soon(self._expect)

    def _expect(self) -> None:
        self._parser: Any = httptools.HttpRequestParser(self)
        self._body = b""


def _chunk(text: str) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text.encode())


async def serve(schedule: TokenSchedule, certificate: Path | None) -> None:
    """Serve on a free port of 127.0.0.1 until the process ends."""
    secure = None
    if certificate is not None:
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TruthServer(schedule), "127.0.0.1", 0, ssl=secure, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await schedule.run()


def main(arguments: list[str]) -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ttft-s", type=float, default=0.2)
    parser.add_argument("--gap-s", type=float, default=0.02)
    parser.add_argument("--slots", type=float, default=math.inf, help="streams at a time; others wait")
    parser.add_argument("--certificate", type=Path, help="certificate and key in one PEM file: TLS")
    parser.add_argument("--core", type=int, help="the one core to run on (Linux)")
    given = parser.parse_args(arguments)
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    gc.disable()
    uvloop.run(serve(TokenSchedule(given.ttft_s, given.gap_s, given.slots), given.certificate))


if __name__ == "__main__":
    main(sys.argv[1:])
