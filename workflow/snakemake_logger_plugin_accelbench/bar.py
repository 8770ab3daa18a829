"""How far a run is, in the terminal's last line."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

REFRESH_PER_S = 2


class _Told(ProgressColumn):
    """Words that are asked for anew each time."""

    def __init__(self, told: Callable[[], str]) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._told = told

    def render(self, task: Task) -> Text:
        return Text(self._told())


class Bar:
    """Measurements done of those planned, and in words what is said of the rest."""

    def __init__(self, console: Console, total: int, told: Callable[[], str]) -> None:
        """Show nothing yet."""
        self._progress = Progress(
            BarColumn(bar_width=20, table_column=Column(width=20)),
            _Told(told),
            console=console,
            transient=True,
            refresh_per_second=REFRESH_PER_S,
        )
        self._task = self._progress.add_task("", total=total)

    def move(self, done: int, total: int) -> None:
        """Show how many are done."""
        self._progress.update(self._task, completed=done, total=total)

    def show(self) -> None:
        """Draw it until it is hidden."""
        self._progress.start()

    def hide(self) -> None:
        """Leave the terminal to others."""
        self._progress.stop()
