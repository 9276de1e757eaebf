"""The command in a process of its own: what it loads, what it says where a package is missing, what shells complete."""

from __future__ import annotations

import os
import subprocess
import sys

from hilnas.cli.exit_status import ExitStatus
from hilnas.cli.nouns import NOUNS
from tests.support.paths import ROOT


def test_a_package_that_is_missing_ends_with_its_status() -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'onnx': raise ModuleNotFoundError(name, name='onnx')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from hilnas.cli.main import main\n"
        "sys.exit(main(['convert', 'pyproject.toml']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == ExitStatus.MISSING_PACKAGE, done.stderr
    (line,) = done.stderr.splitlines()
    assert "pip install 'hilnas[client,engine]'" in line


def _completed(words: str) -> list[str]:
    """What a shell is told may follow."""
    asked = {"_HILNAS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "hilnas.cli.main"],
        env={**os.environ, **asked, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_shells_complete_nouns_verbs_and_options() -> None:
    assert _completed("hilnas s") == [name for name in NOUNS if name.startswith("s")]
    assert {"list", "cancel", "front"} <= set(_completed("hilnas search "))
    assert _completed("hilnas jobs list --ow") == ["--owner"]
    assert _completed("hilnas train --pre") == ["--preset"]


def test_help_loads_nothing_heavy() -> None:
    nouns = sorted(set(NOUNS) - {"agent", "version", "models"})
    code = (
        "import sys\n"
        "from hilnas.cli.main import main\n"
        f"assert not any(main([noun, '-h']) for noun in {nouns})\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'scipy', 'fastapi', 'sqlalchemy', 'grpc'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
