r"""
The grammar of a training log: which lines mean something, read from raw bytes.

    2025-11-25 15:39:45,243 INFO:   | Train Device=CSX, Step=50, Loss=7.67166, Rate=33.08 samples/sec, \
GlobalRate=33.02 samples/sec, LoopTimeRemaining=1:18:05, TimeRemaining=1:18:05

A line is: blanks, quotes' ">", an optional "[rank0]:" (torchrun), "[run_1]" or "[restart_1]" (auto-restarts), an
optional timestamp and level, blanks, a message. Terminals' colour codes are left out. Everything after GlobalRate is
left unread (TimeRemaining may hold a comma: "1 day, 3:04:05"; it may read "TimeRemaining>…"; up to 2.4 it isn't
there). `\r` ends a line too (CRLF, progress bars), and a bar that was never closed
("45%|███ | 840/1864 [05:10]2026-…") doesn't swallow the line glued to it.

Sources: Cerebras/modelzoo Release 2.6.0 (trainer/loggers/progress.py, callbacks/{loss,run_schedule,
checkpoint,grad_accum}.py), the wheel cerebras-appliance 2.6.0, ALCF's documentation of 1.7 to 2.6 runs,
published logs. Never decodes a file, never raises on any content, keeps one block in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import BinaryIO, Final, Protocol

from accelbench.training.log.timeline import Event

BLOCK_BYTES: Final = 1 << 20
LINE_BYTES: Final = 4096
"""What is kept of a line that fills a whole block; and the longest message looked at is half of it."""

MARKERS: Final[tuple[tuple[bytes, Event | None], ...]] = (
    (b"| Train Device=", Event.STEP),
    (b"| Eval Device=", Event.EVAL_STEP),
    (b"Poll ingress status:", Event.POLL),
    (b"Recording the timestamp when jobs is scheduled", Event.POLL),
    (b"Current Working Directory", Event.START),
    (b"Checkpoint autoloading", Event.SETUP),
    (b"Found latest checkpoint", Event.SETUP),
    (b"Loading weights from checkpoint", Event.SETUP),
    (b"No checkpoint was provided", Event.SETUP),
    (b"Effective batch size is", Event.SETUP),
    (b"Gradient accumulation steps is", Event.SETUP),
    (b"Trainer Fit Summary", Event.SETUP),
    (b"for a total of", Event.SETUP),
    (b"Starting train", Event.LOOP),
    (b"Starting ", Event.EVAL),
    (b"Compiling the model", Event.COMPILE),
    (b"Initiating a new image build job", Event.COMPILE),
    (b"Initiating a new compile wsjob", Event.COMPILE_JOB),
    (b"Initiating a new execute wsjob", Event.EXECUTE_JOB),
    (b"Job id: wsjob-", None),
    (b"Compile job id: wsjob-", Event.COMPILE_JOB),
    (b"compile job id: wsjob-", Event.COMPILE_JOB),
    (b"Execute job id: wsjob-", Event.EXECUTE_JOB),
    (b"execute job id: wsjob-", Event.EXECUTE_JOB),
    (b"Found existing cached compile", Event.COMPILE),
    (b"Pre-optimization transforms", Event.COMPILE),
    (b"Gradient accumulation picked", Event.COMPILE),
    (b"No benefit from gradient accumulation", Event.COMPILE),
    (b"Compiling at original per-box batch size", Event.COMPILE),
    (b"Compiling image", Event.COMPILE),
    (b"Compiling kernels", Event.COMPILE),
    (b"Compiling final image", Event.COMPILE),
    (b"Compile was successful!", Event.STAGING),
    (b"Programming Cerebras Wafer Scale Cluster", Event.STAGING),
    (b"Preparing to execute using", Event.STAGING),
    (b"About to send initial weights", Event.WEIGHTS),
    (b"Finished sending initial weights", Event.STAGING),
    (b"Waiting for device programming", Event.PROGRAMMING),
    (b"Device programming is complete", Event.STAGING),
    (b"Beginning appliance run", Event.RUN),
    (b"Saving checkpoint at", Event.SAVING),
    (b"Saved checkpoint", Event.SAVED),
    (b"Avg Eval Loss:", Event.EVAL_STEP),
    (b"Evaluation completed successfully!", Event.EVAL_DONE),
    (b"Training completed successfully!", Event.TRAINED),
    (b"Training Complete. Completed", Event.TRAINED),
    (b"Processed ", Event.ENDED),
    (b"Initiating shutdown sequence due to", Event.FAILED),
    (b"Heartbeat to the Appliance failed", Event.FAILED),
    (b"Appliance job timer time out", Event.FAILED),
    (b"Job canceled successfully", Event.FAILED),
    (b"Traceback (most recent call last)", Event.FAILED),
    (b"KeyboardInterrupt", None),
    (b"Exception ignored in", None),
    (b"Exception in thread", None),
)
"""How a message begins, and what that says; the first that fits counts. None: no event, but worth reading."""

_JOB_TROUBLE: Final = re.compile(rb"Job wsjob-\S+ (?:failed |was cancelled)")
_TRACEBACK: Final = b"Traceback "
TRACEBACK_BYTES: Final = 1 << 16
"""How far after "Traceback (most recent call last):" its last line is looked for."""


def _any_of(prefixes: Iterable[bytes]) -> bytes:
    """A pattern for any of them that gives up at the first byte."""
    by_first: dict[bytes, list[bytes]] = {}
    for prefix in prefixes:
        by_first.setdefault(prefix[:1], []).append(re.escape(prefix[1:]))
    branches = (re.escape(first) + b"(?:" + b"|".join(rest) + b")" for first, rest in by_first.items())
    return b"(?=[" + b"".join(map(re.escape, by_first)) + b"])(?:" + b"|".join(branches) + b")"


_STAMP: Final = rb"\d{4}-\d\d-\d\d [0-2]\d:[0-5]\d:[0-6]\d,\d{3}"
_INDENT: Final = rb"\n[ \t>]*+(?:\[(?:rank|run_|restart_)\d+\]:?[ \t]*+)?+"
_LINES: Final = re.compile(
    _INDENT
    + rb"(?:(?:("
    + _STAMP
    + rb") )?+[A-Z]++:[ \t]*+)?+("
    + _any_of([*(prefix for prefix, _ in MARKERS), b"Job wsjob-"])
    + rb"[^\n]{0,2000}+)"
)
_RAISED: Final = re.compile(
    _INDENT + rb"([A-Za-z_][\w.]{0,160}+(?=[:\n])(?:(?<=Error)|(?<=Exception)|(?<=Interrupt)|(?<=Interrupted)"
    rb"|(?<=Exhausted)|(?<=ByCsctl)|(?<=Exit)|(?<=StopIteration)|(?<=Complete))[^\n]{0,2000}+)"
)
_STAMPED: Final = re.compile(_INDENT + rb"(" + _STAMP + rb") [A-Z]++:")
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*m")
_GLUED_BAR: Final = re.compile(rb"%\|[^\n\]]{0,400}\](?=" + _STAMP + rb")")

NUMBER: Final = rb"([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf))"
"""What Python prints for a float, and reads as one."""
_PROGRESS: Final = re.compile(
    rb"\| (?:Train|Eval) Device=([^,\s]{1,32}), (?:Global)?Step=(\d{1,15}), (?:Batch=\d+, )?Loss="
    rb"([^,\s]{1,40}+), Rate=([^,\s]{1,40}+) samples/sec, GlobalRate=([^,\s]{1,40}+) samples/sec"
)
"""The usual line; one with a field missing or added is read field by field."""
_DEVICE: Final = re.compile(rb" Device=([^,\s]{1,32})")
_FIELDS: Final = re.compile(rb"\b(Loss|GlobalRate|Rate)=" + NUMBER)
_STEP: Final = re.compile(rb"Step=(\d{1,15})\b")

LogLine = tuple[Event | None, float | None, bytes]
"""A line that means something: its event; seconds since year 1 by the log's own clock, if it has a timestamp;
its message."""

ProgressLine = tuple[bytes, int | None, float | None, float | None, float | None]
"""A progress line's device, step, loss, Rate and GlobalRate; None for one that is missing."""


