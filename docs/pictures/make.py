"""Make the pictures of the documentation from real runs on digits: ``python docs/pictures/make.py [<folder>]``.

training.svg: a training in a terminal, as tmux shows it. report.png: the report page over eight runs of six epochs,
as Chromium shows it. Needs tmux, Chromium and rich beside the project; the runs go to the folder (outputs/pictures) and
are trained once, about two minutes on two cores.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COLUMNS, LINES = 104, 14
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Train what is missing below the folder, and write both pictures beside this file."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "outputs" / "pictures").resolve()
    runs = folder / "outputs"
    sweep = "-m model=resnet20,resnet32,plain20,plain32 data=digits seed=0,1 trainer.threads=1 trainer.max_epochs=6"
    python("src.train", *shlex.split(sweep), f"output_root={runs}")
    python("src.report", f"runs={runs}", f"out={folder / 'report'}")
    photograph(folder / "report" / "index.html", HERE / "report.png", width=1280, height=1270)
    training = "python -m src.train model=resnet20 data=digits trainer.threads=1"
    screen = record(training, ready=r"epoch   7/60")
    draw(f"$ {training}", screen, HERE / "training.svg")


def python(module: str, *words: str) -> None:
    """Run a command of the project's."""
    subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, check=True)


def photograph(page: Path, picture: Path, *, width: int, height: int) -> None:
    """Save the top of a page as a PNG of 128 colours."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"A browser is needed, one of: {', '.join(BROWSERS)}")
    options = ["--no-sandbox", "--headless", "--hide-scrollbars", f"--window-size={width},{height}"]
    subprocess.run([browser, *options, f"--screenshot={picture}", page.as_uri()], check=True)
    image = Image.open(picture).convert("RGB").quantize(128)
    image.save(picture, optimize=True)


def record(command: str, *, ready: str) -> str:
    """Run a command in a terminal of tmux; return its screen, with colours, at the end or where `ready` is seen."""
    session = f"picture-{os.getpid()}"
    command = command.replace("python", sys.executable, 1) + " fresh=true output_root=$(mktemp -d)"
    tmux("new-session", "-d", "-s", session, "-x", str(COLUMNS), "-y", str(LINES), f"{command}; sleep 60")
    try:
        for _ in range(3000):
            screen = tmux("capture-pane", "-p", "-e", "-t", session)
            if re.search(ready, screen):
                return screen
            time.sleep(0.05)
        sys.exit(f"{ready} was not seen; the last screen:\n{screen}")
    finally:
        tmux("kill-session", "-t", session)


def tmux(*words: str) -> str:
    """Return what tmux prints."""
    return subprocess.run(["tmux", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def draw(prompt: str, screen: str, picture: Path) -> None:
    """Write a screen as an SVG that loads nothing."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(prompt))
    console.print(Text.from_ansi(screen.rstrip()), no_wrap=True, crop=True)
    svg = console.export_svg(title="resnet20 on digits")
    svg = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    picture.write_text(svg.replace("Fira Code, monospace", "Menlo, Consolas, monospace"))


if __name__ == "__main__":
    main()
