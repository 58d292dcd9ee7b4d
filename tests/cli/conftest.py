"""The command line, called as the shell calls it."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from mdiff_cli.main import main

from tests.launch import conftest as launch

home, site_file, dataset, start = launch.home, launch.site_file, launch.dataset, launch.start


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def mdiff(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """mdiff("submit --stage 1"): exit code, standard output, standard error."""

    def call(line: str, *more: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["mdiff", *line.split(), *more])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        assert isinstance(code, int)
        return Result(code, *capsys.readouterr())

    return call
