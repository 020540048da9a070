"""Report on finished runs, without network or GPU: one page with tables, figures and verdicts.

  python -m src.report runs=<glob> [study=he2016_table6] [labels=<file.csv>] [out=<directory>]   make a report
  python -m src.report … bundle=<file.html>          and all that it rests on, in one file
  python -m src.report bundle=<file.html>            make every table of such a file again, elsewhere
  python -m src.report compare=[A,B] [out=<file.json>]                           compare two configurations
  python -m src.report wandb=<entity>/<project> [study=…] [out=<file.json>]      make a dashboard at W&B

runs=     directories of runs; each stands for everything below it, and [A,B] names several (default: outputs); a run
          may be named by last, best:<metric> or the first digits of its hash, too
study=    show a study's tables, claims and figures, with our numbers beside the published ones (conf/published)
labels=   corrected labels of the test images, a CSV file with the columns index and label
out=      where to write the page, tables and figures (default: outputs/report/<study or all>)
bundle=   one HTML file with the page, configurations, curves, predictions and hashes; alone, it is read, and the tables
          that are made from it are compared with those that it was made with, byte by byte
compare=  two directories or globs: the paired difference over seeds, and McNemar's test on the test predictions
wandb=    a dashboard with the study's tables and figures over the runs of its group at W&B; with out=, its definition
          is written to a file instead, which needs neither key nor network
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..cli.main import main, print_help, read_options
from ..errors import UserError
from ..runs.find import resolve_many
from .making import make_report, read_study, remake_report

WORDS = ("runs", "study", "labels", "out", "bundle", "compare", "wandb")
MADE_FROM = {"runs", "study", "labels"}  # one of them is there where a bundle is to be written


def answer() -> int:
    """Do what the command line asks for and return the exit status."""
    if (told := print_help(__doc__)) is not None:
        return told
    words = sys.argv[1:]
    options = parse_words(words)
    if "compare" in options:
        from .compare import compare

        compare(resolve_many(split_list(options["compare"])), out=Path(options["out"]) if "out" in options else None)
        return 0
    study = options.get("study")
    if "wandb" in options:
        from .render.dashboard import make_dashboard

        print(make_dashboard(options["wandb"], read_study(study), Path(options["out"]) if "out" in options else None))
        return 0
    bundle = Path(options["bundle"]).expanduser() if "bundle" in options else None
    if bundle and not MADE_FROM & options.keys():
        return remake_report(bundle, Path(options.get("out", f"outputs/report/{bundle.stem}")))
    if bundle and (bundle.suffix != ".html" or bundle.is_dir()):
        raise UserError(f"bundle={bundle}: name a file that ends in .html")
    out = Path(options.get("out", f"outputs/report/{study or 'all'}"))
    labels = Path(options["labels"]) if "labels" in options else None
    make_report(resolve_many(split_list(options.get("runs", "outputs"))), study, out, labels, bundle=bundle)
    return 0


def parse_words(words: Sequence[str]) -> dict[str, str]:
    """Return the options of the command line by name; UserError for a word that is none of them."""
    options = read_options(WORDS, words, "src.report")
    stands_alone = ("runs", "study", "labels", "bundle", "wandb")
    if "compare" in options and (others := [name for name in stands_alone if name in options]):
        raise UserError(f"compare= stands alone, because it names its runs itself; leave out {'=, '.join(others)}=")
    if "wandb" in options and (others := [name for name in ("runs", "labels", "bundle") if name in options]):
        named = "=, ".join(others)
        raise UserError(f"wandb= takes no {named}=, because a dashboard shows the runs that are at W&B; leave it out")
    return options


def split_list(value: str) -> list[str]:
    """Return the values of [A,B], or the one value."""
    inner = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else [value]
    return [word.strip() for word in inner if word.strip()]


if __name__ == "__main__":
    main(answer)
