"""Forms: how the error depends on compute, or on model, samples seen and unique pairs.

A form maps parameters theta (..., p) and columns (..., n) to the natural logarithm of the error (..., n), with its
Jacobian. Columns are natural logarithms relative to a reference run, so that theta is well scaled;
`natural` turns theta into the law's own parameters (E a fraction or nats, compute in GMAC).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .runs import Runs, UnfitPoints

Columns = Mapping[str, np.ndarray]
FACTORS = ("compute", "gmacs", "samples", "unique")
COLUMN_NAMES = {
    "compute": "compute_gmacs",
    "gmacs": "gmacs_per_sample",
    "samples": "samples_seen",
    "unique": "unique_pairs",
}
_DERIVED = {
    "gmacs": " (--derive gmacs_per_sample: compute / samples)",
    "samples": " (--derive samples_seen: compute / model size)",
}


@dataclass(frozen=True)
class Reference:
    """Natural logarithms that columns are relative to. Samples and unique pairs share one: their ratio counts."""

    logs: Mapping[str, float]

    @classmethod
    def of(cls, runs: Runs, factors: tuple[str, ...]) -> Reference:
        """The mean of each factor's logarithm. UnfitPoints where the table lacks a factor."""
        logs: dict[str, float] = {}
        for factor in factors:
            values = getattr(runs, factor)
            if not (np.isfinite(values) & (values > 0)).all():
                raise UnfitPoints(
                    f"{runs.target} {runs.metric}: this form needs a positive {COLUMN_NAMES[factor]} for "
                    f"every run. Add the column{_DERIVED.get(factor, '')}, or choose a method on compute alone."
                )
            logs[factor] = float(np.log(values).mean())
        if "unique" in logs and "samples" in logs:
            logs["unique"] = logs["samples"]
        return cls(logs)

    def columns(self, **factors: np.ndarray) -> dict[str, np.ndarray]:
        """Relative natural logarithms of these factors."""
        return {name: np.log(factors[name]) - log for name, log in self.logs.items()}

    def columns_of(self, runs: Runs) -> dict[str, np.ndarray]:
        """The same of runs."""
        return self.columns(**{name: getattr(runs, name) for name in self.logs})


