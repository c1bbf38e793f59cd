"""The benchmark of a GPU, with CUDA replaced: stages run, each bar has a key, no ratio is without agreement."""

import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import fields, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from transformers import TrainingArguments

from benchmarks import gpu
from benchmarks.__main__ import main
from benchmarks.support import floor, gpu_profile, mps, peers
from benchmarks.support.gpu_profile import profiled
from benchmarks.support.harness import Outcome, Ratio, read_record, record, write_record
from benchmarks.support.stages import Setting
from benchmarks.support.trial import case_of, pack_of, train_ours
from tests.conftest import ROOT
from tests.support.mocked_cuda import CallingGraphs, ThreadTeam, mocked_cuda
from tunekit.errors import UserError
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef

QUICK = Setting(quick=True, model="minilm")


class Profile:
    """What torch's profiler finds of an epoch of two steps: three kernels of 7 microseconds, and no others."""

    def __init__(self, activities):
        self.found = [
            SimpleNamespace(key="a kernel", count=3, self_device_time_total=21),
            SimpleNamespace(key="a function of the host", count=9, self_device_time_total=0),
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def key_averages(self):
        return self.found


def by_the_host(gate, name, case, steps, device):
    """Takes the place of Trainer: the same trial by the steps of a CPU."""
    assert (name in peers.PEERS, device) == (True, "cuda")
    train_ours(gate, case, "cpu")


def at_another_rate(gate, name, case, steps, device):
    by_the_host(
        gate, name, replace(case, spec=replace(case.spec, learning_rate=9 * case.spec.learning_rate)), 0, device
    )


@pytest.fixture
def cuda():
    with mocked_cuda() as patched:
        patched.setattr(gpu, "Team", ThreadTeam)
        patched.setattr(gpu, "train_peer", by_the_host)
        patched.setattr(gpu, "AGREE_STEPS", 6)
        patched.setattr(gpu, "WARM_TURNS", 1)
        patched.setattr(gpu_profile, "HOST_EPOCHS", 2)
        patched.setattr(gpu_profile, "profile", Profile)
        for name, small in (("SQUARE", 64), ("COPIED", 2**12)):
            patched.setattr(floor, name, small)
        floor.measured.cache_clear()
        yield patched
        floor.measured.cache_clear()


def outcome_of(stage: str) -> Outcome:
    parts = list(gpu.STAGES[stage].run(QUICK))
    return Outcome(
        {key: ratio for part in parts for key, ratio in part.ratios.items()},
        {key: figure for part in parts for key, figure in part.figures.items()},
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["small", "packs"])
def test_every_ratio_has_an_interval_an_agreement_and_a_profile(stage, cuda):
    found, trials = outcome_of(stage), 1 if stage == "small" else 2
    precisions = ("fp32", "tf32", "bf16") if stage == "small" else ("fp32",)
    method, sides = ("adapter", ("p0", "p1")) if stage == "small" else ("lora", ("p0",))
    prefix = "tiny-bert/restaurant/adapter" if stage == "small" else "pack/tiny-bert/lora/2"
    expected = {f"{prefix}/{precision}/{side}" for precision in precisions for side in sides}
    for precision in precisions:
        what = f"tiny-bert/{method}/{trials}/{precision}"
        expected |= {f"floor/{what}", f"host/{what}/milliseconds"}
        key = f"{prefix}/{precision}"
        assert found.figures[f"{key}/largest difference of losses"] <= gpu.TOLERANCE[precision]
        profile = found.figures[f"{key}/profile"]
        assert profile["kernels a step"] == 1.5
        assert profile["kernel ms a step"] == pytest.approx(0.0105)
        assert profile["largest kernels, ms a step"] == {"a kernel": pytest.approx(0.0105)}
        assert len(profile["host ms a step"]) == gpu_profile.HOST_EPOCHS
        assert min(profile["floor ms a step"], profile["peak TFLOP/s"], profile["bandwidth GB/s"]) > 0
    assert set(found.ratios) == expected
    assert all(0 < ratio.low <= ratio.median <= ratio.high for ratio in found.ratios.values())
    assert CallingGraphs.captured > 0
    json.dumps(record("gpu", found), allow_nan=False)
    if stage == "small":
        assert found.figures["tiny-bert/p1"] in peers.GPU_CANDIDATES


@pytest.mark.slow
def test_without_agreement_there_is_no_ratio(cuda):
    cuda.setattr(gpu, "train_peer", at_another_rate)
    found = outcome_of("packs")
    assert found.ratios == {}
    assert "losses differ from Trainer's by" in found.figures["pack/tiny-bert/lora/2/fp32/no ratio"]


def fails(gate, *_):
    gate.wait()
    raise ValueError("the reason")


def test_the_error_of_a_worker_is_told(monkeypatch):
    with ThreadTeam(1, 1) as team:
        team.hold(fails, [()])
        monkeypatch.setattr(threading, "excepthook", lambda *_: None)
        with pytest.raises(RuntimeError, match="(?s)a worker of the benchmark failed.*ValueError: the reason"):
            team.turn()


@pytest.mark.slow
def test_the_other_stages_run(cuda):
    compiled = outcome_of("compile").figures
    assert set(compiled) == {f"compile/tiny-bert/adapter/{precision}" for precision in gpu.PRECISIONS}
    processes = outcome_of("processes")
    assert set(processes.ratios) == {"processes/tiny-bert/lora/2/fp32"}
    assert processes.figures["processes/tiny-bert/lora/2/fp32/mps"] == "not here, or not allowed"


@pytest.mark.slow
def test_the_study_is_timed_as_a_grid_on_a_gpu_trains_it(cuda):
    found = outcome_of("study")
    [minutes] = found.ratios.values()
    first, second = found.figures["study/demo/lora/seconds an epoch"]
    assert minutes.median == pytest.approx((first + 10 * second) / 60)
    assert CallingGraphs.captured > 0


def test_keys_name_the_encoder_whatever_its_folder_is_called(monkeypatch):
    real, shapes = Setting(quick=False, model="folder"), [MODELS["minilm"].shape, MODELS["bert"].shape]
    monkeypatch.setattr(gpu, "resolve_model", lambda text: ModelRef(f"{text}-1f2e3d", "1f2e3d", text))
    monkeypatch.setattr(gpu, "shape_of", lambda ref: shapes.pop(0))
    assert [gpu._name("small", real), gpu._name("small", real)] == ["minilm", "folder-1f2e3d"]
    assert gpu._name("base", real) == "base"
    assert gpu._name("small", QUICK) == gpu._name("base", QUICK) == "tiny-bert"


def test_every_bar_has_a_key():
    """Those of single trials come from METHODS and PRECISIONS, and the study's from its stage."""
    trained = {(size, method, trials, precision) for size, method, trials, precision in gpu.PACKS}
    for method, trials in (("lora", 16), ("adapter", 16), ("full", 8)):
        assert {("small", method, trials, "fp32"), ("small", method, trials, "tf32")} <= trained
    assert {("base", "lora", 5, "fp32"), ("base", "lora", 5, "bf16")} <= trained
    assert gpu.PROCESSES == ("lora", 16, "tf32")
    assert set(gpu.METHODS) == {"full", "lora", "adapter"}
    assert set(gpu.PRECISIONS) == {"fp32", "tf32", "bf16"}


def test_two_calls_of_eight_minutes_hold_all_stages():
    limits = [stage.seconds for stage in gpu.STAGES.values()]
    assert sum(limits[:3]) <= 480
    assert sum(limits[3:]) <= 480


HIDING = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
"""A module that Python imports as it starts: modules that are hidden by it are not installed."""
FORKING = """
import multiprocessing, sys
in_a_way = multiprocessing.get_context
multiprocessing.get_context = lambda kind: in_a_way("fork")
from benchmarks.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, whose stages and workers are forks of it: each would take seconds to import the same libraries."""
NEEDED = ("torch", "triton", "transformers", "peft", "accelerate", "numpy", "pandas", "pyarrow", "scipy",
          "scikit-learn", "tyro", "rich", "pooch", "tunekit")  # fmt: skip


def with_their_own_needs(names: tuple[str, ...]) -> set[str]:
    """The distributions called ``names``, and those that they ask for on this machine, without extras."""
    found, left = set(), [canonicalize_name(name) for name in names]
    while left:
        if (name := left.pop()) in found:
            continue
        found.add(name)
        for text in (metadata.requires(name) or ()) if name != "tunekit" else ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                left.append(canonicalize_name(needed.name))
    return found


@pytest.mark.slow
def test_it_runs_without_ray_and_without_any_package_that_a_machine_for_it_may_lack(tmp_path):
    needed = with_their_own_needs(tuple(name for name in NEEDED if find_spec(name.replace("scikit-learn", "sklearn"))))
    hidden = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not needed & {canonicalize_name(owner) for owner in owners}
    }
    assert {"ray", "optuna", "adapters", "matplotlib"} <= hidden
    (tmp_path / "sitecustomize.py").write_text(HIDING.format(hidden=hidden))
    place = os.pathsep.join([str(tmp_path), str(ROOT)])
    file = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-c", FORKING, "gpu", "--quick", "--stages", "packs", "--json", file], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": place}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pack/tiny-bert/lora/2/fp32/p0" in json.loads(file.read_text())["ratios"]


