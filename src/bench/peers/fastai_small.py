"""Train on small folders of pictures with fastai's defaults, from scratch: a line of JSON in, a line of JSON out.

fastai lives in an environment of its own, so this file runs by that environment's Python (see src/bench/small_sets.py).
A request names a folder with train, val and test, a side, a seed, the network's depth and the CPU seconds that training
may take, which decide the epochs. The answer has the test's macro F1, the epochs and the CPU seconds.
"""

import copy
import json
import math
import sys
import time
from pathlib import Path


def answer(request: dict) -> dict:
    """Train and test one set as a reader of fastai's documentation would: Learner and fit_one_cycle, as they come."""
    import torch
    from fastai.vision.all import CrossEntropyLossFlat, ImageDataLoaders, Learner, Resize, aug_transforms, set_seed
    from sklearn.metrics import f1_score

    from src.models.build import create_model

    set_seed(request["seed"], reproducible=True)
    root = Path(request["root"])
    n = len(list(root.glob("train/*/*.png")))
    began = time.process_time()
    data = ImageDataLoaders.from_folder(
        root,
        train="train",
        valid="val",
        item_tfms=Resize(request["size"]),
        batch_tfms=aug_transforms(),
        bs=min(64, n),
        num_workers=0,
    )
    model = create_model("cifar_resnet", num_classes=data.c, depth=request["depth"])
    fresh = copy.deepcopy(model.state_dict())
    opening = time.process_time() - began

    def train(epochs: int) -> tuple[Learner, float]:
        set_seed(request["seed"], reproducible=True)
        model.load_state_dict(fresh)
        learner = Learner(data, model, loss_func=CrossEntropyLossFlat())
        began = time.process_time()
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(epochs)
        return learner, time.process_time() - began

    train(1)  # the first use of anything
    an_epoch = train(2)[1] / 2
    epochs = max(1, math.ceil((request["seconds"] - opening) / an_epoch))
    learner, fitting = train(epochs)
    seconds = opening + fitting
    files = sorted(root.glob("test/*/*.png"))
    scores, _ = learner.get_preds(dl=data.test_dl(files))
    truth = [data.vocab.o2i[file.parent.name] for file in files]
    return {
        "f1": float(f1_score(truth, scores.argmax(dim=1).tolist(), average="macro")),
        "epochs": epochs,
        "seconds": seconds,
        "torch": torch.__version__,
    }


def main() -> None:
    """Answer each line of the standard input."""
    import torch

    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # fastai prints
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