class Form(Protocol):
    """What a fit needs of a form."""

    @property
    def name(self) -> str: ...

    @property
    def factors(self) -> tuple[str, ...]:
        """Which columns it reads."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The law's own parameters, in theta's order."""

    def log_error(self, theta: np.ndarray, columns: Columns) -> np.ndarray: ...

    def with_jacobian(self, theta: np.ndarray, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """`log_error`, and its derivative (..., n, p)."""

    def natural(self, theta: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
        """theta as the law's own parameters: prefactors at one GMAC (sample, pair), signed exponents, a floor."""

    def starts(self, columns: Columns, log_error: np.ndarray) -> np.ndarray:
        """(k, p) values of theta to start an optimiser from, for columns and errors (n,)."""

    def bounds(self, columns: Columns, log_error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(p,) least and greatest theta."""


@dataclass(frozen=True)
class LogLinear:
    """ln E = a + sum of exponent x ln factor. On compute alone it is the paper's E = beta C^alpha."""

    name: str
    factors: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("beta", *(_exponent(factor) for factor in self.factors))

    def design(self, columns: Columns) -> np.ndarray:
        """(..., n, p): a column of ones, then the factors."""
        first = columns[self.factors[0]]
        return np.stack([np.ones_like(first), *(columns[factor] for factor in self.factors)], axis=-1)

    @property
    def total_exponent(self) -> np.ndarray | None:
        """Shares (p,) of theta in alpha where compute is split between model and samples alike, each C^(1/2).

        None for a form that is of compute itself, or lacks either.
        """
        if not {"gmacs", "samples"} <= set(self.factors):
            return None
        return np.array([0.5 * (name in ("alpha_gmacs", "alpha_samples")) for name in self.parameters])

    def log_error(self, theta: np.ndarray, columns: Columns) -> np.ndarray:
        return np.einsum("...np,...p->...n", self.design(columns), theta)

    def with_jacobian(self, theta: np.ndarray, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        return self.log_error(theta, columns), self.design(columns)

    def natural(self, theta: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
        shift = sum(theta[..., 1 + i] * reference.logs[factor] for i, factor in enumerate(self.factors))
        exponents = {_exponent(factor): theta[..., 1 + i] for i, factor in enumerate(self.factors)}
        return {"beta": np.exp(theta[..., 0] - shift), **exponents}

    def starts(self, columns: Columns, log_error: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(self.design(columns), log_error, rcond=None)[0][None]

    def bounds(self, columns: Columns, log_error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reach = np.full(len(self.parameters), 50.0)
        return -reach, reach


@dataclass(frozen=True)
class Additive:
    """E = sum of beta_i factor_i^alpha_i + floor. theta: (ln term, exponent) a factor, then ln floor.

    On compute alone it is the power law with a floor. In model and samples it is Chinchilla's L(N, D)
    (Hoffmann et al. 2022): beta_gmacs is A, -alpha_gmacs alpha, beta_samples B, -alpha_samples beta, floor E.
    """

    name: str
    factors: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        pairs = [(_prefactor(factor), _exponent(factor)) for factor in self.factors]
        return (*(name for pair in pairs for name in pair), "floor")

    def _terms(self, theta: np.ndarray, columns: Columns) -> tuple[np.ndarray, list[np.ndarray]]:
        """ln E (..., n), and each term's share of E, the floor's last."""
        logs = [
            theta[..., 2 * i, None] + theta[..., 2 * i + 1, None] * columns[factor]
            for i, factor in enumerate(self.factors)
        ]
        logs.append(np.broadcast_to(theta[..., -1, None], logs[0].shape))
        largest = functools.reduce(np.maximum, logs)
        shares = [np.exp(log - largest) for log in logs]
        total = functools.reduce(np.add, shares)
        return largest + np.log(total), [share / total for share in shares]

    def log_error(self, theta: np.ndarray, columns: Columns) -> np.ndarray:
        return self._terms(theta, columns)[0]

    def with_jacobian(self, theta: np.ndarray, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        log_error, (*shares, floor) = self._terms(theta, columns)
        parts = [(share, share * columns[factor]) for share, factor in zip(shares, self.factors, strict=True)]
        return log_error, np.stack([*(column for pair in parts for column in pair), floor], axis=-1)

    def natural(self, theta: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}
        for i, factor in enumerate(self.factors):
            exponent = theta[..., 2 * i + 1]
            values[_prefactor(factor)] = np.exp(theta[..., 2 * i] - exponent * reference.logs[factor])
            values[_exponent(factor)] = exponent
        return values | {"floor": np.exp(theta[..., -1])}

    def starts(self, columns: Columns, log_error: np.ndarray) -> np.ndarray:
        least, mean = np.exp(log_error.min()), np.exp(log_error.mean())
        rows = []
        for share, *exponents in itertools.product((0.02, 0.5, 0.9), *[(-0.1, -0.5)] * len(self.factors)):
            level = np.log((mean - share * least) / len(self.factors))
            rows.append([value for exponent in exponents for value in (level, exponent)] + [np.log(share * least)])
        return np.array(rows)

    def bounds(self, columns: Columns, log_error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low = [-50.0, _STEEPEST] * len(self.factors) + [log_error.min() - _NEGLIGIBLE]
        high = [50.0, 0.0] * len(self.factors) + [log_error.min() + 1.0]
        return np.array(low), np.array(high)


@dataclass(frozen=True)
class Shifted:
    """E = beta (C + shift)^alpha, saturating at small compute; with floor, E + floor (Zhai et al. 2022).

    theta: ln E far above the shift at the reference, exponent, ln shift relative to the reference (, ln floor).
    """

    name: str
    floor: bool
    factors: tuple[str, ...] = ("compute",)

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("beta", "alpha", "shift", "floor") if self.floor else ("beta", "alpha", "shift")

    def _parts(self, theta: np.ndarray, columns: Columns) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """ln E, ln (C + shift), the shift's share of C + shift, the power's share of E."""
        x, shift = columns["compute"], theta[..., 2, None]
        shifted = np.logaddexp(x, shift)
        power = theta[..., 0, None] + theta[..., 1, None] * shifted
        total = np.logaddexp(power, theta[..., 3, None]) if self.floor else power
        return total, shifted, np.exp(shift - shifted), np.exp(power - total)

    def log_error(self, theta: np.ndarray, columns: Columns) -> np.ndarray:
        return self._parts(theta, columns)[0]

    def with_jacobian(self, theta: np.ndarray, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        log_error, shifted, of_shift, of_power = self._parts(theta, columns)
        parts = [of_power, of_power * shifted, of_power * theta[..., 1, None] * of_shift]
        return log_error, np.stack([*parts, 1 - of_power] if self.floor else parts, axis=-1)

    def natural(self, theta: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
        centre, alpha = reference.logs["compute"], theta[..., 1]
        values = {
            "beta": np.exp(theta[..., 0] - alpha * centre),
            "alpha": alpha,
            "shift": np.exp(theta[..., 2] + centre),
        }
        return values | ({"floor": np.exp(theta[..., 3])} if self.floor else {})

    def starts(self, columns: Columns, log_error: np.ndarray) -> np.ndarray:
        x, least, mean = columns["compute"], np.exp(log_error.min()), np.exp(log_error.mean())
        rows = []
        for alpha, shift, share in itertools.product((-0.1, -0.3, -0.8), (x.min() - 3, x.min(), x.max()), (0.02, 0.6)):
            level = np.log(mean - share * least * self.floor) - alpha * np.logaddexp(0, shift)
            rows.append([level, alpha, shift] + [np.log(share * least)] * self.floor)
        return np.array(rows)

    def bounds(self, columns: Columns, log_error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, least = columns["compute"], log_error.min()
        low = [-50.0, _STEEPEST, x.min() - _NEGLIGIBLE] + [least - _NEGLIGIBLE] * self.floor
        high = [50.0, 0.0, x.max() + 5.0] + [least + 1.0] * self.floor
        return np.array(low), np.array(high)


@dataclass(frozen=True)
class DataConstrained:
    """E = beta_gmacs m^alpha_gmacs + beta_samples D'^alpha_samples + floor: repeats are worth less and less.

    D' = U + U R* (1 - exp(-R / R*)) with U distinct pairs seen and R = samples / U - 1 repeats (Muennighoff et al.
    2023, eq. 5). theta: as Additive in model and samples, with ln R* before ln floor. `repeats_worth` is R*.
    """

    name: str = "data-constrained"
    factors: tuple[str, ...] = ("gmacs", "samples", "unique")
    parameters: tuple[str, ...] = (
        "beta_gmacs", "alpha_gmacs", "beta_samples", "alpha_samples", "repeats_worth", "floor",
    )  # fmt: skip

    def _effective(self, theta: np.ndarray, columns: Columns) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The columns with effective samples in place of samples, and d ln D' / d ln R*."""
        distinct = np.minimum(columns["unique"], columns["samples"])
        repeats = np.expm1(columns["samples"] - distinct)
        worth = np.exp(theta[..., -2, None])
        ratio = repeats / worth
        kept = -worth * np.expm1(-ratio)
        slope = worth * (1 - np.exp(-ratio) * (1 + ratio)) / (1 + kept)
        return {"gmacs": columns["gmacs"], "samples": distinct + np.log1p(kept)}, slope

    def _inner(self, theta: np.ndarray) -> np.ndarray:
        return np.concatenate([theta[..., :4], theta[..., 5:]], axis=-1)

    def log_error(self, theta: np.ndarray, columns: Columns) -> np.ndarray:
        return CHINCHILLA.log_error(self._inner(theta), self._effective(theta, columns)[0])

    def with_jacobian(self, theta: np.ndarray, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        effective, slope = self._effective(theta, columns)
        log_error, inner = CHINCHILLA.with_jacobian(self._inner(theta), effective)
        worth = inner[..., 2] * theta[..., 3, None] * slope
        return log_error, np.concatenate([inner[..., :4], worth[..., None], inner[..., 4:]], axis=-1)

    def natural(self, theta: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
        inner = CHINCHILLA.natural(self._inner(theta), reference)
        return inner | {"repeats_worth": np.exp(theta[..., 4]), "floor": inner["floor"]}

    def starts(self, columns: Columns, log_error: np.ndarray) -> np.ndarray:
        inner = CHINCHILLA.starts(columns, log_error)
        worths = np.log([3.0, 30.0])
        return np.array([[*row[:4], worth, row[4]] for row in inner for worth in worths])

    def bounds(self, columns: Columns, log_error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = CHINCHILLA.bounds(columns, log_error)
        return np.insert(low, 4, np.log(0.01)), np.insert(high, 4, np.log(1e4))


_STEEPEST = -10.0  # No measured law comes near such an exponent.
_NEGLIGIBLE = 14.0  # e^-14: a floor or shift a millionth of the least value is none.


def _prefactor(factor: str) -> str:
    return "beta" if factor == "compute" else f"beta_{factor}"


def _exponent(factor: str) -> str:
    return "alpha" if factor == "compute" else f"alpha_{factor}"


CHINCHILLA = Additive("chinchilla", ("gmacs", "samples"))
_ALL: tuple[Form, ...] = (
    LogLinear("power", ("compute",)),
    LogLinear("loglinear", ("gmacs", "samples", "unique")),
    Additive("power-floor", ("compute",)),
    Shifted("shifted", floor=False),
    Shifted("shifted-floor", floor=True),
    Additive("additive", ("gmacs", "samples", "unique")),
    CHINCHILLA,
    DataConstrained(),
)
FORMS: dict[str, Form] = {form.name: form for form in _ALL}