def test_a_model_that_the_host_trains_has_no_profile():
    pack = pack_of([case_of("tiny-bert", "demo", "lora", rows=8)])
    assert profiled(pack) == {}


@pytest.mark.parametrize("name", peers.GPU_CANDIDATES)
@pytest.mark.parametrize("precision", gpu.PRECISIONS)
def test_trainer_is_asked_for_the_precision_of_the_case(name, precision, monkeypatch):
    asked = {}
    monkeypatch.setattr(peers, "TrainingArguments", lambda **arguments: asked.update(arguments))
    case = case_of("tiny-bert", "demo", "lora", rows=8, precision=precision)
    peers.options_of(peers.PEERS[name], case, "cuda")
    assert (asked["use_cpu"], asked["tf32"], asked["bf16"]) == (False, precision == "tf32", precision == "bf16")
    assert asked["optim"] == "adamw_torch_fused"
    known = {one.name for one in fields(TrainingArguments)}
    assert set(asked) - set(peers.GROUPED) <= known


def test_the_service_for_several_processes_is_used_where_it_starts(tmp_path, monkeypatch):
    control, calls = tmp_path / mps.CONTROL, tmp_path / "calls"
    control.write_text(f'#!/bin/sh\necho "$@ $CUDA_MPS_PIPE_DIRECTORY" >> {calls}\ncat >> {calls}\n')
    control.chmod(control.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with mps.mps() as folder:
        assert Path(folder).is_dir()
    assert calls.read_text().splitlines() == [f"-d {folder}", f" {folder}", "quit"]
    control.write_text("#!/bin/sh\nexit 1\n")
    with mps.mps() as folder:
        assert folder is None
    control.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with mps.mps() as folder:
        assert folder is None


def test_results_of_other_code_or_another_machine_are_not_overwritten(tmp_path, capsys):
    file, here = tmp_path / "gpu.json", record("gpu", Outcome({"key": Ratio(2.0, 1.0, 3.0)}, {"figure": 1}))
    assert read_record(file, here) == Outcome()
    write_record(file, here)
    assert read_record(file, here) == Outcome({"key": Ratio(2.0, 1.0, 3.0)}, {"figure": 1})
    write_record(file, here | {"commit": "0" * 40, "hardware": {}})
    with pytest.raises(UserError, match="results of another machine and commit; give --json another file"):
        read_record(file, here)
    before = file.read_bytes()
    assert main(["gpu", "--quick", "--json", str(file)]) == 2
    assert "gpu.json has results of another machine and commit" in capsys.readouterr().err
    assert file.read_bytes() == before
    file.write_text("[]")
    with pytest.raises(UserError, match="is no record of a benchmark"):
        read_record(file, here)
