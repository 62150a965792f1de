"""Completion by the shell: names of commands, options and words."""

import pytest
from typer.testing import CliRunner

from hamcache.pipeline.cli.app import app


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hamcache tr", {"train"}),
        ("hamcache data su", {"summary", "subset"}),
        ("hamcache extract --augm", {"--augmentations"}),
        ("hamcache sweep --reci", {"--recipes"}),
        ("hamcache train --device c", {"cpu", "cuda"}),
        ("hamcache predict --format ", {"csv", "json"}),
    ],
)
def test_bash_is_offered_what_a_line_may_go_on_with(line: str, offered: set[str]) -> None:
    asked = {"_HAMCACHE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = CliRunner().invoke(app, [], prog_name="hamcache", env=asked)
    assert (done.exit_code, set(done.output.split())) == (0, offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    done = CliRunner().invoke(app, ["--show-completion"], prog_name="hamcache")
    assert done.exit_code == 0 and "_HAMCACHE_COMPLETE" in done.output
