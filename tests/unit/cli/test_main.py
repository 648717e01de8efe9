"""The command line as a whole: what is offered, and what a command loads."""

import subprocess
import sys

import pytest

from clip_scaling.cli.main import GROUPS


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_help_lists_every_command() -> None:
    text = run("import sys; sys.argv = ['clip-scaling', '--help']; from clip_scaling.cli.main import main; main()")
    for names in GROUPS.values():
        for name in names:
            assert f"    {name} " in text or f"    {name}\n" in text, name


@pytest.mark.parametrize("command", ["status", "rerun", "verify", "doctor"])
def test_a_command_of_studies_data_or_clusters_loads_no_tables_and_no_fits(command: str) -> None:
    code = f"import sys; sys.argv = ['clip-scaling', '{command}', '--help']; from clip_scaling.cli.main import _main\n"
    code += "try:\n    _main()\nexcept SystemExit:\n    print(sorted({'pandas', 'scipy', 'torch'} & set(sys.modules)))"
    assert run(code).splitlines()[-1] == "[]"
