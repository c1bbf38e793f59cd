"""deploy/: each file against its tool's own schema or checker, and every command in it parsed by the real program."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT
from tunekit.commands.command_line import main

DEPLOY = ROOT / "deploy"
SBATCH = re.compile(r"(?:COMMAND=(\S+) )?sbatch (?:--\S+ )*deploy/slurm\.sh ([^\n#]*)")
COMMAND = re.compile(
    r"^(?!# )(?:.*-- python -m |.*=auto |#   )?tunekit ((?:run|search|stamp|doctor)\b[^\n#&|`]*)", re.M
)


def launcher():
    return yaml.safe_load((DEPLOY / "cluster.aws.yaml").read_text())


def rayjob():
    return yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())


def dockerfile():
    """The Dockerfile's instructions, lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
    return [line.split(None, 1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_launcher_accepts_the_aws_cluster():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = launcher()
    validate_config(prepare_config(config))
    kinds = config["available_node_types"]
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0}, "the head trains nothing"
    workers = [kind for name, kind in kinds.items() if name != config["head_node_type"]]
    assert all(kind["resources"]["GPU"] and kind["min_workers"] for kind in workers)
    assert all(kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for kind in workers)
    assert config["file_mounts"] == {}
    installs = [one for one in config["setup_commands"] + config["head_setup_commands"] if "pip install" in one]
    assert installs
    assert all("-c ~/tunekit/constraints.txt" in one for one in installs)
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]


def test_the_launchers_schema_can_refuse():
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(launcher() | {"max_worker": 3}))


def test_the_rayjob_has_only_known_fields_and_asks_for_a_token():
    schema = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())
    job = rayjob()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(job, schema)
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"]
    assert {"ttlSecondsAfterFinished", "backoffLimit", "activeDeadlineSeconds", "submissionMode"} <= set(spec)
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    [pinned] = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert cluster["rayVersion"] == pinned
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in pods):
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    for change in ({"backofLimit": 1}, {"ttlSecondsAfterFinished": "600"}, {"submissionMode": "Http"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**job, "spec": spec | change}, schema)


def test_the_dockerfile_installs_the_lock_copies_what_is_there_and_does_not_run_as_root():
    steps = dockerfile()
    known = {"FROM", "RUN", "WORKDIR", "ARG", "COPY", "USER", "ENV", "CMD"}
    assert {name for name, _ in steps} <= known
    assert steps[0] == ["FROM", "python:3.11-slim-bookworm"]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for name, rest in steps:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored, "the build would not see it"
        if name == "RUN":
            assert subprocess.run(["sh", "-n", "-c", rest]).returncode == 0
            assert rest.count("pip install") == rest.count("-c constraints.txt")
    users = [rest for name, rest in steps if name == "USER"]
    assert users == ["tunekit"]
    assert any(name == "ENV" and "RAY_AUTH_MODE=token" in rest for name, rest in steps)


def commands():
    """Every command line of ours in deploy/ and docs/cluster.md, as (file, words after ``tunekit``)."""
    found = [("rayjob.yaml", shlex.split(rayjob()["spec"]["entrypoint"])[1:])]
    found += [("Dockerfile", json.loads(rest)[1:]) for name, rest in dockerfile() if name == "CMD"]
    for path in (DEPLOY / "Dockerfile", DEPLOY / "slurm.sh", ROOT / "docs" / "cluster.md"):
        text = path.read_text()
        found += [(path.name, shlex.split(line)) for line in COMMAND.findall(text)]
        for command, flags in SBATCH.findall(text):
            found.append((path.name, [command or "run", *shlex.split(flags)]))
    return found


@pytest.mark.parametrize(("file", "words"), commands(), ids=lambda value: value if isinstance(value, str) else None)
def test_every_entrypoint_parses(file, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "--storage" in words:
        words[words.index("--storage") + 1] = str(tmp_path / "results")
    if words[0] in ("run", "search"):
        assert main([*words, "--dry-run", "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)
    else:
        with pytest.raises(SystemExit) as left:
            main([*words, "--help"])
        assert left.value.code == 0
    assert not (tmp_path / "results").exists()


def test_something_is_found_in_every_file():
    assert {file for file, _ in commands()} == {"rayjob.yaml", "Dockerfile", "slurm.sh", "cluster.md"}


@pytest.fixture
def slurm(tmp_path):
    """Start deploy/slurm.sh as one job on two nodes, SLURM's commands and ray replaced by scripts that note calls."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    calls.touch()
    (tmp_path / "tree").mkdir()  # without the environment that the job would activate
    scripts = {
        "srun": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"',
        "scontrol": f'echo "scontrol $*" >> {calls}\nif [[ $1 == show ]]; then echo here; echo there; fi',
        "ray": f'echo "ray $* mode=$RAY_AUTH_MODE token=${{#RAY_AUTH_TOKEN}}" >> {calls}\n'
        "if [[ $1 == start ]]; then exec sleep 60; fi",
        "hostname": "echo 127.0.0.1",
        "python": f'exec {shlex.quote(sys.executable)} "$@"',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here,there",
        "SLURM_CPUS_PER_TASK": "2", "SLURM_SUBMIT_DIR": str(tmp_path / "tree"), "USER": "me",
        "STORAGE": str(tmp_path / "results"),
    }  # fmt: skip

    def start(*arguments: str, **more: str) -> tuple[subprocess.Popen, Path]:
        command = [DEPLOY / "slurm.sh", *arguments]
        process = subprocess.Popen(command, env=environment | more, stdout=subprocess.PIPE, text=True)
        return process, calls

    return start


@pytest.mark.slow
def test_the_slurm_job_starts_head_and_workers_with_a_token_and_runs_the_sweep(slurm):
    process, calls = slurm("--preset", "demo", "--dry-run", "--json")
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert json.loads(out)["total"] == 6
    noted = [line for line in calls.read_text().splitlines() if line.startswith("ray start")]
    assert len(noted) == 2
    assert all("mode=token token=64" in line and "--num-cpus=2 --num-gpus=0" in line for line in noted)
    head = next(line for line in noted if "--head" in line)
    assert "--port=20014" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert "requeue" not in calls.read_text()


def test_the_slurm_job_hands_on_sigterm_and_is_queued_again_on_75(slurm, tmp_path):
    sweep = tmp_path / "sweep.py"
    sweep.write_text(
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n    time.sleep(0.5)\n    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(60)\n"
    )
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/usr/bin/env bash\n[[ $1 == -m ]] && set -- {sweep}\nexec {sys.executable} "$@"\n')
    process, calls = slurm()
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert "scontrol requeue 7" in calls.read_text()
