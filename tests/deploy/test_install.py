"""`.ci/install`: which build of torch it takes, and with which program, in a PATH that holds scripts of the test."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

CPU = "https://download.pytorch.org/whl/cpu"
NOTES = """#!/bin/sh
echo "${{0##*/}} $*" >> {calls}
{rest}
"""
PYTHON = """case "$*" in
    *version_info*) exit $OLD ;;
    *urllib*) exit $OFFLINE ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac"""
UV = """if [ "$1" = venv ]; then
    mkdir -p "$6/bin" && : > "$6/bin/python" && chmod +x "$6/bin/python"
fi"""


@pytest.fixture
def install(tmp_path):
    """Run the script: (exit code, lines that it said, commands that it ran)."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()

    def write(name: str, rest: str) -> None:
        (programs / name).write_text(NOTES.format(calls=calls, rest=rest))
        (programs / name).chmod(0o755)

    for tool in ("uname", "mkdir", "cp", "chmod"):
        (programs / tool).symlink_to(
            next(Path(folder, tool) for folder in ("/usr/bin", "/bin") if Path(folder, tool).exists())
        )

    def run(
        *, driver=False, uv=False, offline=False, old=False, **environment: str
    ) -> tuple[int, list[str], list[str]]:
        calls.write_text("")
        write("python3", PYTHON)
        write("nvidia-smi", f"exit {int(not driver)}")
        if uv:
            write("uv", UV)
        environment |= {"PATH": str(programs), "OFFLINE": str(int(offline)), "OLD": str(int(old))}
        command = [ROOT / ".ci" / "install", tmp_path / "venv", "constraints.txt", "-e", ".[demo]"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        ran = [line for line in calls.read_text().splitlines() if " install " in line]
        return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()], ran

    return run


@pytest.mark.parametrize(
    ("machine", "index", "said"),
    [
        ({}, CPU, "torch: the build for the CPU, since no NVIDIA driver was found; about 200 MB to download"),
        ({"driver": True}, None, "torch: the build of PyPI, for CUDA, since there is an NVIDIA driver"),
        ({"offline": True}, None, f"torch: the build of the default index, since {CPU} can't be reached"),
        (
            {"TORCH_INDEX": "https://here/simple"},
            "https://here/simple",
            "torch: from https://here/simple (TORCH_INDEX)",
        ),
    ],
    ids=["no driver", "driver", "no way to the index", "an index of one's own"],
)
@pytest.mark.parametrize("uv", [False, True], ids=["pip", "uv"])
@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="on macOS PyPI's build is the small one")
def test_the_build_of_torch_and_where_it_comes_from(install, machine, index, said, uv):
    code, lines, (torch, rest) = install(uv=uv, **machine)
    assert code == 0
    assert [line.startswith(said) for line in lines if line.startswith("torch:")] == [True]
    assert torch.endswith(f"--no-deps --index-url {index} torch" if index else "--no-deps torch")
    assert rest.endswith("-c constraints.txt -e .[demo]")
    assert torch.startswith("uv pip install" if uv else "python -m pip install")
    assert f"with {'uv' if uv else 'pip'}" in lines[-1]


def test_a_python_that_is_too_old_is_named_before_anything_is_made(install, tmp_path):
    code, lines, ran = install(old=True)
    assert code == 2
    assert lines == ["error: python3 is not Python 3.11 to 3.14; name one that is, as in: make demo PYTHON=python3.12"]
    assert not ran
    assert not (tmp_path / "venv").exists()


def test_make_calls_it_once_for_a_new_environment():
    plan = subprocess.run(
        ["make", "-n", "-B", "--no-print-directory", ".venv/.installed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert plan == ['.ci/install .venv constraints.txt -e ".[demo,dev]"', "touch .venv/.installed"]
