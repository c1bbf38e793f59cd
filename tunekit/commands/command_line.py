"""The command line: `tunekit COMMAND`, each command a function whose signature is its flags."""

import sys
from collections.abc import Callable, Sequence

from tunekit.commands import analysis_cli, sweep_cli
from tunekit.commands.exit_codes import exit_code_of
from tunekit.commands.flags import run_command, show_commands
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

COMMANDS: dict[str, Callable[..., int]] = {
    "run": sweep_cli.run,
    "search": sweep_cli.search,
    "status": sweep_cli.status,
    "report": analysis_cli.report,
    "paper": analysis_cli.paper,
    "published": analysis_cli.published,
    "audit": analysis_cli.audit,
    "memory": analysis_cli.memory,
    "import": analysis_cli.import_,
    "doctor": sweep_cli.doctor,
    "verify": sweep_cli.verify,
    "export": sweep_cli.export,
    "predict": sweep_cli.predict,
    "stamp": sweep_cli.stamp,
    "release": sweep_cli.release,
    "gc": sweep_cli.gc,
}
ABOUT = """Compare fine-tuning methods of language encoders, over models, datasets and seeds.

For example:

tunekit run --preset demo

tunekit status ray_results/demo

tunekit report ray_results/demo --out paper

`tunekit COMMAND --help` says what a command takes. Completion for a shell (bash, zsh or tcsh):

tunekit --tyro-print-completion bash > ~/.local/share/bash-completion/completions/tunekit
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command with ``arguments``, by default those of the process. Return the exit code, 2 for bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(lambda: _run(words))


def _run(words: Sequence[str]) -> int:
    """Parse ``words`` by the flags of the command that they name, run it, and return its exit code.

    Raises UserError where the first word names no command.
    """
    if not words or words[0].startswith("-"):
        return show_commands(COMMANDS, "tunekit", ABOUT, words)
    name = words[0]
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}{did_you_mean(name, COMMANDS)} (there are {', '.join(COMMANDS)})")
    # Only this command is parsed, so that a message on a flag points to no other command.
    return run_command(COMMANDS[name], f"tunekit {name}", words[1:])
