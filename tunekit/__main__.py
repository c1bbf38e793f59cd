"""`tunekit COMMAND`, or `python -m tunekit COMMAND`: everything that the package does, from the command line."""

import sys

from tunekit.commands.command_line import main

if __name__ == "__main__":
    sys.exit(main())
