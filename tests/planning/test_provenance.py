"""Where numbers come from: the stamp of a tree without .git, and which versions count as other ones."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tunekit.planning.provenance import STAMP, differing, source_hash

VERSIONS = {"python": "3.11.7", "torch": "2.13.0+cpu", "ray": "2.60.0", "tunekit": "0.1.0", "peft": "0.21.2"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A git checkout of this package, committed."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "tunekit", root / "tunekit", ignore=shutil.ignore_patterns("__pycache__", "_source.json"))
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "all")
    return root


def git(root, *arguments):
    run = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def seen(root):
    """``source()`` and ``unstamped()`` as a process in ``root`` finds them."""
    code = "from tunekit.planning.provenance import source, unstamped; print([source(), unstamped()])"
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return eval(run.stdout)


def stamp(root):
    return subprocess.run([sys.executable, "-m", "tunekit", "stamp"], cwd=root, capture_output=True, text=True)


@pytest.mark.slow
def test_a_stamped_copy_names_its_commit_until_it_is_edited(checkout, tmp_path):
    commit = git(checkout, "rev-parse", "HEAD")
    run = stamp(checkout)
    assert (run.returncode, run.stdout.count("\n")) == (0, 1)
    assert commit in run.stdout
    found, line = seen(checkout)
    assert found == {"commit": commit, "dirty": False, "source_hash": source_hash()}, "the stamp is no change"
    assert line is None

    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
    assert seen(copy) == [found, None]
    refused = stamp(copy)
    assert refused.returncode == 2
    assert "no git checkout" in refused.stderr

    (copy / "tunekit" / "seeding.py").open("a").write("\n# edited\n")
    edited, line = seen(copy)
    assert edited["commit"] is edited["dirty"] is None
    assert edited["source_hash"] != found["source_hash"]
    assert "differs from its stamp" in line

    (copy / STAMP).unlink()
    assert "neither .git nor a stamp" in seen(copy)[1]


@pytest.mark.slow
def test_a_changed_checkout_is_stamped_as_changed(checkout, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(checkout, changed)
    (changed / "tunekit" / "seeding.py").open("a").write("\n# edited\n")
    assert "with changes" in stamp(changed).stdout
    shutil.rmtree(changed / ".git")
    assert seen(changed)[0]["dirty"] is True


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"torch": "2.13.0+cu128"}, []),
        ({"python": "3.11.9", "ray": "2.61.0", "tunekit": "0.2.0"}, []),
        ({"torch": "2.12.0+cpu"}, ["torch"]),
        ({"python": "3.12.7", "peft": None}, ["python", "peft"]),
    ],
)
def test_versions_that_can_move_a_number_are_compared(changes, names):
    assert differing(VERSIONS, {**VERSIONS, **changes}) == names
