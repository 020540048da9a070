"""Find labels that are probably wrong, with no trained network: each picture is judged by all others.

Features are the answers of filters that are whitened patches of the pictures, pooled in quarters (Coates & Ng 2012),
the same for a picture and its mirror image. Ridge regression gives each picture the scores of a fit without it, exactly
and in one solve; a logistic regression of few parameters turns the scores into probabilities. A network that has learnt
a wrong label by heart would not doubt it; here no picture has a say in its own.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from tqdm import tqdm

PATCH, STRIDE, FILTERS = 6, 2, 512
PATCHES = 20_000  # from which whitening and filters come
THRESHOLD = 0.25  # below which an answer counts as none
CONTRAST = 10.0  # grey levels squared, so that flat patches are not blown up
WHITENING, RIDGE = 0.1, 0.02
BLOCK = 200  # pictures at once
SUSPECTS = 0.12  # of all pictures that are named at most


def score_labels(images: Tensor, labels: Tensor, *, num_classes: int, seed: int = 0) -> Tensor:
    """Return the probabilities float32 [N, K] of the classes of uint8 pictures [N, 32, 32, C], each without its label.

    ``labels`` int64 [N] are those that the other pictures have.
    """
    generator = torch.Generator().manual_seed(seed)
    scores = score_without_own(compute_features(images, generator), labels, num_classes)
    return calibrate(scores, labels)


def compute_features(images: Tensor, generator: Generator) -> Tensor:
    """Compute the features [N, D] of pictures, each the mean over the picture and its mirror image."""
    kernels, shift = make_filters(images, generator)
    parts = []
    for part in tqdm(images.split(BLOCK), "features", disable=None, delay=2, leave=False):
        pixels = part.permute(0, 3, 1, 2).float() - 128
        parts.append((pool_answers(pixels, kernels, shift) + pool_answers(pixels.flip(-1), kernels, shift)) / 2)
    return torch.cat(parts)


def make_filters(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw whitened patches as kernels [K, C, P, P] of mean 0, and what their answers are to be lowered by, [K]."""
    side, channels = images.shape[1] - PATCH + 1, images.shape[3]
    chosen = torch.randint(0, len(images), (PATCHES,), generator=generator)
    tops, lefts = torch.randint(0, side, (2, PATCHES), generator=generator)
    reach = torch.arange(PATCH)
    rows, columns = (tops[:, None] + reach)[:, :, None], (lefts[:, None] + reach)[:, None]
    patches = images[chosen[:, None, None], rows, columns].permute(0, 3, 1, 2).flatten(1).float()
    patches = patches - patches.mean(dim=1, keepdim=True)
    patches /= (patches.square().mean(dim=1, keepdim=True) + CONTRAST).sqrt()
    centre = patches.mean(dim=0)
    variances, axes = torch.linalg.eigh(torch.cov(patches.T))
    whitening = axes * (variances + WHITENING).rsqrt() @ axes.T
    drawn = torch.randperm(PATCHES, generator=generator)[:FILTERS]
    directions = F.normalize((patches[drawn] - centre) @ whitening) @ whitening
    shift = directions @ centre
    directions = directions - directions.mean(dim=1, keepdim=True)
    return directions.view(len(drawn), channels, PATCH, PATCH), shift


def pool_answers(pixels: Tensor, kernels: Tensor, shift: Tensor) -> Tensor:
    """Return how strongly each filter and its negative answer in each quarter of pictures [B, C, 32, 32], [B, 8 K]."""
    mean, square = (F.avg_pool2d(part.mean(dim=1, keepdim=True), PATCH, STRIDE) for part in (pixels, pixels.square()))
    contrast = ((square - mean.square()).clamp(min=0) + CONTRAST).sqrt()
    dtype = torch.bfloat16  # twice as fast, and as good for means over a quarter
    packed = pixels.to(dtype, memory_format=torch.channels_last)
    answers = F.conv2d(packed, kernels.to(dtype, memory_format=torch.channels_last), stride=STRIDE)
    answers = answers / contrast.to(dtype) - shift.to(dtype)[:, None, None]
    both = torch.cat([F.relu(answers - THRESHOLD), F.relu(-answers - THRESHOLD)], dim=1)
    return F.adaptive_avg_pool2d(both.float(), 2).flatten(1)


def score_without_own(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the scores [N, K] that ridge regression gives each picture when it is fitted to all others.

    With the hat matrix H, leaving a picture out gives (p - h y) / (1 - h), where h is its own entry of H's diagonal.
    """
    features = (features - features.mean(dim=0)) / features.std(dim=0).clamp(min=1e-6)
    features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    targets = F.one_hot(labels, num_classes).float()
    few = len(features) < features.shape[1]
    gram = features @ features.T if few else features.T @ features
    ridge = RIDGE * len(features)
    lower = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram)))
    if few:  # the same in its dual form, whose matrix has a row a picture: H = 1 - ridge (F F' + ridge)^-1
        hat = torch.eye(len(gram)) - ridge * torch.cholesky_inverse(lower)
        fitted, leverage = hat @ targets, hat.diagonal()[:, None]
    else:
        fitted = features @ torch.cholesky_solve(features.T @ targets, lower)
        leverage = torch.cat(list(measure_leverage(features, lower)))[:, None]
    leverage = leverage.clamp(max=0.999)
    return (fitted - leverage * targets) / (1 - leverage)


def measure_leverage(features: Tensor, lower: Tensor) -> Iterator[Tensor]:
    """Yield the diagonal of the hat matrix, part by part; ``lower`` is the Cholesky factor of the gram matrix."""
    for part in features.split(4000):
        yield torch.linalg.solve_triangular(lower, part.T, upper=False).square().sum(dim=0)


def calibrate(scores: Tensor, labels: Tensor) -> Tensor:
    """Turn scores [N, K] into probabilities by a logistic regression of the labels on them."""
    count = scores.shape[1]
    inputs = torch.cat([scores, torch.ones(len(scores), 1)], dim=1)
    weights = torch.cat([5 * torch.eye(count), torch.zeros(1, count)]).requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def compute_loss() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(inputs @ weights, labels) + 1e-5 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(compute_loss)
    return (inputs @ weights.detach()).softmax(dim=1)


def choose_suspects(probabilities: Tensor, labels: Tensor, most: float) -> Tensor:
    """Return the numbers of the pictures whose label is another class than the most probable, least probable first.

    At most the fraction ``most`` of all pictures is named.
    """
    own = probabilities.gather(1, labels[:, None])[:, 0]
    order = own.argsort(stable=True)[: round(most * len(labels))]
    return order[(probabilities.argmax(dim=1) != labels)[order]]
