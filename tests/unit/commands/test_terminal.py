"""What a command proposes can be pasted into a shell."""

import shlex

from volano.commands.terminal import LEDGER, STORE, places


def test_proposed_places_are_what_a_shell_reads_again() -> None:
    store, ledger = "s3://fleet/a?endpoint=http://host:9000&region=x", "sqlite:///my folder/$HOME.db"
    said = places(store=store, ledger=ledger)
    assert shlex.split(said) == ["--store", store, "--ledger", ledger]
    assert "'s3://" in said, "zsh takes a bare question mark for a pattern"
    assert places(store=STORE, ledger=LEDGER) == ""
