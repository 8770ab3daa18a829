"""Runs that are over: nothing trains, and their logs are read as if they had been measured here."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from accelbench.config import Config, LogPlatform
from accelbench.errors import Finding, UserError, fails, ok
from accelbench.plan.specs import TrainRun
from accelbench.store.records import ParsedLog
from accelbench.training.backends.backend import Backend


class Log(Backend[LogPlatform]):
    """Logs that were brought along: one per run, or one that holds many."""

    def read(self, log: Path, run: TrainRun) -> ParsedLog:
        """Read one planned run from a file that is named for it, or from one that holds many."""
        from accelbench.training.log.reader import read_log, read_logs

        runs, shared = read_logs(log), self.platform.holds_all_sizes
        if len(runs) == 1 and not shared:
            return read_log(log, batch_size=run.batch)
        own = [each for each in runs if each.batch_size == run.batch]
        wanted = run.repeat if shared and "{repeat}" not in self.platform.logs else 1
        if len(own) < wanted:
            sizes = Counter(each.batch_size for each in runs)
            held = ", ".join(
                f"{n} of {f'batch {size}' if size else 'an unknown batch size'}" for size, n in sizes.items()
            )
            raise UserError(
                f"{log} holds {held}; run {wanted} of batch {run.batch} is not among them. "
                "Correct training.batch_sizes, or training.repeats."
            )
        return own[wanted - 1] if shared else own[-1]

    def preflight(self, config: Config, runs: Sequence[TrainRun]) -> Iterator[Finding]:
        """Yield whether the logs are there, and hold the runs that are planned."""
        what = f"{self.name}: logs"
        logs = {run: self.platform.log(run.batch, run.repeat, run.micro) for run in runs}
        if gone := [str(log) for log in dict.fromkeys(logs.values()) if not log.exists()]:
            yield fails(what, f"not there: {', '.join(gone)}", "Put them there, or correct `logs`.")
            return
        try:
            for run, log in logs.items() if self.platform.holds_all_sizes else ():
                self.read(log, run)
        except UserError as error:
            yield fails(what, error)
        else:
            files = len(set(logs.values()))
            yield ok(what, f"{files} file{'s' * (files > 1)} there")
