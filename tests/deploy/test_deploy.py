"""deploy/: each file against its tool's own schema or checker, and every command in it parsed by the real program."""

import json
import re
import shlex
import subprocess
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


def dockerfile():
    """The Dockerfile's instructions, lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
    return [line.split(None, 1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def copies():
    """What the image copies from the checkout, as (source, place)."""
    lines = [rest.split() for name, rest in dockerfile() if name == "COPY"]
    return [(source, place) for *sources, place in lines for source in sources]


def test_the_launcher_accepts_the_aws_cluster():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = launcher()
    validate_config(prepare_config(config))
    kinds = config["available_node_types"]
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0}, "the head trains nothing"
    workers = [kind for name, kind in kinds.items() if name != config["head_node_type"]]
    assert all(kind["resources"]["GPU"] and kind["min_workers"] for kind in workers)
    assert all(kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for kind in workers)
    copied = {Path(remote): local for remote, local in config["file_mounts"].items()}
    assert all(remote == Path("~/tunekit") / local and (ROOT / local).exists() for remote, local in copied.items())
    assert set(copied.values()) | {"sweeps"} == {source for source, _ in copies()}, "nodes and image hold the same"
    installs = [one for one in config["setup_commands"] + config["head_setup_commands"] if "pip install" in one]
    assert installs
    assert all("-c ~/tunekit/constraints.txt" in one for one in installs)
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert all(one.startswith("source ~/tunekit-env/exports;") for one in commands)
    [exports] = [one for one in config["setup_commands"] if "> ~/tunekit-env/exports" in one]
    assert "RAY_AUTH_MODE=token" in exports
    assert f"AWS_DEFAULT_REGION={config['provider']['region']}" in exports


def test_the_launcher_takes_the_images_of_the_file_and_not_its_own_of_ubuntu_18():
    from ray.autoscaler._private.aws.config import DEFAULT_AMI, _check_ami

    config = launcher()
    assert config["provider"]["region"] in DEFAULT_AMI
    _check_ami(config)
    images = {kind["node_config"]["ImageId"] for kind in config["available_node_types"].values()}
    assert images == {
        "resolve:ssm:/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    }


def test_the_launchers_schema_can_refuse():
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(launcher() | {"max_worker": 3}))


def test_the_dockerfile_installs_the_lock_copies_what_is_there_and_does_not_run_as_root():
    steps = dockerfile()
    known = {"FROM", "RUN", "WORKDIR", "ARG", "COPY", "USER", "ENV", "CMD"}
    assert {name for name, _ in steps} <= known
    assert steps[0] == ["FROM", "python:3.11-slim-bookworm"]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for source, _ in copies():
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored, "the build would not see it"
    for name, rest in steps:
        if name == "RUN":
            assert subprocess.run(["sh", "-n", "-c", rest]).returncode == 0
            assert rest.count("pip install") == rest.count("-c constraints.txt")
    users = [rest for name, rest in steps if name == "USER"]
    assert users == ["tunekit"]
    assert any(name == "ENV" and "RAY_AUTH_MODE=token" in rest for name, rest in steps)


def test_nodes_with_a_gpu_get_what_triton_compiles_with():
    packages = [rest for name, rest in dockerfile() if name == "RUN" and "apt-get install" in rest]
    assert {"gcc", "libc6-dev"} <= set(packages[0].split()), "Python's own images have Python's headers"
    setup = " ".join(launcher()["setup_commands"])
    assert {"gcc", "python3.12-dev"} <= set(setup.split())


def commands():
    """Every command line of ours in deploy/ and docs/cluster.md, as (file, words after ``tunekit``)."""
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    found = [("rayjob.yaml", shlex.split(job["spec"]["entrypoint"])[1:])]
    found += [("Dockerfile", json.loads(rest)[1:]) for name, rest in dockerfile() if name == "CMD"]
    for path in (DEPLOY / "Dockerfile", DEPLOY / "slurm.sh", ROOT / "docs" / "cluster.md"):
        text = path.read_text()
        found += [(path.name, shlex.split(line)) for line in COMMAND.findall(text)]
        for command, flags in SBATCH.findall(text):
            found.append((path.name, [command or "run", *shlex.split(flags)]))
    return found


@pytest.mark.slow
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
