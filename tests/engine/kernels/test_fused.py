"""The Triton kernels: on a CPU by Triton's interpreter, and compiled for a GPU without one."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import ROOT
from tests.support.combinations import usually

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason='Triton is not installed (pip install ".[triton]")'
)
SHARED_MEMORY = 227 * 1024
"""Bytes that one program can have on an H100 or H200 (CUDA C++ Programming Guide, compute capability 9.0)."""


def run(*arguments: str, **environment: str) -> str:
    """Run Python in a process of its own, since Triton reads its settings when it is imported."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_triton
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cases", usually(["not contracts"], ["not contracts", "contracts"]))
def test_the_kernels_agree_with_their_twins_in_tritons_interpreter(cases):
    file = "tests/engine/kernels/fused_cases.py"
    out = run("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", cases, file, TRITON_INTERPRET="1")
    assert " passed" in out
    assert "skipped" not in out


@needs_triton
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("head_sizes", usually(["128"], ["128", "32 64 128"]))
def test_the_kernels_compile_for_an_h100_without_spilling_or_atomics(head_sizes, tmp_path):
    out = run(
        "-m",
        "tests.support.compiled_kernels",
        *head_sizes.split(),
        TRITON_CACHE_DIR=str(tmp_path),
        TRITON_INTERPRET="0",
    )
    kernels = [json.loads(line) for line in out.splitlines()]
    assert len({(one["module"], one["kernel"]) for one in kernels}) == 11
    for one in kernels:
        assert one["shared"] <= SHARED_MEMORY, one
        assert one["stack"] <= 32, f"registers are spilled: {one}"
        assert one["atomics"] == 0, f"sums in an order that varies: {one}"
    for one in kernels:
        # fp32 is not computed in TF32, and bf16 is on the tensor cores.
        if one["module"] == "attention":
            assert (one["tensor_cores"] > 0) == (one["case"] != "fp32"), one
