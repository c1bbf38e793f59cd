"""The main grid: model x dataset x method x seed. The same as `tunekit run`.

python sweeps/main_grid.py                    the study: 75 trials (a GPU, or days)
python sweeps/main_grid.py --preset laptop    MiniLM on the real ACL-ARC and Restaurant data
python sweeps/main_grid.py --preset demo      minutes, offline

The presets are in tunekit/planning/presets.py.
"""

import sys

from tunekit.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
