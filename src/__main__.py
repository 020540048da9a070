"""List the commands, and run the one that is named: ``python -m src``, or ``residual`` where it is installed."""

import sys


def run() -> None:
    """Run the command of the command line; torch is imported by those that need it."""
    from .cli.commands import run_command
    from .cli.main import main

    main(complete if sys.argv[1:2] in (["--complete"], ["completion"]) else run_command)


def complete() -> int:
    """Print the words that can end a command line, or what a shell reads to ask for them."""
    from .cli.complete import print_completions, print_script

    return (print_completions if sys.argv[1] == "--complete" else print_script)(sys.argv[2:])


if __name__ == "__main__":
    run()
