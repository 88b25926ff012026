"""Ports are named on the command line by what is spoken there."""

from pathlib import Path

import pytest

from serving import uploads
from serving.dialects import DIALECTS
from serving.listeners import LISTENERS
from serving.settings import read_settings


def test_whatever_is_spoken_can_be_named(tmp_path: Path) -> None:
    arguments = ["--home", str(tmp_path)]
    names = [*DIALECTS, *LISTENERS]
    for number, name in enumerate(names):
        arguments += ["--listen", f"{name}={5555 + number}"]
    assert read_settings(arguments).listen == tuple((name, 5555 + number) for number, name in enumerate(names))
    assert read_settings(arguments[:2]).listen == ()


@pytest.mark.parametrize("text", ["", "gr00t", "starvla", "5555", "groot=5555", "gr00t-http=", "gr00t=1e3", "gr00t=x"])
def test_what_is_no_name_and_port_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--home", str(tmp_path), "--listen", text])
    assert "argument --listen" in capsys.readouterr().err


def test_what_can_be_spoken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--home", str(tmp_path), "--listen", "groot=5555"])
    assert "gr00t-http" in capsys.readouterr().err


def test_a_name_has_one_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--home", str(tmp_path), "--listen", "gr00t=5555", "--listen", "gr00t=5556"])
    assert "gr00t has two ports" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["65536", "70000", "-1", "x", "", "1e3", "\u0661", "9" * 5000])
def test_what_is_no_port_is_refused(port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path)]
    for read in (read_settings, uploads.read_settings):
        with pytest.raises(SystemExit):
            read([*home, f"--port={port}"])
        assert "is no port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read_settings([*home, f"--listen=starvla={port}"])
    assert "is no port" in capsys.readouterr().err


def test_every_port_can_be_named(tmp_path: Path) -> None:
    for port in (0, 8700, 65535):
        assert read_settings(["--home", str(tmp_path), "--port", str(port)]).port == port
        assert uploads.read_settings(["--home", str(tmp_path), "--port", str(port)]).port == port
