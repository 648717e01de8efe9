"""Linear probes on cached features: which examples they learn from, and which setting is chosen.

Protocol of Cherti et al. 2022 (section 2.4, and their code): frozen features, one linear layer, cross-entropy, AdamW
under a cosine rate, batch 256, learning rates {0.1, 0.01, 0.001} x epochs {10, 20, 40}. They choose the best of the
nine on the test split; here it is chosen on a split carved from train, unless `choose_on: test` asks for theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import EvaluationError
from ..study.config.evaluation import LinearProbes
from .pieces import Examples
from .probe_training import Probe, Setting, accuracies, logistic_regression, train_sweep

Labels = NDArray[np.int64]


def few_shot(labels: Labels, shots: int, seed: int) -> Labels:
    """Draw the indices of `shots` examples a class. EvaluationError where a class has fewer."""
    generator = np.random.default_rng(seed)
    chosen = []
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        if len(members) < shots:
            raise EvaluationError(f"class {number} has {len(members)} training examples, fewer than {shots} shots.")
        chosen.append(generator.choice(members, shots, replace=False))
    return np.sort(np.concatenate(chosen))


def carve(labels: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """Split indices into (train, validation), `share` of each class to validation, one example at least to train."""
    generator = np.random.default_rng(seed)
    train, validation = [], []
    for number in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == number))
        held = min(round(share * len(members)), len(members) - 1)
        validation.append(members[:held])
        train.append(members[held:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def best(probes: Sequence[Probe], examples: Examples) -> Probe:
    """Choose the probe with the highest accuracy; of equals the first."""
    return probes[int(np.argmax(accuracies(probes, examples)))]


def probe_accuracy(
    train: Examples, test: Examples, classes: int, shots: int | str, settings: LinearProbes
) -> tuple[float, float, list[Setting | float]]:
    """Measure the test accuracy of the chosen probe: (mean over draws, standard deviation over draws, chosen settings).

    shots: examples a class, drawn `settings.draws` times, or "full". EvaluationError where a class of train is empty or
    smaller than the shots.
    """
    labels = train.labels.numpy()
    empty = sorted(set(range(classes)) - set(np.unique(labels).tolist()))
    if empty:
        raise EvaluationError(f"classes {empty} have no training example, so no probe can know them.")
    found, chosen = [], []
    for draw in range(1 if shots == "full" else settings.draws):
        seed = settings.seed + draw
        rows = np.arange(len(labels)) if shots == "full" else few_shot(labels, int(shots), seed)
        probe = _chosen(train.choose(torch.from_numpy(rows)), labels[rows], test, classes, settings, seed)
        found += accuracies([probe], test)
        chosen.append(probe.setting)
    spread = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
    return float(np.mean(found)), spread, chosen


def _chosen(
    examples: Examples, labels: Labels, test: Examples, classes: int, settings: LinearProbes, seed: int
) -> Probe:
    """Train the sweep of one draw and choose a probe; one that a carved part was held back for is trained again."""
    kept, held = carve(labels, settings.validation_share, seed)
    if settings.choose_on == "test" or not len(held):
        return best(_sweep(examples, classes, settings, seed), test)
    probes = _sweep(examples.choose(torch.from_numpy(kept)), classes, settings, seed)
    setting = best(probes, examples.choose(torch.from_numpy(held))).setting
    # The chosen setting once more, on all that may be learned from.
    [probe] = _sweep(examples, classes, settings, seed, only=setting)
    return probe


def _sweep(
    examples: Examples, classes: int, settings: LinearProbes, seed: int, only: Setting | float | None = None
) -> list[Probe]:
    """Train all probes of the settings, or the chosen one."""
    if settings.solver == "lbfgs":
        penalties = settings.weight_decays if only is None else [float(only)]  # type: ignore[arg-type]
        return logistic_regression(examples, classes, penalties)
    every = product(settings.epochs, settings.learning_rates, settings.weight_decays)
    sweep = [only] if isinstance(only, Setting) else [Setting(rate, decay, epochs) for epochs, rate, decay in every]
    return train_sweep(examples, classes, sweep, settings.batch_size, seed)