@dataclass(slots=True)
class Clock:
    """Reads timestamps; remembers the last minute, since neighbours share it."""

    _minute: bytes = b""
    _minute_s: float = 0.0
    _valid: bool = False

    def seconds(self, stamp: bytes) -> float | None:
        """Of b"2025-11-25 15:39:45,243"; None for a day that doesn't exist."""
        if stamp[:16] != self._minute:
            self._minute = stamp[:16]
            try:
                day = date(int(stamp[:4]), int(stamp[5:7]), int(stamp[8:10])).toordinal()
            except ValueError:
                self._valid = False
            else:
                self._valid = True
                self._minute_s = day * 86400.0 + int(stamp[11:13]) * 3600 + int(stamp[14:16]) * 60
        return self._minute_s + float(stamp[17:].replace(b",", b".")) if self._valid else None


@dataclass(slots=True)
class Blocks:
    """A log in blocks of whole lines without colour codes, each with whether it is the last."""

    log: BinaryIO
    cut_lines: int = 0
    """Lines longer than a block, of which only the beginning was read."""

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """Read the log to its end."""
        carry, skipping = b"", False
        while True:
            read = self.log.read(BLOCK_BYTES)
            data = carry + read
            end = len(data) if not read else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            if read and not end:
                if len(data) > BLOCK_BYTES:
                    data, self.cut_lines, skipping = data[:LINE_BYTES], self.cut_lines + (not skipping), True
                carry = data
                continue
            skipping = False
            block, carry = data[:end], data[end:]
            yield _COLOUR.sub(b"", block) if b"\x1b" in block else block, not read
            if not read:
                return


