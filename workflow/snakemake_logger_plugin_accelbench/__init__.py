"""What Snakemake's terminal shows of a run of accelbench: a line per measurement, and how far the run is.

Snakemake's own log stays in .snakemake/log. It is shown here, too, when it is asked for: by -p, --verbose, --debug-dag
or --quiet, for whatever is no run, and should this module fail.
"""

import logging
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from accelbench.plan.past import Past
    from accelbench.plan.specs import Measurement
    from snakemake_logger_plugin_accelbench.bar import Bar

MEASURED = "measured.json"
OWN_WORDS = ("At least one job did not complete successfully", "Exiting because a job execution failed")
"""What Snakemake says at the end of a run in which jobs failed; each was told of when it did."""
IDLE, STOPS = "Nothing to be done", "Terminating processes"
ENDS = ("Will exit after finishing", "Shutting down", STOPS)
PAGE_RULE, MOST_SENTENCES = "page", 3
_SILENT = (
    LogEvent.RESOURCES_INFO, LogEvent.JOB_STARTED, LogEvent.PROGRESS, LogEvent.SHELLCMD, LogEvent.GROUP_INFO,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Job:
    """A job that Snakemake has started, or in a dry run would start."""

    rule: str
    folders: list[Path]
    """Where it measures."""
    log: Path | None
    started_s: float


class LogHandler(LogHandlerBase):
    """Takes Snakemake's events, in a thread of its own; nothing that happens here ends a run."""

    def __post_init__(self) -> None:
        """Begin with nothing known."""
        asked = self.common_settings
        self._as_snakemake = bool(asked.quiet or asked.verbose or asked.printshellcmds or asked.debug_dag)
        self._stream = sys.stdout if asked.stdout else sys.stderr
        self._before: list[logging.LogRecord] = []
        self._begun = self._closed = self._failed = self._stopped = False
        self._stats, self._stats_text = Counter[str](), ""
        self._jobs: dict[int, _Job] = {}
        self._running: dict[int, _Job] = {}
        self._rules_done: set[str] = set()
        self._measured: set[int] = set()
        self._bar: Bar | None = None
        self._waiting: dict[Path, Measurement] = {}
        self._left_s, self._left_at_s = 0.0, monotonic()

    @property
    def writes_to_stream(self) -> bool:
        """Snakemake itself then writes nothing to the terminal."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake keeps its log."""
        return False

    @property
    def has_filter(self) -> bool:
        """Everything is looked at."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Lines are written here."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """A list of jobs is enough."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Show what an event means, or what Snakemake makes of it."""
        try:
            if self._as_snakemake:
                self._snakemake.handle(record)
            else:
                self._take(record)
        except Exception:
            self._give_up(record)

    def close(self) -> None:
        """End with what was found, or planned."""
        if not self._closed:
            self._closed = True
            with suppress(Exception):
                self._end()
        super().close()

    def _give_up(self, record: logging.LogRecord) -> None:
        """Leave everything from here on to Snakemake's own handler."""
        with suppress(Exception):
            self._hide()
            self._as_snakemake = True
            self._snakemake.handle(record)

    @cached_property
    def _snakemake(self) -> logging.Handler:
        """Snakemake's own handler, made as it makes it."""
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

        asked = self.common_settings
        quiet = set(asked.quiet or ())
        handler: logging.Handler = ColorizingTextHandler(
            nocolor=asked.nocolor,
            stream=self._stream,
            formatter=DefaultFormatter(quiet, asked.show_failed_logs and self._as_snakemake),
            filter=DefaultFilter(quiet, asked.debug_dag, asked.verbose, asked.dryrun, asked.printshellcmds),
        )
        return handler

    # --- events -------------------------------------------------------------------------------------------------

    def _take(self, record: logging.LogRecord) -> None:
        event: Any = getattr(record, "event", None)
        handle = {
            LogEvent.WORKFLOW_STARTED: self._workflow_started,
            LogEvent.RUN_INFO: self._run_info,
            LogEvent.JOB_INFO: self._job_info,
            LogEvent.JOB_FINISHED: self._job_finished,
            LogEvent.JOB_ERROR: self._job_error,
        }.get(event)
        if handle:
            handle(record)
        elif record.levelno > logging.INFO:
            self._error(record)
        elif not self._begun:
            self._before.append(record)
        elif event is None:
            if record.getMessage().startswith(IDLE):
                self._pass_on(record)
            elif record.getMessage().startswith(ENDS):
                self._stopped |= record.getMessage().startswith(STOPS)
                self._hide()
                self._bar = None
        elif event not in _SILENT:
            self._pass_on(record)

    def _workflow_started(self, _: logging.LogRecord) -> None:
        self._begun = True
        self._before.clear()

    def _run_info(self, record: Any) -> None:
        """Learn how many jobs of each rule there are."""
        self._stats, self._stats_text = Counter(record.stats), record.getMessage()
        if not self.common_settings.dryrun and self._to_measure and self._on_terminal:
            from snakemake_logger_plugin_accelbench.bar import Bar

            with suppress(Exception):
                self._waiting = _waiting(self._stats)
            self._estimate()
            self._bar = Bar(self._console, self._to_measure, self._told)

    def _job_info(self, record: Any) -> None:
        outputs = [Path(path) for path in record.output if path.endswith(MEASURED)]
        log = Path(record.log[0]) if record.log else None
        job = _Job(record.rule_name, [path.parent for path in outputs], log, monotonic())
        self._jobs[record.jobid] = self._running[record.jobid] = job
        self._show()

    def _job_finished(self, record: Any) -> None:
        job = self._running.pop(record.job_id, None)
        if job is None:
            return
        self._rules_done.add(job.rule)
        for folder in _measured_by(job):
            self._say(f"{_name(folder)}: {_last_words(job, folder) or 'measured'}")
            self._learn(job, folder)
        self._move(record.job_id, job)

    def _job_error(self, record: Any) -> None:
        self._failed = True
        job = self._running.pop(record.jobid, None)
        if job is None:
            self._pass_on(record)
            return
        missing = [folder for folder in job.folders if not (folder / MEASURED).exists()]
        if self._stopped:
            self._say(f"stopped: {', '.join(map(_name, missing)) or job.rule}")
        else:
            self._say_why(job, missing)
        self._move(record.jobid, job)

    def _say_why(self, job: _Job, missing: list[Path]) -> None:
        from accelbench.foreign import one_line
        from accelbench.plan.past import reason

        for folder in missing:
            why = reason(folder) or _complaint(job)
            self._say(f"failed: {_name(folder)}: {one_line(why)}", "red")
        if not missing:
            self._say(f"failed: {job.rule}: {one_line(_complaint(job))}", "red")

    def _error(self, record: Any) -> None:
        """Pass on warnings and errors, but for those about a failed job, which stands there already.

        A config file that Snakemake can't read ends it before the Snakefile is read: said as the workflow would say it.
        """
        is_error = record.levelno >= logging.ERROR
        self._failed |= is_error
        text = record.getMessage()
        of_a_job = "CalledProcessError" in text or text.startswith(OWN_WORDS) or OWN_WORDS[0] in text
        if is_error and not self._begun and (mistake := _config_mistake()):
            self._say(mistake, "red")
        elif not of_a_job:
            self._pass_on(record)

    # --- what is shown ------------------------------------------------------------------------------------------

    @cached_property
    def _on_terminal(self) -> bool:
        return self._stream.isatty() and not self.common_settings.nocolor

    @cached_property
    def _console(self) -> Any:
        from rich.console import Console

        return Console(file=self._stream)

    def _say(self, line: str, style: str = "") -> None:
        if self._on_terminal:
            self._console.print(line, style=style or None, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)

    def _pass_on(self, record: logging.LogRecord) -> None:
        """Let Snakemake's handler write, with the bar out of its way."""
        self._hide()
        self._snakemake.handle(record)
        self._show()

    def _show(self) -> None:
        """Show the bar while jobs run: what else writes to the terminal does so before or after."""
        if self._bar and self._running:
            self._bar.show()

    def _hide(self) -> None:
        if self._bar:
            self._bar.hide()

    def _move(self, number: int, job: _Job) -> None:
        """Note that a job is over."""
        if job.folders:
            self._measured.add(number)
            measured = [each for each in self._waiting if any(each.is_relative_to(folder) for folder in job.folders)]
            for folder in measured:
                self._waiting.pop(folder)
            self._estimate()
            if self._bar:
                self._bar.move(len(self._measured), self._to_measure)
        if not self._running:
            self._hide()

    @property
    def _to_measure(self) -> int:
        """How many measuring jobs there are."""
        from accelbench.plan.measurement import MEASURING_RULES

        return sum(self._stats[rule] for rule in MEASURING_RULES)

    def _told(self) -> str:
        """Say how many are measured, how long the others take, and what runs."""
        left_s = self._left_s - (monotonic() - self._left_at_s)
        left = [f"{_duration(left_s)} left"] if left_s > 0 else []
        jobs = list(self._running.values())
        runs = [_runs(job) for job in ([job for job in jobs if job.folders] or jobs)[-1:]]
        return " · ".join([f"{len(self._measured)} of {self._to_measure}", *left, *runs])

    # --- durations ----------------------------------------------------------------------------------------------

    @cached_property
    def _past(self) -> "list[Past]":
        from accelbench.plan.past import past

        return list(past())

    def _learn(self, job: _Job, folder: Path) -> None:
        """Take what was measured just now for what the others like it will take."""
        from accelbench.plan.past import measured_in, past_of

        if (item := measured_in(folder)) and folder in job.folders:
            self._past.append(past_of(item, monotonic() - job.started_s))

    def _estimate(self) -> None:
        """Tell anew how long what is left takes, if that is known of all of it."""
        from accelbench.plan.past import together_s

        left_s, all_known = together_s(self._waiting.values(), self._past)
        self._left_s, self._left_at_s = left_s if all_known else 0.0, monotonic()

    # --- the end ------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._hide()
        if self._as_snakemake:
            return
        for record in self._before:
            self._snakemake.handle(record)
        if not self._begun or self._failed:
            return
        if self.common_settings.dryrun:
            self._end_of_dry_run()
        elif PAGE_RULE in self._rules_done:
            self._conclude()

    def _end_of_dry_run(self) -> None:
        """Say how many measurements there would be, and how long they would take."""
        from accelbench.plan.past import measured_in, together_s

        folders = [folder for job in self._jobs.values() for folder in job.folders]
        if self._stats_text:
            self._say(self._stats_text.rstrip() + "\n")
        if not folders:
            self._say("nothing to measure")
            return
        items: list[Measurement] = [item for folder in folders if (item := measured_in(folder))]
        known_s, all_known = together_s(items, self._past)
        how = "about" if all_known and len(items) == len(folders) else "at least"
        took = f", {how} {_duration(known_s)}" if known_s else ""
        self._say(f"{len(folders):,} measurement{'s' if len(folders) > 1 else ''}{took}")

    def _conclude(self) -> None:
        """Say what the page begins with, and where it is."""
        from accelbench.foreign import printable
        from accelbench.report.page.cards import cards
        from accelbench.report.summary import read_summary
        from accelbench.store import paths

        results = Path(paths.RESULTS)
        found = cards(read_summary(results / "analysis.json"))
        said = [printable(f"{card.question} {card.sentence}") for card in found]
        self._say("\n".join(["", *said[:MOST_SENTENCES], str(results / "report.html")]))


def _config_mistake() -> str | None:
    """Say what keeps one of the config files of the command line from being read; None: nothing does."""
    from snakemake.cli import parse_args

    from accelbench.config.configfile import read
    from accelbench.errors import UserError
    from accelbench.foreign import printable

    _, asked = parse_args(sys.argv[1:])
    try:
        for path in asked.configfile or ():
            read(path)
    except UserError as error:
        return printable(str(error))
    return None


def _name(folder: Path) -> str:
    from accelbench.plan.past import measured_in

    item = measured_in(folder)
    return item.name if item else folder.name


def _measured_by(job: _Job) -> list[Path]:
    """Return where a job has measured: a job with all rounds of an endpoint names their folders in its log."""
    from accelbench.plan.past import measured_in

    named = dict.fromkeys(Path(line.partition(": ")[0]) for line in _tail(job))
    rounds = [place for place in named if any(place.is_relative_to(folder) for folder in job.folders)]
    return [folder for folder in job.folders if measured_in(folder)] or [each for each in rounds if measured_in(each)]


def _last_words(job: _Job, folder: Path) -> str | None:
    """Return what a job said last about a folder."""
    said = [line.removeprefix(f"{folder}: ") for line in _tail(job) if line.startswith(f"{folder}: ")]
    return said[-1] if said else None


def _runs(job: _Job) -> str:
    """Say what is under way: of a measurement, with what its job said last."""
    if not job.folders:
        return job.rule
    folder, said = job.folders[0], _tail(job)[-1:]
    return ": ".join([_name(folder), *(line.removeprefix(f"{folder}: ") for line in said)])


def _complaint(job: _Job) -> str:
    """Return what a job ended with, and where its log is."""
    from accelbench.plan.past import log_complaint

    if job.log is None:
        return "it keeps no log"
    told = log_complaint(job.log) or "".join(_tail(job)[-1:])
    return f"{told} (its log is {job.log})" if told else f"its log is {job.log}"


def _tail(job: _Job) -> list[str]:
    from accelbench.foreign import printable
    from accelbench.plan.past import last_lines

    return [printable(line) for line in last_lines(job.log)] if job.log else []


def _waiting(stats: Counter[str]) -> "dict[Path, Measurement]":
    """Return the planned measurements that lack a result; nothing where Snakemake counts others."""
    from accelbench.config.configfile import load_merged
    from accelbench.plan import measurement, specs
    from accelbench.store import paths

    config = load_merged(Path(paths.RUN_CONFIG))
    counted = sum(stats[rule] for rule in measurement.MEASURING_RULES)
    runs = specs.train_runs(config) if stats["train"] + stats["train_log"] else []
    rounds = specs.infer_rounds(config) if stats["infer"] + stats["infer_on_node"] + stats["infer_endpoint"] else []
    runs = [run for run in runs if not measurement.is_of(run.folder, specs.train_spec(config, run))]
    rounds = [each for each in rounds if not measurement.is_of(each.folder, specs.infer_spec(config, each))]
    searches = specs.searches(config) if stats["search"] + stats["search_on_node"] else []
    searches = [each for each in searches if not measurement.is_of(each.folder, specs.search_spec(config, each))]
    jobs = len(runs) + len({specs.result_of(config, each) for each in rounds}) + len(searches)
    waiting: list[Measurement] = [*runs, *rounds, *searches]
    return {item.folder: item for item in waiting} if jobs == counted else {}


def _duration(seconds: float) -> str:
    """Say how long, in the coarsest unit that still tells."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
