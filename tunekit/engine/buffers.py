"""The trainable weights of K trials, and AdamW's two moments of each, in three flat tensors (K, P): a row a trial.

A trial on its own has buffers of one row, a pack has buffers of a row for each member. The parameters of the trials'
models are views of the buffers, so a trial can be saved, scored or taken out at any time. Gradients have no buffer: the
backward pass allocates them, and the optimizer's step frees them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

ALIGNED = 16
"""Each parameter begins at a column that is a multiple of this number: 64 bytes, a line of a CPU's cache.

CUDA's kernels read 16 bytes at a time."""
_OF_ONE_INPUT = re.compile(r"\.(query|key|value)\.")
"""The modules whose parameters lie side by side: they read the same input, so that one product can serve all three."""


@dataclass(eq=False)
class Trained:
    """One trainable parameter of one trial, and AdamW's moments of it. All three are views of the trial's buffers."""

    parameter: nn.Parameter
    first: torch.Tensor
    """The running mean of the gradients."""
    second: torch.Tensor
    """The running mean of the squared gradients."""


@dataclass(frozen=True)
class Piece:
    """The columns of the flat tensors (K, P) that hold one parameter of each trial."""

    name: str
    """The name that the parameter has in each model."""
    columns: slice
    """The columns, of P, that hold it."""
    shape: tuple[int, ...]
    """The shape that holds the parameter of every trial: the largest size of each axis."""
    trained: tuple[Trained, ...]
    """The parameter of each trial, in its own size."""

    def stacked(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the view (K, ...) of ``flat`` (K, P) in ``shape``."""
        return flat[:, self.columns].view(len(flat), *self.shape)

    def views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return the view of ``flat`` (K, P) that belongs to each trial, in the size of its parameter."""
        whole = self.stacked(flat)
        return [
            whole[trial][tuple(slice(size) for size in one.parameter.shape)] for trial, one in enumerate(self.trained)
        ]


class Buffers:
    """Flat tensors that hold K trials from their creation on, until other buffers take the trials over."""

    def __init__(self, trials: Sequence[Mapping[str, Trained]]) -> None:
        """Copy ``trials``, each its trained parameters by name, and make their tensors views of the copies.

        A trial whose parameter is smaller than the others' has zeros after it, which AdamW leaves at exactly 0. Raises
        ValueError where the names differ.
        """
        if any(set(names) != set(trials[0]) for names in trials):
            raise ValueError("the models of a pack have different trainable parameters")
        trained = {name: tuple(trial[name] for trial in trials) for name in trials[0]}
        shapes = {
            name: torch.Size(max(sizes) for sizes in zip(*(one.parameter.shape for one in each), strict=True))
            for name, each in trained.items()
        }
        columns, end = _columns({name: shape.numel() for name, shape in shapes.items()})
        self.pieces = [Piece(name, columns[name], tuple(shapes[name]), each) for name, each in trained.items()]
        """The pieces in the order of the model's parameters, which is not that of their columns."""
        self.weights = self.pieces[0].trained[0].parameter.new_zeros((len(trials), end), requires_grad=False)  # (K, P)
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)  # (K, P)
        with torch.no_grad():
            for piece in self.pieces:
                places = (piece.views(flat) for flat in (self.weights, self.first, self.second))
                for one, weights, first, second in zip(piece.trained, *places, strict=True):
                    one.parameter.data = weights.copy_(one.parameter)
                    one.first, one.second = first.copy_(one.first), second.copy_(one.second)

    def __len__(self) -> int:
        return len(self.weights)

    def copy_on_host(self, trial: Mapping[str, Trained]) -> dict[str, Trained]:
        """Return a copy of one of the trials in the host's memory, which training does not change."""
        row = self.pieces[0].trained.index(trial[self.pieces[0].name])
        flat = [tensor[row : row + 1].to("cpu", copy=True) for tensor in (self.weights, self.first, self.second)]
        copies = {}
        for piece in self.pieces:
            own = tuple(slice(size) for size in trial[piece.name].parameter.shape)
            weights, first, second = (piece.stacked(one)[0][own] for one in flat)
            copies[piece.name] = Trained(nn.Parameter(weights, requires_grad=False), first, second)
        return copies


def _columns(sizes: Mapping[str, int]) -> tuple[dict[str, slice], int]:
    """Return the columns of each parameter by name, and P, the number of all columns.

    ``sizes`` holds how many numbers each parameter has. The columns follow its order, except that parameters of modules
    that read one input (``_OF_ONE_INPUT``) lie side by side, at the place of the first of them.
    """
    neighbours: dict[str, list[str]] = {}
    for name in sizes:
        neighbours.setdefault(_OF_ONE_INPUT.sub(".*.", name), []).append(name)
    columns, end = {}, 0
    for name in (name for names in neighbours.values() for name in names):
        columns[name] = slice(end, end + sizes[name])
        end += -(-sizes[name] // ALIGNED) * ALIGNED
    return columns, end
