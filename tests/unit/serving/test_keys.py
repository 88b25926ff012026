"""A key is found wherever a stock client can put it, and nowhere else."""

import base64

import pytest

from serving.keys import key_of


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        (["Api-Key k-1"], "", "k-1"),
        (["Bearer k-1"], "", "k-1"),
        ([basic("arm-07:k-1")], "", "k-1"),
        ([basic("arm-07:k:1")], "", "k:1"),
        ([], "key=k-1", "k-1"),
        ([], "a=b&key=k-1", "k-1"),
        (["Api-Key k-1"], "key=k-2", "k-1"),
    ],
)
def test_it_is_found(headers: list[str], query: str, key: str) -> None:
    assert key_of(headers, query) == key


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([], ""),
        ([""], "key=k-1"),
        (["Digest k-1"], "key=k-1"),
        (["Api-Key k-1", "Api-Key k-1"], ""),
        (["Api-Key " + "k" * 513], ""),
        (["Basic k-1"], ""),
        (["Basic " + "A" * 2000], ""),
        (["Basic /w=="], ""),
        (["Basic \u00e9\u00e9\u00e9\u00e9"], ""),
        ([basic("k-1")], ""),
        ([], "key=k-1&key=k-2"),
        ([], "key=" + "k" * 600),
        ([], "key=k-1" + "&a=1" * 20),
    ],
)
def test_it_is_not_there(headers: list[str], query: str) -> None:
    assert key_of(headers, query) == ""
