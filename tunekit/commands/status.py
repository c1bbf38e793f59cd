"""`tunekit status`: the progress of a sweep, as a table, as JSON, or as a page that refreshes itself."""

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunekit.commands.output import columns_together, line_width, paragraph, show, show_json
from tunekit.errors import UserError
from tunekit.parsing import how_many, plain
from tunekit.planning.args import Format
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
REFRESH_SECONDS = 5


def summary_lines(progress: SweepProgress) -> list[str]:
    """Return a line on the driver, one on the numbers of trials in each state, and one for each study."""
    by_patience = sum(trial.by_patience for trial in progress.trials)
    notes = {ProgressState.DONE: f" ({by_patience} stopped by patience)"} if by_patience else {}
    counts = ", ".join(f"{count} {state.value}{notes.get(state, '')}" for state, count in progress.counts.items())
    eta = "" if progress.eta_seconds is None else f"; ETA {clock(progress.eta_seconds)}"
    return [f"driver: {progress.driver}", *([f"trials: {counts}{eta}"] if counts else []), *progress.studies]


def status_parts(progress: SweepProgress) -> Iterator[Table | Text]:
    """Yield everything for a terminal: the tables, and texts of a line each."""
    if progress.cells:
        yield Text(plain(f"{progress.name}: {how_many(len(progress.trials), 'trial')}"))
        yield from _tables(progress)
        if line := legend(progress):
            yield Text(line, style="dim")
    for line in [*summary_lines(progress), *progress.failures, *progress.notes]:
        yield Text(plain(line))


def _tables(progress: SweepProgress) -> Iterator[Table]:
    """Yield tables of the cells by seeds, to be shown below each other, as many as the terminal's width needs."""
    heads = [f"seed {seed}" for seed in progress.seeds]
    widths = [
        max(len(head), *(len(seeds[seed].text) for seeds in progress.cells.values() if seed in seeds))
        for head, seed in zip(heads, progress.seeds, strict=True)
    ]
    # A cell of a search has a long name, which is wrapped.
    first = min(max(map(cell_len, progress.cells)), line_width() * 9 // 20)
    for together in columns_together(first, widths):
        table = Table()
        table.add_column("cell", max_width=first)
        for head in heads[together]:
            table.add_column(head, justify="center")
        for name, seeds in progress.cells.items():
            table.add_row(Text(plain(name)), *(_mark(seeds.get(seed)) for seed in progress.seeds[together]))
        yield table


def legend(progress: SweepProgress) -> str:
    """Return a sentence on the numbers in the table; an empty text where it has none."""
    metrics = dict.fromkeys(trial.metric for trial in progress.trials if trial.score is not None)
    if not metrics:
        return ""
    names = ", ".join(f"{one.label} in percent" if one.unit == "%" else one.label for one in metrics)
    return f"Numbers are {names} after the last epoch, on test, or on validation where a trial does not score test."


def _mark(trial: TrialProgress | None) -> Text:
    return Text("") if trial is None else Text(trial.text, style=STYLES[trial.state])


def write_page(progress: SweepProgress, path: Path) -> None:
    """Write the page, whole or not at all. Raises OSError."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True).from_string(
        Path(__file__).with_name("status.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        progress=progress, lines=_plain(summary_lines(progress)), failures=_plain(progress.failures),
        notes=_plain(progress.notes), legend=legend(progress), refresh=REFRESH_SECONDS,
    )  # fmt: skip
    write_atomic(path, page.encode())


def _plain(lines: Iterable[str]) -> list[str]:
    return [plain(line) for line in lines]


def status_as_json(progress: SweepProgress) -> dict[str, Any]:
    """Return the progress for programs. Times are seconds or ISO 8601, scores in [0, 1], unknown values None."""
    return {
        "sweep": progress.name,
        "time": progress.time.isoformat(timespec="seconds"),
        "running": progress.running,
        "over": progress.is_over,
        "driver": progress.driver,
        "eta_seconds": progress.eta_seconds,
        "counts": {state.value: count for state, count in progress.counts.items()},
        "trials": [_trial_as_json(trial) for trial in progress.trials],
        "studies": list(progress.studies),
        "notes": list(progress.notes),
    }


def _trial_as_json(trial: TrialProgress) -> dict[str, Any]:
    spec = trial.spec
    return {
        "trial_id": spec.trial_id,
        "model": spec.model,
        "dataset": spec.dataset,
        "method": spec.method,
        "seed": spec.seed,
        "folder": spec.folder,
        "state": trial.state.value,
        "epochs": trial.epochs,
        "planned_epochs": spec.epochs,
        "stopped_by_patience": trial.by_patience,
        trial.metric.name: trial.score,
        "error": trial.error,
    }


def show_status(sweep: Place, *, watch: bool, html: Path | None, form: Format = "text") -> None:
    """Print the progress of ``sweep`` or, with ``html``, write it to that page.

    With ``watch`` this goes on until the sweep is over or SIGINT comes. Raises UserError where there is no sweep, or
    the page can't be written.
    """
    reader, console = ProgressReader(sweep), Console()
    if not watch:
        _show_once(reader.read(), html, form)
        return
    on_terminal = console.is_terminal and not html and form == "text"
    with Live(console=console, auto_refresh=False) if on_terminal else nullcontext() as live:
        shown, was_running = "", False
        try:
            while True:
                progress = reader.read()
                if live:
                    live.update(Group(*status_parts(progress)), refresh=True)
                elif html or _essence(progress) != shown:
                    shown = _essence(progress)
                    _show_once(progress, html, form)
                if progress.is_over or (was_running and not progress.running):
                    return
                was_running = progress.running
                time.sleep(REFRESH_SECONDS)
        except Stopped as stopped:
            if stopped.exit_code != EXIT_CODES[signal.SIGINT]:
                raise


def _show_once(progress: SweepProgress, html: Path | None, form: Format) -> None:
    if html is not None:
        try:
            write_page(progress, html)
        except OSError as error:
            raise UserError(f"can't write the page {html}: {error.strerror}") from error
    elif form == "json":
        show_json(status_as_json(progress))
    else:
        for part in status_parts(progress):
            if isinstance(part, Table):
                show(part)
            else:
                paragraph(part.plain)


def _essence(progress: SweepProgress) -> str:
    """Return a text that changes whenever the table has to be printed again, where no terminal refreshes it."""
    texts = [trial.text for trial in progress.trials]
    return repr((progress.running, progress.studies, progress.notes, texts))
