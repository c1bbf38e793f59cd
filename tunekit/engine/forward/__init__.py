"""The forward pass without padding: how a batch is laid out, and how attention and dropout find their way in it.

What comes in is a batch of tokenised sequences for each of K trials (``tunekit.data.tokens``). ``flat_batch`` lays the
sequences of a trial end to end, with the indices that attention needs. ``patching`` puts our attention (``attention``)
and dropout (``dropout``) into a library's model and runs it on such a batch. What comes out are logits (K * B, C).
``padded_batch`` serves the models and methods that can't be trained without padding.

Words:

- A *token* is a place in a trial's row of T tokens. A trial with fewer than T tokens has *filler* after its last one.
- A *slot* is a place in one of the groups in which attention is computed. A group has as many slots for each of its
  sequences as its longest sequence has tokens. The slots after the end of a shorter sequence are *padding*.
- A *token row* is the part of a token's hidden state that belongs to one attention head: D numbers. A *slot row* is the
  same for a slot.

Letters in the comments on shapes:

- K: trials that run as one model, 1 for a trial alone.
- B: sequences of each trial in the batch.
- T: tokens of each trial's row, the most that a trial has in the batch.
- G: sequences of one group.
- L: tokens of the longest sequence of a group.
- Q: queries of a sequence in attention: L, or 1 in the last layer.
- S: slots of all groups, the sum of G * L over the groups.
- P: pairs of a query and a key within one sequence, over all sequences of all trials.
- H: hidden size. A: attention heads. D: head size. H = A * D.
- W: entries of a row of dropout masks, all uses of dropout of one kind side by side.
- C: outputs of the head, as many as there are labels.
"""
