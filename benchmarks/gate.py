"""How often the ingestion gate errs: injected defects that it misses, clean episodes that it refuses.

Every defect of the tests is recorded many times, with another seed, length and motion each time, uploaded, and judged
through the whole gate: manifest, claims, sandbox, verdict. It is caught when the verdict has its very code. Clean
episodes are the accepted uploads of a real store, judged again (`--store URL`, which is only read), or generated ones.
`python -m benchmarks.gate --json FILE [--quick] [--store URL]`.
"""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import arguments_of, compared, in_words, write_report
from tests.unit.data.bundles import ARM, KNOWN, ROVER, Draft, claims_with, encode, manifest_of, upload, write_bundle
from tests.unit.data.defects import DEFECTS, one_damaged_bit
from tests.unit.data.memory_store import MemoryStore
from tests.unit.data.sensor_defects import Defect
from tests.unit.data.trajectories import MOTIONS
from volano.data.episode import STEPS_FILE, FileEntry, Manifest
from volano.data.finding import Finding
from volano.data.judge import fetch_bundle, judge, read_manifest
from volano.data.sandbox import Bundle, Limits, check_bundles
from volano.data.validate import check_claims
from volano.data.validate_video import read_video
from volano.data.verdict import VERDICTS, Verdict
from volano.embodiment.contract import Camera, Embodiment
from volano.embodiment.shipped import SHIPPED
from volano.errors import Code
from volano.evaluate.statistics import wilson
from volano.storage.open import open_store
from volano.storage.store import ObjectStore

Result = dict[str, object]
_MUST_CATCH, _MUST_QUARANTINE = 0.99, 0.01
_BATCH = 64
_VIDEO_OPTIONS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    (("bf", "3"), ("g", "250")),
    (("crf", "12"), ("g", "15")),
)
_SHIPPED = {robot.fingerprint: robot for robot in SHIPPED.values()}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    seeds: int
    episodes: int
    """Most clean episodes of a real store; generated ones are `seeds` of each kind."""
    frames: int
    """Frames that the summary's cost is measured on."""


FULL, QUICK = Size(seeds=20, episodes=10**6, frames=600), Size(seeds=1, episodes=100, frames=200)


def drafts(count: int, first: int = 0) -> Iterator[Draft]:
    """Episodes that differ in everything which is not the defect; `first` is the first one's seed."""
    for seed in range(first, first + count):
        random = np.random.default_rng(seed)
        yield Draft(
            seed=seed,
            frames=int(random.integers(20, 61)),
            first_number=seed,
            motion="noise" if seed % 2 else "driven",
            video_options=_VIDEO_OPTIONS[seed % len(_VIDEO_OPTIONS)],
        )


def judged(drafted: Sequence[tuple[Draft, Defect]], known: Mapping[str, Embodiment]) -> list[Verdict]:
    """The verdicts on what each generator makes of its draft, a batch at a time as ingest does."""
    store, found = MemoryStore(), list[Verdict]()
    for start in range(0, len(drafted), _BATCH):
        keys = []
        with tempfile.TemporaryDirectory() as scratch:
            for number, (draft, write) in enumerate(drafted[start : start + _BATCH], start):
                folder, sent = Path(scratch) / str(number), replace(draft, attempt=f"attempt-{number:05d}")
                manifest = write(folder, sent)
                keys.append(f"uploads/{sent.robot}/{sent.attempt}.json")
                upload(store, folder, claims_with(manifest, robot=sent.robot, attempt=sent.attempt))
                store.objects[keys[-1]] = manifest.to_bytes()  # whatever it calls itself
        verdicts = {one.upload: one for one in judge(store, keys, known, lambda some: check_bundles(some, Limits()))}
        found += [verdicts[key] for key in keys]
        for key in [key for key in store.objects if key.startswith("blobs/")]:
            store.delete(key)
    return found


