"""The operations of ``tunekit.engine.kernels`` as Triton kernels. This package is imported only where Triton is.

A reader who knows PyTorch needs little more than this to follow a kernel:

- A function under ``@triton.jit`` with pointers among its arguments is a *kernel*. ``kernel[grid](...)`` starts one
  *program* for each point of the grid, and all programs run the function at once. ``tl.program_id(axis)`` says which
  point a program is. Other functions under ``@triton.jit`` are called by kernels.
- A program's values are scalars and *tiles*: small tensors in registers, with powers of two as their sizes.
  ``tl.arange(0, N)`` is 0..N-1, and ``x[:, None]`` and broadcasting are those of PyTorch.
- A pointer plus a tile of offsets is a tile of addresses. ``tl.load(addresses, mask, 0.0)`` reads where the mask is
  true and gives 0 elsewhere; ``tl.store`` writes where it is true. Tensors of any shape are read so, by offsets from
  their first entry.
- An argument in capitals, a ``tl.constexpr``, is known when the kernel is compiled. Each combination of values and of
  the types of the others is compiled once in a process, and kept on disk in Triton's cache.
- ``tl.dot`` is a matrix product. Its default for fp32 is TF32, so that every call here states ``input_precision``.

No program writes where another one does, no kernel uses atomics, and no size is tuned at run time: the bits of a result
depend on the inputs alone. ``ACC`` is the type in which a kernel computes, fp32, or fp64 for inputs in fp64.
"""
