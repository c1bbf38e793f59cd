"""The search: Optuna over each method's hyperparameters, then the choice on fresh seeds.

python sweeps/peft_search.py                  the study's methods on RoBERTa (a GPU, or days)
python sweeps/peft_search.py --preset demo    minutes, offline
"""

import sys

from analysis.console import print_search
from tunekit.commands.search import main
from tunekit.planning.blocks import Block
from tunekit.search.request import FIRST_SEARCH_SEED, SearchPreset

METHODS = ("full", "adapter", "lora")
SEEDS = (FIRST_SEARCH_SEED,)

PRESETS = {
    "study": SearchPreset(
        blocks=[
            Block(models=("roberta",), datasets=("acl_arc", "agnews_7k6", "restaurant"), methods=METHODS, seeds=SEEDS)
        ],
        trials=30,
        confirm_seeds=(1, 2, 3, 4, 5),
    ),
    "demo": SearchPreset(
        blocks=[
            Block(
                models=("minilm",),
                datasets=("demo",),
                methods=METHODS,
                seeds=SEEDS,
                epochs=2,
                batch_size=8,
                train_limit=240,
            )
        ],
        trials=3,
        confirm_seeds=(1,),
    ),
}

if __name__ == "__main__":
    sys.exit(main(PRESETS, report=print_search))
