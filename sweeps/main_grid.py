"""The main grid: model x dataset x method x seed.

python sweeps/main_grid.py                    the study: 75 trials (a GPU, or days)
python sweeps/main_grid.py --preset laptop    MiniLM on the real ACL-ARC and Restaurant data
python sweeps/main_grid.py --preset demo      minutes, offline
"""

import sys

from analysis.console import outlook, print_grid
from tunekit.commands.grid import main
from tunekit.planning.blocks import Block

DATASETS = ("acl_arc", "agnews_7k6", "restaurant")
SEEDS = (1, 2, 3, 4, 5)

PRESETS = {
    "study": [
        Block(models=("bert", "roberta", "scibert"), datasets=DATASETS, methods=("full",), seeds=SEEDS),
        Block(models=("roberta",), datasets=DATASETS, methods=("adapter", "lora"), seeds=SEEDS),
    ],
    "laptop": [
        Block(
            models=("minilm",),
            datasets=("acl_arc", "restaurant"),
            methods=("full", "adapter", "lora"),
            seeds=(1, 2, 3),
            epochs=3,
        )
    ],
    "demo": [
        # 600 rows need small batches and high rates to get anywhere in 3 epochs.
        Block(
            models=("minilm",),
            datasets=("demo",),
            methods=("full", "adapter", "lora"),
            seeds=(1, 2),
            epochs=3,
            batch_size=8,
            learning_rate={"full": 1e-4, "adapter": 1e-3, "lora": 1e-3},
        )
    ],
}

if __name__ == "__main__":
    sys.exit(main(PRESETS, report=print_grid, outlook=outlook))
