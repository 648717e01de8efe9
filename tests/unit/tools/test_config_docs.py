"""config/schema.json and the option table are those of the models."""

from pathlib import Path

from clip_scaling.tools.config_docs import option_table, replace_between, schema


def test_the_schema_is_in_step_with_the_models(repository: Path) -> None:
    assert (repository / "config" / "schema.json").read_text() == schema(), "run `make docs`"


def test_the_option_table_is_in_step_with_the_models(repository: Path) -> None:
    text = (repository / "config" / "README.md").read_text()
    assert replace_between(text, option_table()) == text, "run `make docs`"
