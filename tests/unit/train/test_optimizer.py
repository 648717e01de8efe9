"""Which parameters are decayed."""

from __future__ import annotations

from clip_scaling.models.build import build_model
from clip_scaling.train.optimizer import parameter_groups

from .conftest import MODEL


def test_gains_biases_and_the_logit_scale_are_not_decayed() -> None:
    plain, decayed = parameter_groups(build_model(MODEL), 0.2)
    assert plain["weight_decay"] == 0.0 and decayed["weight_decay"] == 0.2
    assert all(p.ndim < 2 for p in plain["params"]) and all(p.ndim >= 2 for p in decayed["params"])
