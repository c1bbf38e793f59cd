"""What runs before a commit and on a server: its scripts are clean shell, and it calls what there is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

SHELLCHECK = Path(sys.executable).parent / "shellcheck"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = [
    path
    for folder in (".ci", "deploy")
    for path in sorted((ROOT / folder).iterdir())
    if path.is_file() and re.match(rb"#!.*\b(ba)?sh\b", path.read_bytes())
]


def workflow_steps() -> list[dict]:
    """Every step of every job of every workflow."""
    jobs = [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]
    return [step for job in jobs for step in job["steps"]]


def commands() -> list[str]:
    """The command lines of workflows and of hooks before a commit."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    return [step["run"] for step in workflow_steps() if "run" in step] + [
        hook["entry"] for repo in hooks for hook in repo["hooks"]
    ]


def test_there_are_scripts_and_commands():
    assert {path.name for path in SCRIPTS} >= {"run", "transformers5", "slurm.sh"}
    assert {"make check", ".ci/run"} <= set(commands())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing_in_a_script(path):
    run = subprocess.run([SHELLCHECK, path], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("command", commands())
def test_a_command_calls_what_there_is(command):
    run = subprocess.run([SHELLCHECK, "--shell=bash", "-"], input=command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    program, *words = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(words) <= set(targets)
    else:
        assert (ROOT / program).stat().st_mode & 0o100


def test_shellcheck_can_refuse():
    run = subprocess.run([SHELLCHECK, "--shell=bash", "-"], input="rm -rf $HOME/$1/*", capture_output=True, text=True)
    assert run.returncode != 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_knows_no_secret(path):
    text = path.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets." not in text


def test_the_continuous_integration_runs_lint_types_and_the_tests():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-3:] == ["make check", "make test", "make audit"]
