"""Forms: how the error depends on compute, or on model, samples seen and unique pairs.

A form maps parameters theta (..., p) and columns (..., n) to the natural logarithm of the error (..., n), with its
Jacobian. Columns are natural logarithms relative to a reference run, so that theta is well scaled;
`natural` turns theta into the law's own parameters (E a fraction or nats, compute in GMAC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .table import Runs, UnfitPoints

Columns = Mapping[str, np.ndarray]
FACTORS = ("compute", "gmacs", "samples", "unique")
_COLUMN_NAMES = {"gmacs": "gmacs_per_sample", "samples": "samples_seen", "unique": "unique_pairs"}


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
                    f"{runs.target} {runs.metric}: this form needs a positive {_COLUMN_NAMES.get(factor, factor)} for "
                    "every run. Add the column, or choose a method on compute alone."
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

    name: str
    factors: tuple[str, ...]
    parameters: tuple[str, ...]

    def log_error(self, theta: np.ndarray, columns: Columns) -> np.ndarray: ...

    def jacobian(self, theta: np.ndarray, columns: Columns) -> np.ndarray: ...

    def natural(self, theta: np.ndarray, reference: Reference) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class LogLinear:
    """ln E = a + sum of exponent x ln factor. On compute alone it is the paper's E = beta C^alpha."""

    name: str
    factors: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The law's own parameters: a prefactor, then one signed exponent a factor."""
        return ("beta", *(_exponent(factor) for factor in self.factors))

    def design(self, columns: Columns) -> np.ndarray:
        """(..., n, p): a column of ones, then the factors."""
        first = columns[self.factors[0]]
        return np.stack([np.ones_like(first), *(columns[factor] for factor in self.factors)], axis=-1)

    def log_error(self, theta: np.ndarray, columns: Columns) -> np.ndarray:
        return np.einsum("...np,...p->...n", self.design(columns), theta)

    def jacobian(self, theta: np.ndarray, columns: Columns) -> np.ndarray:
        return self.design(columns)

    def natural(self, theta: np.ndarray, reference: Reference) -> dict[str, np.ndarray]:
        """beta (error at one GMAC, one sample, ...) and the exponents."""
        shift = sum(theta[..., 1 + i] * reference.logs[factor] for i, factor in enumerate(self.factors))
        exponents = {_exponent(factor): theta[..., 1 + i] for i, factor in enumerate(self.factors)}
        return {"beta": np.exp(theta[..., 0] - shift), **exponents}


def _exponent(factor: str) -> str:
    return "alpha" if factor == "compute" else f"alpha_{factor}"


POWER = LogLinear("power", ("compute",))
LOG_LINEAR = LogLinear("loglinear", ("gmacs", "samples", "unique"))
FORMS: dict[str, Form] = {form.name: form for form in (POWER, LOG_LINEAR)}
