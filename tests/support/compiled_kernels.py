"""Compile the Triton kernels for an H100 (compute capability 9.0) on a machine without a GPU, and print what they need.

Each kernel is a line of JSON. Run as ``python -m tests.support.compiled_kernels 32 64 128``, with the head sizes for
which attention is compiled in fp32; in TF32 and bf16 it is compiled for 64. It uses Triton's own compiler and
NVIDIA's assembler, which Triton's wheel brings; a driver that only names the GPU takes the place of CUDA's.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from tests.support.token_batches import dropout_of, sequences_of
from tunekit.engine.kernels.fused.attention import attention
from tunekit.engine.kernels.fused.dropout import dropout
from tunekit.engine.kernels.fused.first_token import first_token_attention
from tunekit.engine.kernels.fused.gelu import bias_gelu
from tunekit.engine.kernels.fused.residual_norm import dropout_residual_norm

TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class NamedGpu:
    """What Triton's compiler asks a driver."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _: int = 0) -> int:
        return 0


def compile_instead(case: str) -> None:
    """Make each start of a kernel compile it and print what it needs."""

    def getitem(self: JITFunction, grid: Any) -> Any:
        def start(*args: Any, **kwargs: Any) -> None:
            compiled = self.warmup(*args, grid=grid, **kwargs)
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(compiled.asm["cubin"])
                file.flush()
                command = [TOOL, "--dump-resource-usage", file.name]
                usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            [(registers, stack)] = re.findall(r"REG:(\d+) STACK:(\d+)", usage)
            needs = {
                "module": self.fn.__module__.rpartition(".")[2], "kernel": self.fn.__name__, "case": case,
                "shared": compiled.metadata.shared, "registers": int(registers), "stack": int(stack),
                "warps": compiled.metadata.num_warps, "tensor_cores": compiled.asm["ptx"].count("mma.sync"),
                "atomics": len(re.findall(r"\b(?:atom|red)\.", compiled.asm["ptx"])),
            }  # fmt: skip
            sys.stdout.write(json.dumps(needs) + "\n")

        return start

    JITFunction.__getitem__ = getitem


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, requires_grad=True)


def main(head_sizes: Sequence[int]) -> None:
    """Compile all kernels: attention in fp32 for ``head_sizes``, operations on rows for MiniLM's 384 columns."""
    driver.set_active(NamedGpu())
    sequences = sequences_of([[40, 7], [70, 2]], filler=16)
    spec = dropout_of(sequences, 0.1)
    tokens, firsts = len(sequences.token_sequence), len(sequences.starts)
    for case, dtype, tf32 in (("fp32", torch.float32, False), ("tf32", torch.float32, True),
                              ("bf16", torch.bfloat16, False)):  # fmt: skip
        compile_instead(case)
        for head_size in head_sizes if case == "fp32" else (64,):
            k, v = (zeros(tokens, 16, head_size, dtype=dtype) for _ in range(2))
            attention(zeros(tokens, 16, head_size, dtype=dtype), k, v, sequences, spec, tf32=tf32).sum().backward()
            if not tf32:
                first = zeros(firsts, 16, head_size, dtype=dtype)
                first_token_attention(first, k, v, sequences, spec).sum().backward()
        if not tf32:
            x, weight, bias = zeros(tokens, 384, dtype=dtype), zeros(2, 384), zeros(2, 384)
            dropout(x, spec).sum().backward()
            bias_gelu(x, zeros(2, 384, dtype=dtype)).sum().backward()
            dropout_residual_norm(x, zeros(tokens, 384), weight, bias, 1e-5, spec).sum().backward()


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
