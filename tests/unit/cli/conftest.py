"""Commands called as a user calls them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asfitted.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call ``asfitted log`` and return its exit code and what it wrote to stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["log", *map(str, arguments)])
        return int(caught.value.code or 0), *capsys.readouterr()

    return run
