"""Install the wheel into an environment of its own and use it away from the checkout.

The wheel is built from the checkout, and every file that git knows of the packages must be in it. Then the command runs
a sweep and its report, and the notebook of the docs runs from its first cell to its last. All that lies in a temporary
folder. ``--quick`` takes the libraries from the environment that runs this file, instead of the package index.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CONSTRAINTS = CHECKOUT / "constraints.txt"
INSTALL = CHECKOUT / ".ci" / "install"
PACKAGES = ("tunekit", "analysis")
MUST_HOLD = ("py.typed", ".yaml", ".j2")
"""Endings of files that are not Python and that the packages read."""
NOTEBOOK = CHECKOUT / "docs" / "notebook.ipynb"
CELLS = ("--models", "tiny-bert", "--methods", "full", "adapter", "lora")
SWEEP = ("run", "--preset", "demo", *CELLS, "--train-limit", "48", "--epochs", "1")
WHERE = f"import {', '.join(PACKAGES)}; print(*({', '.join(f'{name}.__file__' for name in PACKAGES)}), sep='\\n')"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient
NotebookClient(nbformat.read(sys.argv[1], as_version=4), timeout=600).execute()
"""


def main(arguments: list[str]) -> int:
    """Build, install and use the wheel; return 0. Raise CalledProcessError or RuntimeError where a step fails."""
    quick = "--quick" in arguments
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        wheel = build(folder)
        python = install(wheel, folder / "venv", quick=quick)
        away = folder / "away"
        away.mkdir()
        check_contents(python, away)
        command = python.with_name("tunekit")
        call(command, *SWEEP, cwd=away)
        call(command, "report", "ray_results/demo", "--out", "report", cwd=away)
        if not (away / "report" / "report.html").exists():
            raise RuntimeError("tunekit report wrote no report.html")
        shutil.copytree(NOTEBOOK.parent / "results", away / "results")
        call(python, "-c", EXECUTE, NOTEBOOK, cwd=away)
    say("the wheel runs a sweep, its report and the notebook without the checkout")
    return 0


def build(folder: Path) -> Path:
    """Build the wheel into ``folder`` and return its path."""
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, CHECKOUT, cwd=folder)
    (wheel,) = folder.glob("tunekit-*.whl")
    return wheel


def install(wheel: Path, environment: Path, *, quick: bool) -> Path:
    """Install the wheel and what the notebook needs into a new environment, and return its Python."""
    python = environment / "bin" / "python"
    if quick:
        venv.create(environment, with_pip=True, symlinks=True)
        # A folder that a .pth file names is searched for packages, but its own .pth files are not read: the editable
        # install of the checkout, which is one, stays outside.
        (site,) = (environment / "lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
        call(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=environment)
    else:
        call(INSTALL, environment, CONSTRAINTS, f"{wheel}[demo]", "nbclient", "ipykernel", cwd=CHECKOUT)
    return python


def check_contents(python: Path, away: Path) -> None:
    """Raise RuntimeError unless the packages come from the wheel, with every file that git knows of them."""
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = subprocess.run(
        [python, "-c", WHERE], cwd=away, env=environment_of_a_user(), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    roots = {Path(line).parent.parent for line in found}
    if len(roots) != 1 or not (root := roots.pop()).is_relative_to(python.parent.parent):
        raise RuntimeError(f"the packages come from elsewhere than the wheel: {found}")
    missing = [name for name in tracked if not (root / name).exists()]
    kinds = [ending for ending in MUST_HOLD if not any(name.endswith(ending) for name in tracked)]
    if missing or kinds:
        raise RuntimeError(f"the wheel lacks {', '.join([*missing, *kinds])}")
    say(f"the wheel holds the {len(tracked)} files of {' and '.join(PACKAGES)}")


def environment_of_a_user() -> dict[str, str]:
    """Return this process's environment without what would lead Python back to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def call(*command: object, cwd: Path) -> None:
    """Run a command in ``cwd`` and show what it prints. Raise CalledProcessError where it fails."""
    say(f"$ {' '.join(str(word) for word in command if word != EXECUTE)}")
    subprocess.run([str(word) for word in command], cwd=cwd, env=environment_of_a_user(), check=True)


def say(line: str) -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
