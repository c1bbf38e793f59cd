"""VeRA (Kopiczko et al., 2024), from the ``peft`` library."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("vera")
@dataclass(frozen=True, kw_only=True)
class VeRA:
    """Updates ``diag(b) B diag(d) A`` of the target modules' weights. The vectors b and d are trained.

    A and B are drawn at random from the trial's seed, never trained, and the same in all modules. Each module takes as
    many rows and columns as it needs. ``target_modules`` are linear modules, separated by commas.
    """

    r: int = 256
    d_initial: float = 0.1
    vera_dropout: float = 0.0
    target_modules: str = "query,value"

    display_name: ClassVar[str] = "VeRA"
    learning_rate: ClassVar[float] = 5e-3
    single: ClassVar[str] = "its vectors are no modules that can be stacked"

    def __post_init__(self) -> None:
        if self.r < 1 or self.d_initial == 0 or not 0 <= self.vera_dropout < 1:
            raise ValueError("r must be 1 or more, d_initial not 0 and vera_dropout in [0, 1)")
        if not all(name.strip() for name in self.target_modules.split(",")):
            raise ValueError(f"target_modules must be names separated by commas, got {self.target_modules!r}")

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate and the rank from 16 to 1024."""
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 5e-2, log=True),
            "r": 2 ** trial.suggest_int("log2_r", 4, 10),
        }

    def prepare(self, model: "PreTrainedModel") -> None:
        """Replace the target modules. Raises ValueError where a target is no linear module."""
        import torch
        from peft import VeraConfig, VeraModel

        from tunekit.methods._linear_targets import linear_targets

        freeze(model)
        targets = self.target_modules.split(",")
        linear_targets(model, targets)
        # The seed of A and B. They are not stored: loading the vectors draws A and B again.
        key = int(torch.randint(2**31, ()))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Specified to not save vera_A and vera_B")
            config = VeraConfig(
                r=self.r, d_initial=self.d_initial, vera_dropout=self.vera_dropout, target_modules=targets,
                projection_prng_key=key, save_projection=False,
            )  # fmt: skip
        VeraModel(model, config, "default")  # the modules hold A and B, which inject_adapter_in_model would not allow
