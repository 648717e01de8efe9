"""Names of methods and numbers are checked when the study file is read, not after the last cell."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.errors import ConfigError
from clip_scaling.laws.forms import FORMS
from clip_scaling.laws.methods import CHINCHILLA_OLS, ESTIMATORS, METHODS, POINTS, find_method
from clip_scaling.laws.scales import SCALES
from clip_scaling.records.law_methods import FOR_ALLOCATION, NAMED, PARTS, is_of_compute
from clip_scaling.study.resolve import load_study, load_yaml


def test_the_names_that_a_study_file_knows_are_those_of_the_library() -> None:
    assert list(NAMED) == list(METHODS) and FOR_ALLOCATION == CHINCHILLA_OLS.name
    known = {"points": POINTS, "form": FORMS, "scale": SCALES, "estimator": ESTIMATORS}
    assert {part: set(names) for part, names in PARTS.items()} == {part: set(names) for part, names in known.items()}
    composed = [f"all/{form}/log/ols" for form in FORMS]
    assert all(is_of_compute(name) == (find_method(name).law.factors == ("compute",)) for name in (*NAMED, *composed))


@pytest.mark.parametrize(
    ("laws", "said"),
    [
        ({"methods": ["binned-min-5", "chinchila"]}, "'chinchila' is not known. Close matches: chinchilla"),
        ({"methods": ["hull/power/loq/ols"]}, "'loq' is none of log, logit"),
        ({"methods": ["ols-all"], "headline": {"offline": "binned-min-5"}}, "'binned-min-5' of offline is not among"),
        ({"methods": ["loglinear"], "headline": {"x": "loglinear"}}, "loglinear of x is no law of compute alone"),
    ],
)
def test_a_method_that_is_not_known_is_refused_with_the_study_file(
    raw: dict[str, Any], repository: Path, laws: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"laws.*{said}"):
        load_study(raw | {"laws": laws}, repository)


def test_a_truth_value_is_no_number(raw: dict[str, Any], repository: Path) -> None:
    # `weight_decay: no` in YAML.
    recipe = raw["recipe"] | {"defaults": raw["recipe"]["defaults"] | {"weight_decay": False}}
    with pytest.raises(ConfigError, match="weight_decay: YAML reads this as false. Write a number"):
        load_study(raw | {"recipe": recipe}, repository)


def test_a_study_file_in_another_encoding_or_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes("study: x".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"study.yaml: not UTF-8 .*Save the file as UTF-8"):
        load_yaml(tmp_path / "study.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path)


def test_the_chance_of_a_task_is_of_its_laws_of_accuracy(study: Any) -> None:
    entries = [entry.model_copy(update={"chance": 0.1}) for entry in study.suite.datasets]
    suite = study.suite.model_copy(update={"datasets": entries})
    guessed = dataclasses.replace(study, suite=suite)
    name = entries[0].dataset
    assert guessed.chance(name, "acc1") == 0.1
    assert guessed.chance(name, "acc5") is guessed.chance(name, "contrastive_loss") is None
    assert study.chance(name, "acc1") is None