def sent_again(size: Size) -> list[Verdict]:
    """The verdicts on copies, under another name, of episodes that were uploaded before."""
    with tempfile.TemporaryDirectory() as scratch:

        def copied(folder: Path, draft: Draft) -> Manifest:
            original = Path(scratch) / str(draft.seed)
            if not original.exists():
                write_bundle(original, draft)
            shutil.copytree(original, folder)
            return manifest_of(folder, draft)

        return judged([(draft, copied) for draft in drafts(size.seeds) for _ in range(2)], KNOWN)[1::2]


def bombs(size: Size) -> list[Finding | None]:
    """Findings on tables that a checking process cannot read within its time: 64 GiB that take no disk."""
    found = list[Finding | None]()
    for draft in drafts(min(size.seeds, 3)):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "bundle"
            manifest = write_bundle(folder, draft)
            os.truncate(folder / STEPS_FILE, 64 << 30)
            files = {**manifest.files, STEPS_FILE: FileEntry(size=64 << 30, sha256="0" * 64)}
            bundle = Bundle(folder=folder, manifest=claims_with(manifest, files=files), embodiment=ROVER)
            found += check_bundles([bundle], Limits(cpu_s=1))
    return found


def defects(size: Size) -> list[Result]:
    """Shares caught: of all injected defects, of the class caught least, of flipped bits."""
    cases = [
        (name, draft)  # no two alike: what one upload brings is not missing from another
        for number, name in enumerate(DEFECTS)
        for draft in drafts(size.seeds, number * size.seeds)
    ]
    verdicts = judged([(draft, DEFECTS[name][1]) for name, draft in cases], KNOWN)
    caught: dict[str, tuple[list[bool], Code]] = {name: ([], code) for name, (code, _) in DEFECTS.items()}
    for (name, _), verdict in zip(cases, verdicts, strict=True):
        caught[name][0].append(verdict.code == caught[name][1])
    caught["sent again"] = ([one.code == Code.DATA_DUPLICATE for one in sent_again(size)], Code.DATA_DUPLICATE)
    decoder = [one is not None and one.code == Code.DATA_DECODER for one in bombs(size)]
    caught["bomb"] = (decoder, Code.DATA_DECODER)
    for name, (hits, code) in caught.items():
        if not all(hits):
            missed = [number for number, hit in enumerate(hits) if not hit]
            print(f"{name} ({code}): {sum(hits)} of {len(hits)} caught, not numbers {missed}")
    classes: dict[Code, list[bool]] = {}
    for hits, code in caught.values():
        classes.setdefault(code, []).extend(hits)
    every = [hit for hits in classes.values() for hit in hits]
    worst = min(classes, key=lambda code: sum(classes[code]) / len(classes[code]))
    bits = [bool(one.code) for one in judged([(draft, one_damaged_bit) for draft in drafts(size.seeds)], KNOWN)]
    return [
        share("injected defects caught with their code", every, better="higher", must=_MUST_CATCH)
        | {"classes": len(classes), "generators": len(caught)},
        share(f"caught of the class that is caught least, {worst}", classes[worst], better="higher"),
        share("one flipped bit in a video noticed; where the stream stays valid nobody can", bits, better="higher"),
    ]


def generated(size: Size) -> list[str]:
    """Codes (empty: accepted) of what sound robots do in the tests."""
    kinds = product((*SHIPPED.values(), ROVER, ARM), MOTIONS[1:], drafts(size.seeds))
    cast = [replace(draft, embodiment=robot, motion=motion) for robot, motion, draft in kinds]
    codes = list[str]()
    for draft, verdict in zip(cast, judged([(one, write_bundle) for one in cast], _SHIPPED | KNOWN), strict=True):
        if verdict.code:
            print(f"refused: {draft.embodiment.tag}, {draft.motion}, seed {draft.seed}: {verdict.evidence}")
        codes.append(verdict.code)
    return codes


