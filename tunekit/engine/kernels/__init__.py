"""The operations of an encoder layer that run on a device without padding, gathers and stored masks.

Four modules hold one operation each: ``attention``, ``dropout``, ``residual_norm`` (dropout, residual sum and layer
norm) and ``gelu`` (bias and GELU). The operation is a function, which takes tensors and gives gradients as any function
of PyTorch does. Beside it stands ``plain``, its *twin* in plain PyTorch. ``batch`` says where the sequences of a batch
lie, and ``masks`` which entries dropout drops.

The letters are those of ``tunekit.engine.forward``. *Rows* of a tensor belong either to tokens, K * T of them, or to
sequences, K * B of them. A sequence's row has the hidden state of its first token.
"""
