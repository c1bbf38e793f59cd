"""The forward pass of one training or scoring step, for batches that hold no padding.

The input is a batch of B tokenised sequences for each of K trials (``tunekit.data.tokens``). The output is the logits
(K * B, C). ``flat_batch`` lays the sequences of a trial end to end and computes the indices that attention needs.
``patching`` replaces the attention and dropout modules of a model from the transformers library (called "the library"
below) by those of ``attention`` and ``dropout``, and runs the model on such a batch. ``bert`` and ``modernbert`` say
how, for each kind of encoder. ``padded_batch`` makes and runs the batches of those models and methods that can't be
trained without padding. ``tunekit.engine.train`` calls all this.

Words:

- A *token* is one of the T positions of a trial's row. A trial with fewer than T tokens of its own has *filler* after
  its last one. The tokens of its own are *real*.
- A *slot* is a place in one of the groups in which attention is computed. A group has as many slots for each of its
  sequences as its longest sequence has tokens. The slots after the end of a shorter sequence are *padding*.
- A *token row* is the part of a token's hidden state that belongs to one attention head: D numbers. A *slot row* is the
  same for a slot. A slot of a token holds a copy of the token's rows. A slot of padding holds a copy of the rows of the
  last token of its sequence.
- The *contexts* are what attention returns: for each query the weighted sum of the values. The *forward context* of a
  model is something else: the object in which its modules find the operations and the dropout of the pass that runs.
- The *host* is the CPU on which Python runs. *Host operations* run on a CPU or a GPU, and the host has made their
  batches and masks. *Device operations* take batches that a GPU makes for itself, and their kernels draw the masks.
  Neither has to do with ``tunekit.worker.device_host``, which is a process.
- The *head* of a model, as opposed to an attention head, is its classifier: it turns the first token of a sequence into
  logits.

Letters in the comments on shapes:

- K: trials that run as one model; 1 for a trial that runs alone.
- B: sequences of each trial in the batch.
- N: real tokens of all trials, or of one trial where only one is passed.
- T: tokens of each trial's row. It is the largest number of real tokens that any of the K trials has in the batch.
- G: sequences of one group.
- L: tokens of the longest sequence of a group.
- Q: queries of a sequence in attention: L, or 1 in the last layer, where only the first token is a query.
- S: slots of all groups, the sum of G * L over the groups.
- P: pairs of a query and a key within one sequence, over all sequences of all trials.
- H: hidden size. A: attention heads. D: head size. H = A * D.
- W: entries of a row of dropout masks. The row joins the entries of all uses of dropout of one kind.
- C: outputs of the head, one for each label.
"""
