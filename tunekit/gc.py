"""``python -m tunekit gc SWEEP``: what ended trials and dead processes left behind, removed."""

from collections.abc import Callable, Iterator

from tunekit.errors import UserError
from tunekit.files import remove_tree
from tunekit.lease import acquire
from tunekit.storage import Place
from tunekit.store import ResultStore


def collect(root: Place, say: Callable[[str], None]) -> None:
    """Remove checkpoints of ended trials, and drafts that killed processes left; name each and the bytes it took.

    A stopped trial that is asked for again then starts from its first epoch. Links are not followed. Raises UserError
    where there is no sweep at ``root`` or a driver runs it.
    """
    store = ResultStore(root)
    if not store.trials_folder.is_dir():
        raise UserError(
            f"{root} holds no sweep (no trials folder); give the folder that holds it, as in ray_results/demo"
        )
    lease = acquire(root)
    try:
        freed = 0
        for path in sorted(_removable(store)):
            size = _size(path)
            remove_tree(path) if path.is_dir() else path.unlink()
            say(f"{path.relative_to(root)}: {size / 1e6:.1f} MB")
            freed += size
    finally:
        lease.release()
    say(f"{freed / 1e6:.1f} MB freed")


def _removable(store: ResultStore) -> Iterator[Place]:
    """Checkpoints beside a summary, and names that only a write in progress has."""
    for folder in store.folders():
        checkpoints = folder / "checkpoint"
        if folder.is_symlink() or checkpoints.is_symlink():
            continue
        if checkpoints.is_dir() and (folder / "summary.json").is_file():
            yield checkpoints
        else:
            yield from checkpoints.glob(".draft-*")
        yield from (path for path in folder.glob(".*.*") if not path.is_dir())


def _size(path: Place) -> int:
    """Bytes of a file or of all files below a folder."""
    return sum(one.lstat().st_size for one in ([path] if not path.is_dir() else path.rglob("*")))
