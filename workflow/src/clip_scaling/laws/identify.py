"""What a design can identify: the parameters of a form that its runs cannot separate, whatever they measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .forms import COLUMN_NAMES, Form, Reference
from .runs import Runs

SAME = float(np.log(1.1))  # A factor that varies by less than 10 %, given the others, is not varied.
_NULL = 1e-7  # Of the greatest singular value: below it a direction of parameters changes no run.
_SHARE = 1e-3  # Of such a direction: below it a parameter has no part in it.


@dataclass(frozen=True)
class Unidentified:
    """Parameters that the design leaves open, and why; both empty where it leaves none."""

    parameters: tuple[str, ...] = ()
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.parameters)

    def __str__(self) -> str:
        return f"{_listed(self.parameters)}, since {self.reason}"


NOTHING_OPEN = Unidentified()


def unidentified(runs: Runs, form: Form) -> Unidentified:
    """Find the parameters of a form that these runs cannot identify.

    Read from the places of the runs alone: a factor that all runs share, factors in a fixed relation (samples = 20 x
    size), and directions in which the Jacobian of the form is zero at every run (two model sizes give no exponent).
    """
    logs = {name: np.log(getattr(runs, name)) for name in form.factors}
    # Repeats follow from samples and unique pairs together: in no term are the latter alone.
    related, reasons = fixed_relations({name: logs[name] for name in logs if f"alpha_{name}" in form.parameters})
    names = {name for name in form.parameters for factor in related if name.endswith(f"_{factor}")}
    flat = {name: _stepped(values) for name, values in Reference.of(runs, form.factors).columns_of(runs).items()}
    null = _null_parameters(form, flat, np.log(runs.error))
    reasons += _few_steps(flat, null - names)
    if null and not reasons:
        reasons = [f"{len(runs)} runs at these places do not separate them"]
    found = tuple(name for name in form.parameters if name in names | null)
    return Unidentified(found, " and ".join(dict.fromkeys(reasons))) if found else NOTHING_OPEN


def fixed_relations(logs: Mapping[str, np.ndarray]) -> tuple[set[str], list[str]]:
    """Factors (natural logarithms, (n,)) that are constant or follow from others in every run, and how."""
    found = {name for name, values in logs.items() if np.ptp(values) <= SAME}
    reasons = [
        f"{COLUMN_NAMES[name]} is {np.exp(logs[name].mean()):.4g} in every run" for name in logs if name in found
    ]
    varied = [name for name in logs if name not in found]
    for size in range(2, len(varied) + 1):
        for group in combinations(varied, size):
            if size > 2 and found & set(group):
                continue
            powers, constant, apart = _relation(np.stack([logs[name] for name in group], axis=-1))
            if apart <= SAME:
                found |= set(group)
                reasons.append(f"{_formula(group, powers, constant)} in every run" + _within(apart))
    return found, reasons


def _relation(columns: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Powers and constant of the last column (n, k) as a combination of the others, and how far a run lies from it."""
    design = np.column_stack([columns[:, :-1], np.ones(len(columns))])
    solution = np.linalg.lstsq(design, columns[:, -1], rcond=None)[0]
    return solution[:-1], float(solution[-1]), float(np.abs(columns[:, -1] - design @ solution).max())


def _formula(group: Sequence[str], powers: np.ndarray, constant: float) -> str:
    terms = [f"{np.exp(constant):.3g}"]
    for name, power in zip(group[:-1], powers, strict=True):
        terms.append(COLUMN_NAMES[name] + ("" if abs(power - 1) < 0.02 else f"^{power:.2g}"))
    return f"{COLUMN_NAMES[group[-1]]} = {' x '.join(terms)}"


def _within(apart: float) -> str:
    return f" (within {100 * np.expm1(apart):.0f} %)" if np.expm1(apart) > 0.005 else ""


def _stepped(values: np.ndarray) -> np.ndarray:
    """The values (n,) with those within 10 % of the least of their group replaced by the group's mean."""
    order, result = np.argsort(values), values.copy()
    group: list[int] = []
    for place in order:
        if group and values[place] > values[group[0]] + SAME:
            result[group] = values[group].mean()
            group = []
        group.append(int(place))
    result[group] = values[group].mean()
    return result


def _null_parameters(form: Form, columns: Mapping[str, np.ndarray], log_error: np.ndarray) -> set[str]:
    """Parameters in directions that change no run, at the start of a search where the Jacobian's rank is greatest."""
    fewest, null = len(form.parameters) + 1, np.empty((0, len(form.parameters)))
    for theta in form.starts(columns, log_error):
        jacobian = form.with_jacobian(theta, columns)[1]
        norms = np.linalg.norm(jacobian, axis=0)
        values, directions = np.linalg.svd(jacobian / np.where(norms > 0, norms, 1.0))[1:]
        rank = int((values > _NULL * values.max()).sum())
        if len(form.parameters) - rank < fewest:
            fewest, null = len(form.parameters) - rank, directions[rank:]
    parts = np.abs(null).max(axis=0, initial=0.0)
    return {name for name, part in zip(form.parameters, parts, strict=True) if part > _SHARE}


def _few_steps(columns: Mapping[str, np.ndarray], null: set[str]) -> list[str]:
    """Why parameters are open although no factor is constant: too few values of one, or no repeats."""
    if null == {"repeats_worth"}:
        return ["no run repeats its data"]
    counts = {name: len(np.unique(values)) for name, values in columns.items()}
    return [
        f"{COLUMN_NAMES[name]} has {count} values in these runs"
        for name, count in counts.items()
        if 1 < count < 4 and null & {f"alpha_{name}", "alpha"}
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
