"""Write a trained classifier for other programs: ``python -m src.export run=<run> format=<format> [out=<folder>]``.

``format=`` is onnx, torch_export, safetensors, torchvision or timm (the tensors under these libraries' names), or
several: format=onnx,safetensors. ``preprocess=true`` puts the scaling of pixels, the temperature and the softmax inside
of onnx and torch_export: bytes in, probabilities out. Each file is compared with the run on real images: the run's own
test images, or ``images=<file, folder, pattern or zip>``. A model-card.md is written beside them.

``push=<user>/<name>`` uploads it all to Hugging Face's hub, into a private repository unless public=true. Also:
``license=<name>`` for the card, and any setting, such as data.root=… (needs the extras export and hub).
"""

from pathlib import Path

from .cli.console import say
from .cli.main import main, print_help, split_words
from .errors import UserError

OWN = ("run", "format", "out", "preprocess", "images", "push", "public", "license")
FORMATS = ("onnx", "torch_export", "safetensors", "torchvision", "timm")
FOLDER = "exports"  # where out= names none


def run_command() -> int:
    """Export the run that the command line names."""
    if (told := print_help(__doc__)) is not None:
        return told
    named, overrides = split_words(OWN)
    for name, value in {"run": "outputs/…", "format": "onnx"}.items():
        if not named.get(name):
            raise UserError(f"{name}= is missing; type {name}={value}: python -m src.export run=outputs/… format=onnx")
    export_run(
        Path(named["run"]),
        read_formats(named["format"]),
        overrides=overrides,
        out=Path(named["out"]).expanduser() if named.get("out") else None,
        preprocess=read_switch(named, "preprocess"),
        images=named.get("images"),
        push=named.get("push"),
        public=read_switch(named, "public"),
        license_name=named.get("license"),
    )
    return 0


def read_formats(text: str) -> list[str]:
    """Return the formats of a comma-separated list; raise UserError for an unknown one."""
    formats = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in formats if name not in FORMATS]:
        raise UserError(f"format={unknown[0][:40]}: choose one of: {', '.join(FORMATS)}")
    return formats


def read_switch(named: dict[str, str], name: str) -> bool:
    """Return a true or false of the command line; false where it has none."""
    if named.get(name, "false") not in ("true", "false"):
        raise UserError(f"{name}={named[name][:24]}: true or false is needed")
    return named.get(name) == "true"


def export_run(
    run: Path,
    formats: list[str],
    *,
    overrides: list[str] | None = None,
    out: Path | None = None,
    preprocess: bool = False,
    images: str | None = None,
    push: str | None = None,
    public: bool = False,
    license_name: str | None = None,
) -> dict[str, float]:
    """Write a run in some formats, with a model card; return each one's largest relative difference from the run.

    Raises UserError for a run or format that cannot be exported, and where a file computes something else.
    """
    from .inference.card import write_card
    from .inference.exporting import export, refuse
    from .inference.hub import check_repository
    from .inference.hub import push as upload
    from .inference.network import open_predictor
    from .inference.real_images import collect_real_images

    if push is not None:
        check_repository(push)
    predictor = open_predictor(run, ["trainer.accelerator=cpu", *(overrides or [])])
    for kind in formats:
        refuse(predictor, kind, preprocess)
    checked = collect_real_images(predictor, images)
    folder = out or Path(FOLDER, f"{predictor.config.model.name}-{predictor.config.data.name}")
    folder.mkdir(parents=True, exist_ok=True)
    exported = []
    for kind in formats:
        one = export(predictor, checked, folder, kind=kind, preprocess=preprocess)
        exported.append(one)
        size = one.path.stat().st_size / 1e6
        print(
            f"{one.path}  {size:.1f} MB  largest relative difference {one.difference:.1e} "
            f"on {one.images} real images, by {one.by}"
        )
    say(predictor.describe_calibration())
    say(str(write_card(folder, predictor, exported, license_name=license_name)))
    if push is not None:
        say(f"Uploaded to {upload(folder, push, public=public)}")
    return {kind: one.difference for kind, one in zip(formats, exported, strict=True)}


if __name__ == "__main__":
    main(run_command)
