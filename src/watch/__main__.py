"""Watch runs as they train, in a browser on this machine: ``python -m src.watch [runs=outputs] [port=…] [predict=…]``.

runs=     a folder; all runs at or below it are shown, also those that begin later (default: outputs)
port=     on 127.0.0.1 (default: 8321, or a free one where that is taken)
predict=  a trained run, which predicts the images that are dropped on the page

Nothing is written, no run is touched, and no other machine can connect. Ctrl-C ends it; the runs go on.
"""

import sys
from pathlib import Path

from ..cli.console import show_page
from ..cli.main import main, read_options
from ..errors import UserError
from ..runs.find import OUTPUTS, resolve_run

WORDS = ("runs", "port", "predict")


def run_command() -> int:
    """Serve the page until Ctrl-C."""
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        show_page(str(__doc__))
        return 0
    folder, port, predict = read_words(words)
    from .folder import Folder
    from .receive import open_uploads
    from .server import open_server, serve

    uploads = open_uploads(predict) if predict else None
    serve(open_server(Folder(folder), port, uploads))
    return 0


def read_words(words: list[str]) -> tuple[Path, int | None, Path | None]:
    """Return the folder, the port and the run of a command line; raise UserError for what is none."""
    options = {"runs": OUTPUTS} | read_options(WORDS, words, "src.watch")
    folder, port = Path(options["runs"]).expanduser(), options.get("port")
    if not folder.is_dir():
        raise UserError(f"runs={folder}: no such folder; python -m src.train makes one, by default {OUTPUTS}")
    if port is not None and not (port.isascii() and port.isdecimal() and int(port[:6]) < 65536):
        raise UserError(f"port={port[:20]}: a whole number from 0 to 65535 is needed")
    predict = options.get("predict")
    return folder, None if port is None else int(port), resolve_run(predict) if predict else None


if __name__ == "__main__":
    main(run_command)
