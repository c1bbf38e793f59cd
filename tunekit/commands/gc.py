"""`tunekit gc`: remove files that ended trials and dead processes left behind."""

from collections.abc import Callable, Iterator

from tunekit.storage.files import remove_tree
from tunekit.storage.lease import acquire
from tunekit.storage.paths import Place
from tunekit.store.existing import no_sweep
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import SUMMARY_FILE


def collect(root: Place, say: Callable[[str], None], *, models: bool = False) -> None:
    """Remove checkpoints of ended trials and drafts of killed processes, and say the name and the size of each.

    With ``models`` the weights that ended trials keep for export are removed, too. A stopped trial that is asked for
    again then starts from its first epoch. Links are not followed. Raises UserError where there is no sweep at
    ``root`` or a driver runs it.
    """
    store = ResultStore(root)
    if not store.trials_folder.is_dir():
        raise no_sweep(root, "trials folder")
    lease = acquire(root)
    try:
        freed, found = 0, sorted(_removable(store, models))
        for path in found:
            size = _size(path)
            remove_tree(path) if path.is_dir() else path.unlink()
            say(f"{str(path).removeprefix(f'{root}/')}: {size / 1e6:.1f} MB")
            freed += size
    finally:
        lease.release()
    say(f"{freed / 1e6:.1f} MB freed" if found else "nothing to remove")


def _removable(store: ResultStore, models: bool) -> Iterator[Place]:
    """Yield checkpoints of ended trials, with ``models`` also their kept weights, and half-written files."""
    for folder in store.folders():
        if folder.is_symlink():
            continue
        ended = (folder / SUMMARY_FILE).is_file()
        for inner, may_go in ((folder / "checkpoint", True), (folder / "model", models)):
            if inner.is_symlink():
                continue
            if inner.is_dir() and ended and may_go:
                yield inner
            else:
                yield from inner.glob(".draft-*")
        yield from (path for path in folder.glob(".*.*") if not path.is_dir())


def _size(path: Place) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    return sum(one.lstat().st_size for one in ([path] if not path.is_dir() else path.rglob("*")))