def recorded(store: ObjectStore, most: int) -> list[str]:
    """Codes (empty: accepted) that the store's accepted uploads would get today. Reads, and writes nothing."""
    accepted = [
        verdict.upload
        for verdict in (Verdict.from_bytes(store.get(info.key)) for info in store.list(VERDICTS))
        if verdict.verdict == "accepted"
    ]
    chosen = [accepted[k] for k in np.random.default_rng(0).permutation(len(accepted))[:most]]
    codes = list[str]()
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        for key, finding in zip(batch, _checked(store, batch), strict=True):
            if finding is not None:
                print(f"refused: {key}: {finding.code} {finding.evidence}")
            codes.append("" if finding is None else finding.code)
    return codes


def _checked(store: ObjectStore, keys: Sequence[str]) -> list[Finding | None]:
    with tempfile.TemporaryDirectory() as scratch:
        bundles, found = dict[str, Bundle](), dict[str, Finding | None]()
        for number, key in enumerate(keys):
            manifest, folder = read_manifest(store, key), Path(scratch) / str(number)
            found[key] = check_claims(manifest, key, _SHIPPED) or fetch_bundle(store, manifest, folder)
            if found[key] is None:
                embodiment = _SHIPPED[manifest.fingerprint]
                bundles[key] = Bundle(folder=folder, manifest=manifest, embodiment=embodiment)
        found |= zip(bundles, check_bundles(list(bundles.values()), Limits()), strict=True)
    return [found[key] for key in keys]


def share(metric: str, hits: Sequence[bool], *, better: str, must: float | None = None) -> Result:
    """A share with its Wilson interval."""
    value, (low, high) = sum(hits) / len(hits), wilson(sum(hits), len(hits))
    return {
        "metric": metric,
        "ours": value,
        "reference": None,
        "reference_name": None,
        "unit": "share",
        "ratio": value,
        "low": low,
        "high": high,
        "n": len(hits),
        "better": better,
        "must": must,
        "aim": must,
    }


def summary_cost(frames: int, height: int, width: int) -> Result:
    """Processor time of decoding a video and looking at it over that of decoding alone, in turns."""
    camera = Camera(name="ego", height=height, width=width)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "video.mp4"
        encode(path, _moving(frames, height, width), rate=20)
        pairs = np.array([(_look(path, camera, frames), _decode(path)) for _ in range(9)])
    ours, reference = pairs.T / frames * 1e6
    metric = f"decoding and looking at a frame of {height} x {width}"
    return compared(metric, ours, reference, "decoding it alone", unit="us of processor", better="lower")


def _moving(frames: int, height: int, width: int) -> list[NDArray[np.uint8]]:
    world = np.random.default_rng(0).integers(40, 200, (height // 8, width // 8 + frames // 8 + 1, 3))
    wide = np.kron(world.astype(np.uint8), np.ones((8, 8, 1), np.uint8))
    return [np.ascontiguousarray(wide[:, k : k + width]) for k in range(frames)]


def _look(path: Path, camera: Camera, frames: int) -> float:
    begun = time.process_time()
    read_video(path, camera, frames=frames)
    return time.process_time() - begun


def _decode(path: Path) -> float:
    begun = time.process_time()
    with av.open(str(path), mode="r", format="mp4") as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass
    return time.process_time() - begun


def main() -> None:
    """Measure, print and write."""
    parser = arguments_of(__doc__, "one seed of each, a hundred episodes")
    parser.add_argument("--store", help="URL of a store whose accepted uploads are the clean episodes")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    codes = recorded(open_store(arguments.store), size.episodes) if arguments.store else generated(size)
    source = "accepted uploads of a store, judged again" if arguments.store else "generated by the tests"
    refused = share(
        f"clean episodes quarantined, {source}", [bool(code) for code in codes], better="lower", must=_MUST_QUARANTINE
    )
    results = [
        *defects(size),
        refused | {"codes": Counter(filter(None, codes))},
        summary_cost(size.frames, 64, 64),
        summary_cost(size.frames, 480, 640),
    ]
    write_report("gate", arguments.json, quick=arguments.quick, rows=results)
    for result in results:
        classes = f", {result['classes']} codes from {result['generators']} generators" if "classes" in result else ""
        print(in_words(result) + classes)


if __name__ == "__main__":
    main()
