"""Kernels are used where they agree with their twin, and the twin is used, with a word about it, where they don't."""

import ast
from importlib.util import find_spec

import pytest
import torch

from tunekit.engine.kernels import choice, gelu
from tunekit.engine.kernels.examples import example_tensor

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SETTING = choice.Setting(CPU, torch.float32, 4)
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason='Triton is not installed (pip install ".[triton]")'
)


@pytest.fixture(autouse=True)
def notes(monkeypatch):
    """Begin with no note and no decision, as a process does."""
    monkeypatch.setattr(choice, "_notes", [])
    choice.chosen_version.cache_clear()
    yield
    choice.chosen_version.cache_clear()


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """The lines that the module logs as warnings."""
    lines: list[str] = []
    monkeypatch.setattr(choice._log, "warning", lines.append)
    return lines


def operation_of(fused) -> choice.Operation:
    """An operation whose twin squares; ``fused`` stands for its kernels."""
    return choice.Operation("a square", torch.square, lambda _: fused, lambda s: [(example_tensor(s, 3, 4, seed=1),)])


def test_a_cpu_runs_the_twin_without_a_word():
    assert choice.implementation(CPU) == "torch"
    assert gelu.BIAS_GELU.version(SETTING) is gelu.plain
    assert choice.fallbacks() == ()


def test_a_gpu_without_triton_runs_the_twins_and_says_so_once(monkeypatch, warnings):
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    assert choice.implementation(CUDA) == "torch"
    for size in (4, 8):
        operation = operation_of(torch.square)
        assert operation.version(choice.Setting(CUDA, torch.float32, size)) is operation.plain
    [line] = choice.fallbacks()
    assert line.endswith("install it by pip install 'tunekit[triton]'")
    assert warnings == [line]


@needs_triton
def test_kernels_that_agree_are_chosen_whatever_mode_the_caller_is_in(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        choice.chosen_version.cache_clear()
        with mode:
            assert operation_of(lambda x: x * x).version(SETTING) is not torch.square
    assert choice.fallbacks() == ()


def wrong_gradient(x: torch.Tensor) -> torch.Tensor:
    return x.detach() ** 2 + x - x.detach()


def unknown(x: torch.Tensor) -> torch.Tensor:
    return x * torch.nan


def failing(x: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("PassManager::run failed\nand many lines")


def not_compiling(x: torch.Tensor) -> torch.Tensor:
    from triton.compiler.errors import CompilationError

    raise CompilationError("a = tl.b", ast.parse("a = tl.b").body[0], "module 'tl' has no attribute 'b'")


@needs_triton
@pytest.mark.parametrize(
    ("fused", "why"),
    [
        (lambda x: x * x * 1.0001, "its output differs by 1.0e-04 of the largest number, more than 1e-05"),
        (wrong_gradient, "its gradient 1 differs by"),
        (unknown, "its output differs by nan"),
        (not_compiling, "CompilationError: module 'tl' has no attribute 'b'"),
        (failing, "RuntimeError: PassManager::run failed"),
    ],
)
def test_kernels_that_do_not_agree_are_left_out_and_named_once(fused, why, monkeypatch, warnings):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    operation = operation_of(fused)
    for _ in range(2):
        assert operation.version(SETTING) is operation.plain
    [line] = choice.fallbacks()
    assert line.startswith("a square (size 4, fp32, cpu) is computed by plain PyTorch")
    assert why in line
    assert "\n" not in line
    assert warnings == [line]


@needs_triton
def test_a_full_device_says_nothing_about_a_kernel(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")

    def full(x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    operation = operation_of(full)
    with pytest.raises(torch.OutOfMemoryError):
        operation.version(SETTING)
    assert choice.fallbacks() == ()


@needs_triton
def test_no_kernel_is_compared_while_a_graph_is_captured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="a square is used for the first time while a CUDA graph is captured"):
        operation_of(torch.square).version(choice.Setting(CUDA, torch.float32, 4))


def test_tolerances_follow_the_precision():
    found = {
        setting.precision: setting.tolerance
        for setting in (
            choice.Setting(CPU, torch.float32, 4),
            choice.Setting(CPU, torch.float32, 4, tf32=True),
            choice.Setting(CPU, torch.bfloat16, 4, tf32=True),
        )
    }
    assert found == {"fp32": 1e-5, "tf32": 1e-2, "bf16": 5e-2}
