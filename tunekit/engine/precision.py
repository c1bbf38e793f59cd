"""The precision of matrix products: fp32, TF32 (NVIDIA's products of fp32 numbers rounded to 10 bits) and bf16.

Sums, softmax, norms, losses, weights and the optimizer are in fp32 in every precision.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tunekit.errors import UserError


def check_device(precisions: set[str], *, gpu: bool) -> None:
    """Raise UserError where this process can't use the machine's GPU, or can't compute one of ``precisions`` natively.

    CPUs without bf16 instructions are tens of times slower in bf16 than in fp32. NVIDIA's GPUs have TF32 from Ampere on
    (compute capability 8.0).
    """
    if gpu and not torch.cuda.is_available():
        raise UserError("this machine has a GPU that torch can't use; install the CUDA build, or hide the GPU")
    if "tf32" in precisions and not (gpu and torch.cuda.get_device_capability() >= (8, 0)):
        where = "this GPU" if gpu else "a CPU"
        raise UserError(f"precision tf32 is not computed by {where}; use --precision fp32")
    if "bf16" in precisions:
        cpu = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        if not (torch.cuda.is_bf16_supported(including_emulation=False) if gpu else cpu):
            raise UserError("precision bf16 is not computed natively here; use --precision fp32")


def cast_frozen_to_bf16(model: nn.Module) -> None:
    """Store the frozen weights and biases of the linear modules of ``model`` in bf16, in place.

    Autocast would cast them to the same numbers before each product.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Return a context in which products of fp32 matrices, forward and backward, are in TF32 if ``precision`` is tf32.

    Products in bf16 are those of autocast (``patching.logits``).
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
