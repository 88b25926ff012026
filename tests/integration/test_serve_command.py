"""What a person reads when a gateway does not start."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from volano.cli import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "gopher=70"], "'gopher=70' is not one of openpi"),
        (["--port", "70000"], "'70000' is no port"),
        (["--tls-certificate", "nothing.pem"], "belong together"),
        (["--tls-certificate", "nothing.pem", "--tls-key", "nothing.key"], "E-CONFIG-003"),
        (["--watch", "9464"], "'9464' is not HOST:PORT"),
        ([], "E-POLICY"),  # a home without a key
    ],
)
def test_a_gateway_that_does_not_start_says_why(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", "up", "--home", str(tmp_path), *arguments])
    assert isinstance(result.exception, Exception)
    assert said in str(result.exception) + result.output
