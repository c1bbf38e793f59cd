"""The search: Optuna over each method's hyperparameters, then the choice on fresh seeds. The same as `tunekit search`.

python sweeps/peft_search.py                  the study's methods on RoBERTa (a GPU, or days)
python sweeps/peft_search.py --preset demo    minutes, offline

The presets are in tunekit/planning/presets.py.
"""

import sys

from tunekit.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