class LogLines(Protocol):
    """The meaningful lines of a log, and what was seen on the way."""

    blocks: Blocks
    first_s: float | None
    last_s: float | None

    def line_no(self) -> int:
        """The number of the line that was yielded last."""

    def __iter__(self) -> Iterator[LogLine]:
        """Every line that means something, in order."""


@dataclass(slots=True)
class Lines:
    """The meaningful lines of a log, block by block; afterwards what was seen on the way."""

    blocks: Blocks
    first_s: float | None = None
    last_s: float | None = None
    """The last timestamp of a block's last 16 KiB, meaningful line or not."""
    _clock: Clock = field(default_factory=Clock)
    _block: bytes = b""
    _lines_before: int = 1
    _found: re.Match[bytes] | None = None
    _in_traceback: bool = False

    def line_no(self) -> int:
        """The number of the line that was yielded last: from 1, as `grep -n` counts."""
        at = self._found.start(self._found.re.groups) - 1 if self._found else 0
        return self._lines_before + self._block.count(b"\n", 0, at)

    def __iter__(self) -> Iterator[LogLine]:
        """Every line with an event, in order. Never raises on any content."""
        for block, is_last in self.blocks:
            self._block = block
            yield from self._of_block(_without_a_cut_tail(block) if is_last else block)
            self._lines_before += block.count(b"\n")

    def _of_block(self, block: bytes) -> Iterator[LogLine]:
        text = b"\n" + block
        if b"\r" in text:
            text = text.replace(b"\r", b"\n")
        if b"%|" in text:
            text = _GLUED_BAR.sub(lambda bar: bar[0][:-1] + b"\n", text)
        if not text.endswith(b"\n"):
            text += b"\n"
        if self.first_s is None and (first := _STAMPED.search(text)):
            self.first_s = self._clock.seconds(first[1])
        seconds, step = self._clock.seconds, Event.STEP
        if self._in_traceback:
            yield from self._last_of_traceback(text, 0)
        for line in _LINES.finditer(text):
            stamp, message = line.groups()
            self._found = line
            event = step if message.startswith(b"| Train") else event_of(message)
            yield event, None if stamp is None else seconds(stamp), message
            if event is Event.FAILED and message.startswith(_TRACEBACK):
                yield from self._last_of_traceback(text, line.end())
        stamps = _STAMPED.findall(text, max(0, len(text) - 16384)) or _STAMPED.findall(text)
        if stamps:
            self.last_s = self._clock.seconds(stamps[-1])

    def _last_of_traceback(self, text: bytes, at: int) -> Iterator[LogLine]:
        line = _RAISED.search(text, at, at + TRACEBACK_BYTES)
        self._in_traceback = line is None and at + TRACEBACK_BYTES > len(text)
        if line is not None:
            self._found = line
            yield None, None, line[1]


def event_of(message: bytes) -> Event | None:
    """What the beginning of a message says has happened."""
    for prefix, event in MARKERS:
        if message.startswith(prefix):
            if event is Event.POLL and b"Queueing" in message:
                return Event.QUEUED
            if event is Event.EVAL and not re.match(rb"Starting \S+ loop \d", message):
                return None
            if event is Event.ENDED and b"sample(s) in " not in message:
                return None
            return event
    return Event.FAILED if _JOB_TROUBLE.match(message) else None


def raised(message: bytes) -> str | None:
    """The class of b"pkg.errors.ApplianceNanError: NaN loss detected."; None for any other line."""
    match = _RAISED.match(b"\n" + message + b"\n")
    return match[1].partition(b":")[0].rpartition(b".")[2].decode("ascii", "replace") if match else None


def read_progress(message: bytes) -> ProgressLine:
    """The fields of b"| Train Device=CSX, Step=50, Loss=…"; of an evaluation's line, step is GlobalStep."""
    if match := _PROGRESS.match(message):
        device, step, loss, rate, global_rate = match.groups()
        try:
            return device, int(step), float(loss), float(rate), float(global_rate)
        except ValueError:
            pass
    found_device, found_step = _DEVICE.search(message), _STEP.search(message)
    found = {name: float(number) for name, number in _FIELDS.findall(message)}
    return (
        found_device[1] if found_device else b"",
        int(found_step[1]) if found_step else None,
        found.get(b"Loss"),
        found.get(b"Rate"),
        found.get(b"GlobalRate"),
    )


def _without_a_cut_tail(block: bytes) -> bytes:
    """Drops what may be half a number at the end of a file that doesn't end in a newline.

    "…, Step=15" may be the beginning of "Step=150": of such a progress line only what a comma closes is kept.
    """
    start = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
    tail = block[start:]
    if b" Device=" in tail and not tail.endswith(b"samples/sec"):
        return block[: start + max(tail.rfind(b","), 0)]
    return block[:start] if b"Avg Eval Loss:" in tail else block
