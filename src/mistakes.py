"""Look at a run's mistakes: ``python -m src.mistakes run=<run> [split=test|val|train] [data.root=…]``.

run=         a run directory or checkpoint, a glob, or [A,B]: runs of several seeds on one data set vote
split=       which pictures (default: test); those of train were learnt, so that few labels of them are doubted
duplicates=  seek near duplicates in all splits of the run (default: where the pictures lie in memory)
out=         where the page and the CSV files go (default: outputs/mistakes/<name of the first run>)

The page shows the surest mistakes, the most confused classes, doubtful labels, near duplicates and a table of the
classes; the same lies beside it as CSV. `data.root=…` says where the data is now.
"""

import sys
from pathlib import Path

from .cli.main import main, print_help
from .errors import UserError
from .runs.find import resolve_runs

OPTIONS = ("run", "split", "duplicates", "out")
SPLITS = ("test", "val", "train")


def run_command() -> int:
    """Write the mistakes of the runs that the command line names, and print a summary."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    named = {name: value for name, _, value in (word.partition("=") for word in words) if name in OPTIONS}
    overrides = [word for word in words if word.partition("=")[0] not in (*OPTIONS, "debug")]
    if not named.get("run"):
        raise UserError("run= is missing; type the run's directory: python -m src.mistakes run=outputs/…")
    split, choice = named.get("split", "test"), named.get("duplicates", "")
    if split not in SPLITS:
        raise UserError(f"split={split}: choose one of: {', '.join(SPLITS)}")
    if choice not in ("", "true", "false"):
        raise UserError(f"duplicates={choice}: true or false is needed")
    runs = resolve_runs(named["run"])
    from .analysis.mistakes import judge
    from .analysis.mistakes_page import summarize, write_mistakes
    from .analysis.pairs import find_pairs
    from .analysis.trust import check_overrides

    check_overrides(overrides)
    judged, assembly = judge(runs, split, overrides)
    pairs = find_pairs(assembly.data, always=choice == "true") if choice != "false" else None
    place = runs[0].parent.parent.name if runs[0].is_file() else runs[0].name
    out = Path(named.get("out") or f"outputs/mistakes/{place}").expanduser()
    page = write_mistakes(judged, assembly, runs, pairs, out)
    print("\n".join([*summarize(judged, runs), str(page)]))
    return 0


if __name__ == "__main__":
    main(run_command)
