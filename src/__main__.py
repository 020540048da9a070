"""List the commands, and run the one that is named: ``python -m src``, or ``residual`` where it is installed."""


def run() -> None:
    """Run the command of the command line; torch is imported by those that need it."""
    from .cli.commands import run_command
    from .cli.main import main

    main(run_command)


if __name__ == "__main__":
    run()
