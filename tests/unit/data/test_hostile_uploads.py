"""What a hostile robot puts beside an honest one's upload: it is refused with a code, and the honest one is judged."""

import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.unit.data.bundles import KNOWN, Draft, as_plain, claims_with, upload, write_bundle
from tests.unit.data.memory_store import MemoryStore
from volano.data import judge as judging
from volano.data.build import accepted, build_version
from volano.data.conservation import count
from volano.data.episode import Manifest
from volano.data.finding import Finding
from volano.data.sandbox import Bundle
from volano.data.text import is_plain_text
from volano.data.validate import check_bundle
from volano.data.verdict import Verdict, pending
from volano.errors import Code, DataError, StorageError

HONEST, HOSTILE = "uploads/rover-01/attempt-0001.json", "uploads/rover-01/hostile.json"


def check(bundles: Sequence[Bundle]) -> list[Finding | None]:
    return [check_bundle(bundle.folder, bundle.manifest, bundle.embodiment) for bundle in bundles]


def ingest(store: MemoryStore) -> dict[str, Verdict]:
    return {verdict.upload: verdict for verdict in judging.judge(store, pending(store), KNOWN, check)}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryStore, Manifest]:
    """A store with an honest upload and the files of another, and that other's manifest."""
    store, folder = MemoryStore(), tmp_path_factory.mktemp("bundles")
    upload(store, folder / "one", write_bundle(folder / "one", Draft(frames=4)))
    other = write_bundle(folder / "two", Draft(frames=4, seed=7, attempt="hostile"))
    upload(store, folder / "two", other)
    return store, other


def spoiled(both: tuple[MemoryStore, Manifest], manifest: bytes) -> MemoryStore:
    store = MemoryStore()
    store.objects = both[0].objects | {HOSTILE: manifest}
    return store


def twice(plain: dict[str, object]) -> bytes:
    text = json.dumps(plain)
    return (text[:-1] + ', "outcome": {"success": false, "autonomous": true, "source": "script"}}').encode()


def sized(plain: dict[str, object]) -> bytes:
    """Two sizes that can be written, whose sum cannot."""
    files = {**as_files(plain["files"])}
    return (
        json.dumps({**plain, "files": {name: {**entry, "size": 0} for name, entry in files.items()}})
        .replace('"size": 0', f'"size": {"9" * 4300}')
        .encode()
    )


def as_files(files: object) -> dict[str, dict[str, object]]:
    assert isinstance(files, dict)
    return files


def started_at_false(plain: dict[str, object]) -> bytes:
    return json.dumps(plain).replace('"start": 0', '"start": false').encode()


def stopped(number: str, plain: dict[str, object]) -> bytes:
    """As often as this for safety."""
    return json.dumps(plain).replace('"safety_stops": 0', f'"safety_stops": {number}').encode()


@pytest.mark.parametrize(
    "spoil",
    [
        twice,
        sized,
        started_at_false,
        *(partial(stopped, number) for number in ("-1", "true", "1.0", "1e9", "9" * 4000)),
        lambda plain: json.dumps(plain).encode("utf-16"),
        lambda plain: json.dumps({**plain, "instruction": "go \ud800"}).encode(),
        lambda plain: json.dumps({**plain, "task": "\udfff"}).encode(),
        lambda plain: json.dumps({**plain, "rollout": "\x1b[2J"}).encode(),
        lambda plain: json.dumps({**plain, "instruction": "\u202eot og"}).encode(),
    ],
)
def test_a_manifest_with_two_meanings_is_refused_alone(
    both: tuple[MemoryStore, Manifest], spoil: Callable[[dict[str, object]], bytes]
) -> None:
    store = spoiled(both, spoil(as_plain(both[1])))
    verdicts = ingest(store)
    assert (verdicts[HOSTILE].verdict, verdicts[HOSTILE].code) == ("rejected", Code.DATA_MANIFEST)
    assert verdicts[HONEST].verdict == "accepted"
    assert count(store).accepted == 1
    assert build_version(store, parent="", reason="test", select=lambda _: 1.0, known=KNOWN).episodes


def test_texts_of_all_languages_are_plain() -> None:
    for text in ("Öffne die Tür", "ドアを開けて", "باز کردن\u200cدر", "two\nlines", "👩\u200d🔧 fix it", ""):
        assert is_plain_text(text), text
    for text in ("\x00", "\x1b[31m", "\r", "\x85", "\ud800", "\u202e", "\u2066", "\u2028"):
        assert not is_plain_text(text), repr(text)


def test_a_key_too_long_for_a_verdict_stops_nobody(both: tuple[MemoryStore, Manifest]) -> None:
    store = spoiled(both, b"{}")
    store.objects["uploads/" + "/".join(["a" * 250] * 4) + "/" + "b" * 12] = b"{}"
    assert set(ingest(store)) == {HONEST, HOSTILE}
    assert count(store).in_flight == 0


def test_large_uploads_are_not_held_together(
    both: tuple[MemoryStore, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten manifests that name the same files, under a limit that one of them passes."""
    store = spoiled(both, both[1].to_bytes())
    for number in range(10):
        one = claims_with(both[1], attempt=f"more-{number}", instruction=f"go {number}")
        store.objects[f"uploads/rover-01/more-{number}.json"] = one.to_bytes()
    held: list[int] = []

    def counting(bundles: Sequence[Bundle]) -> list[Finding | None]:
        held.extend(sum(1 for _ in bundle.folder.parent.iterdir()) for bundle in bundles)
        return check(bundles)

    monkeypatch.setattr(judging, "MAX_HELD_BYTES", 0)
    verdicts = judging.judge(store, pending(store), KNOWN, counting)
    assert len(verdicts) == 12
    assert set(held) == {1}


def test_what_is_changed_after_its_acceptance_is_not_believed(both: tuple[MemoryStore, Manifest]) -> None:
    """An S3 bucket may let a robot overwrite: files that no sandbox saw must not reach a decoder."""
    store = spoiled(both, both[1].to_bytes())
    assert {verdict.verdict for verdict in ingest(store).values()} == {"accepted"}
    other = both[1].files | {
        "steps.parquet": Manifest.from_json(json.loads(store.objects[HONEST])).files["steps.parquet"]
    }
    store.objects[HOSTILE] = claims_with(both[1], files=other).to_bytes()
    with pytest.raises(StorageError) as caught:
        accepted(store)
    assert caught.value.code is Code.STORE_CORRUPT
    store.objects[HOSTILE] = b"junk"
    with pytest.raises(DataError):
        accepted(store)
