"""Where a sweep stands, shown: a table for a terminal, and a page that refreshes itself."""

import signal
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from jinja2 import Environment
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunekit.errors import UserError
from tunekit.parsing import plain
from tunekit.signals import EXIT_CODES, Stopped
from tunekit.storage.files import write_atomic
from tunekit.storage.paths import Place
from tunekit.store.eta import clock
from tunekit.store.progress import ProgressReader, ProgressState, SweepProgress, TrialProgress

STYLES = {
    ProgressState.DONE: "green",
    ProgressState.RUNNING: "cyan",
    ProgressState.WAITING: "dim",
    ProgressState.INTERRUPTED: "yellow",
    ProgressState.STOPPED: "yellow",
    ProgressState.DIVERGED: "red",
    ProgressState.NO_MEMORY: "red",
    ProgressState.FAILED: "red",
    ProgressState.STALE: "magenta",
    ProgressState.DAMAGED: "red",
}
LEGEND = "Numbers are macro-F1 in percent after the last epoch, on test, or on validation where test is sealed."
REFRESH_SECONDS = 5


def summary_lines(standing: SweepProgress) -> list[str]:
    """The driver, how many trials are in which state and the time left; then studies."""
    counts = ", ".join(f"{count} {state.value}" for state, count in standing.counts.items())
    eta = "" if standing.eta_seconds is None else f"; ETA {clock(standing.eta_seconds)}"
    return [f"driver: {standing.driver}", *([f"trials: {counts}{eta}"] if counts else []), *standing.studies]


def status_group(standing: SweepProgress) -> Group:
    """Everything for a terminal."""
    table = Table(title=Text(plain(f"{standing.name}: {len(standing.trials)} trials")), title_justify="left")
    table.add_column("cell")
    for seed in standing.seeds:
        table.add_column(f"seed {seed}", justify="center")
    for name, seeds in standing.cells.items():
        table.add_row(Text(plain(name)), *(_mark(seeds.get(seed)) for seed in standing.seeds))
    shown = [table, Text(LEGEND, style="dim")] if standing.cells else []
    lines = [*summary_lines(standing), *standing.failures, *standing.notes]
    return Group(*shown, *(Text(plain(line)) for line in lines))


def _mark(trial: TrialProgress | None) -> Text:
    return Text("") if trial is None else Text(trial.text, style=STYLES[trial.state])


def write_page(standing: SweepProgress, path: Path) -> None:
    """Write the page, whole or not at all. Raises OSError."""
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        Path(__file__).with_name("status.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        standing=standing, lines=_plain(summary_lines(standing)), failures=_plain(standing.failures),
        notes=_plain(standing.notes), legend=LEGEND, refresh=REFRESH_SECONDS,
    )  # fmt: skip
    write_atomic(path, page.encode())


def _plain(lines: Iterable[str]) -> list[str]:
    return [plain(line) for line in lines]


def show(sweep: Place, *, watch: bool, html: Path | None) -> None:
    """Print where ``sweep`` stands or, with ``html``, write it there; with ``watch`` until it is over or SIGINT comes.

    Raises UserError where there is no sweep, or the page can't be written.
    """
    reader, console = ProgressReader(sweep), Console()
    if not watch:
        _show_once(reader.read(), console, html)
        return
    with Live(console=console, auto_refresh=False) if console.is_terminal and not html else nullcontext() as live:
        shown, was_running = "", False
        try:
            while True:
                standing = reader.read()
                if live:
                    live.update(status_group(standing), refresh=True)
                elif html or _essence(standing) != shown:
                    shown = _essence(standing)
                    _show_once(standing, console, html)
                if standing.is_over or (was_running and not standing.running):
                    return
                was_running = standing.running
                time.sleep(REFRESH_SECONDS)
        except Stopped as stopped:
            if stopped.exit_code != EXIT_CODES[signal.SIGINT]:
                raise


def _show_once(standing: SweepProgress, console: Console, html: Path | None) -> None:
    if html is None:
        console.print(status_group(standing))
        return
    try:
        write_page(standing, html)
    except OSError as error:
        raise UserError(f"can't write the page {html}: {error.strerror}") from error


def _essence(standing: SweepProgress) -> str:
    """What has to change for the table to be printed again where no terminal shows it."""
    texts = [trial.text for trial in standing.trials]
    return repr((standing.running, standing.studies, standing.notes, texts))
