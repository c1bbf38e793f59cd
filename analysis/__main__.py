"""python -m analysis ray_results/<sweep> [more sweeps] --out DIR    the same as `tunekit report`
python -m analysis paper|published|audit|memory|import ...        the same as `tunekit paper ...` and so on
"""

import sys
from collections.abc import Sequence

from tunekit.commands import command_line

COMMANDS = ("report", "paper", "published", "audit", "memory", "import")


def main(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code: 1 where a check fails, 2 on bad input."""
    named = arguments and arguments[0] in COMMANDS
    return command_line.main([*arguments] if named else ["report", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
