"""What people write to begin a rollout, in words that users of Argo Rollouts know: Release, FleetSelector, Guardrail
and Rollout, one or several in a file of YAML or JSON.

Every document has `apiVersion`, `kind`, `metadata.name` and `spec`. They become one `Rollout`, which is what Volano
keeps and judges by; what is not written has that one's default, and a word that nobody knows is refused.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any

from volano.errors import Code, RolloutError
from volano.rollout.guardrail import Guardrail, Guardrails
from volano.rollout.plan import HoldStep, MinimumEvidence, Rollout, Step, step_from_json
from volano.rollout.record import Record, is_name

API = "volano/v1"
KINDS = ("Release", "FleetSelector", "Guardrail", "Rollout")
Embodiments = Callable[[str], Mapping[str, str]]
"""Of a policy's digest, the fingerprints of the embodiments that it serves, by tag."""
_SELECTOR: dict[str, object] = {"embodiments": [], "sites": [], "tasks": [], "robots": [], "allow": [], "deny": []}
_EXPOSURE: dict[str, object] = {"fleet": "fleet", "holdout": 0.0, "maxPerCell": 0, "pins": {}}
_STEPS: dict[str, tuple[str, dict[str, str]]] = {
    "shadow": ("shadow", {"episodes": "min_episodes"}),
    "canary": ("canary", {"percent": "percent", "episodes": "min_episodes"}),
    "hold": ("hold", {"seconds": "seconds"}),
    "abTest": ("ab_test", {"minPairs": "min_blocks", "maxPairs": "max_blocks"}),
}
"""Word of a step to its kind, and what belongs to it to our names."""


def rollout_of(documents: Sequence[object], embodiments: Embodiments) -> Rollout:
    """The rollout that documents describe; raises RolloutError(E-ROLLOUT-001)."""
    found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in KINDS}
    for document in documents:
        kind, name, spec = _read(document)
        if name in found[kind]:
            raise _refused(f"two documents are the {kind} {name!r}")
        found[kind][name] = spec
    if len(found["Rollout"]) != 1:
        raise _refused(f"{len(found['Rollout'])} documents are a Rollout, not one")
    [(name, spec)] = found["Rollout"].items()
    return _rollout(name, spec, found, embodiments)


def documents_of(rollout: Rollout) -> list[dict[str, object]]:
    """A rollout in these words: what `rollout_of` reads back, with every default written out."""
    selector = {name: list(getattr(rollout, name)) for name in _SELECTOR}
    steps: list[dict[str, object]] = []
    for step in rollout.steps:
        word, (_, names) = next((word, known) for word, known in _STEPS.items() if known[0] == step.kind)
        until = {"until": "person"} if isinstance(step, HoldStep) and not step.seconds else None
        steps.append({word: until or {said: getattr(step, ours) for said, ours in names.items()}})
    spec = {
        "stable": "in-place",
        "candidate": "candidate",
        "seed": rollout.salt,
        "selector": "robots",
        "steps": [*steps, {"promote": {"by": rollout.promotion}}],
        "guardrails": [one.name for one in rollout.watch],
        "safety": _camel(asdict(rollout.guardrails)),
        "evidence": {"alpha": rollout.alpha, "margin": rollout.margin, **_camel(asdict(rollout.minimum))},
        "exposure": {
            "fleet": rollout.fleet,
            "holdout": rollout.holdout,
            "maxPerCell": rollout.max_per_cell,
            "pins": dict(rollout.pins),
        },
        "patienceSeconds": rollout.patience_s,
    }
    watched = [_document("Guardrail", one.name, _camel(asdict(one), {"name"})) for one in rollout.watch]
    return [
        _document("Release", "in-place", {"policy": rollout.current}),
        _document("Release", "candidate", {"policy": rollout.candidate}),
        _document("FleetSelector", "robots", selector),
        *watched,
        _document("Rollout", rollout.id, spec),
    ]


def _document(kind: str, name: str, spec: Mapping[str, object]) -> dict[str, object]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def _read(document: object) -> tuple[str, str, dict[str, Any]]:
    read = Record(document, {"apiVersion", "kind", "metadata", "spec"}, Code.ROLLOUT_PLAN, "document")
    read.one_of("apiVersion", (API,))
    kind = read.one_of("kind", KINDS)
    name = Record(read.value("metadata"), {"name"}, Code.ROLLOUT_PLAN, f"{kind}'s metadata").text("name")
    if not is_name(name):
        raise _refused(f"{name!r} is no plain name")
    return kind, name, _map(read.value("spec"), f"spec of {kind} {name!r}")


def _rollout(
    name: str, spec: dict[str, Any], found: Mapping[str, Mapping[str, dict[str, Any]]], embodiments: Embodiments
) -> Rollout:
    defaults: dict[str, object] = {
        "seed": name,
        "selector": {},
        "guardrails": [],
        "safety": {},
        "evidence": {},
        "exposure": {},
        "patienceSeconds": _default(Rollout, "patience_s"),
    }
    read = _record({**defaults, **spec}, {"stable", "candidate", "steps", *defaults}, f"Rollout {name!r}")
    releases = found["Release"]
    candidate, current = (_release(read.text(one), releases) for one in ("candidate", "stable"))
    selector = _named(read.value("selector"), found["FleetSelector"], "FleetSelector")
    chosen = _record({**_SELECTOR, **selector}, set(_SELECTOR), "FleetSelector")
    exposure = _record({**_EXPOSURE, **_map(read.value("exposure"), "exposure")}, set(_EXPOSURE), "exposure")
    evidence = _evidence(_map(read.value("evidence"), "evidence"))
    steps, promotion = _steps(read.items("steps"))
    return Rollout.from_json(
        {
            **Rollout(
                id=name, embodiments=("0",), current="0" * 64, candidate="1" * 64, salt=read.text("seed"), steps=steps
            ).to_json(),
            **evidence,
            **{field: list(chosen.texts(field)) for field in _SELECTOR},
            "embodiments": list(_fingerprints(chosen.texts("embodiments"), embodiments(candidate))),
            "current": current,
            "candidate": candidate,
            "promotion": promotion,
            "watch": [_guardrail(one, found["Guardrail"]) for one in read.items("guardrails")],
            "guardrails": _whole(Guardrails, _map(read.value("safety"), "safety"), "safety"),
            "fleet": exposure.text("fleet"),
            "holdout": exposure.number("holdout"),
            "max_per_cell": exposure.whole("maxPerCell"),
            "pins": _map(exposure.value("pins"), "pins"),
            "patience_s": read.number("patienceSeconds"),
        }
    )


def _steps(items: list[object]) -> tuple[tuple[Step, ...], str]:
    """The steps, and who promotes, which the last one says."""
    steps: list[Step] = []
    for position, item in enumerate(items, start=1):
        step = _map(item, f"step {position}")
        if len(step) != 1:
            raise _refused(f"step {position} is not one word with what belongs to it")
        [(word, given)] = step.items()
        what = f"step {position}, {word}"
        if word == "promote" and position == len(items):
            return tuple(steps), _record(given, {"by"}, what).one_of("by", ("evidence", "person"))
        if word not in _STEPS:
            raise _refused(f"{what}: steps are {', '.join(_STEPS)}, and promote at the end")
        if word == "hold" and given == {"until": "person"}:
            given = {"seconds": 0}
        kind, names = _STEPS[word]
        read = _record(given, set(names), what)
        steps.append(step_from_json({"kind": kind, **{ours: read.value(said) for said, ours in names.items()}}))
    raise _refused("the last step is not promote, which says who promotes: {by: evidence} or {by: person}")


def _evidence(given: dict[str, Any]) -> dict[str, object]:
    rates = {name: given.pop(name, _default(Rollout, name)) for name in ("alpha", "margin")}
    return {**rates, "minimum": _whole(MinimumEvidence, given, "evidence")}


def _guardrail(item: object, known: Mapping[str, dict[str, Any]]) -> dict[str, object]:
    if not isinstance(item, str) or item not in known:
        raise _refused(f"no document is the Guardrail {item!r}")
    return {**_whole(Guardrail, {**known[item], "name": item}, f"Guardrail {item!r}"), "name": item}


def _release(said: str, known: Mapping[str, dict[str, Any]]) -> str:
    """The digest that a release or a digest names."""
    if said not in known:
        return said
    return _record(known[said], {"policy"}, f"Release {said!r}").text("policy")


def _named(said: object, known: Mapping[str, dict[str, Any]], kind: str) -> dict[str, Any]:
    if isinstance(said, str):
        if said not in known:
            raise _refused(f"no document is the {kind} {said!r}")
        return known[said]
    return _map(said, kind)


def _fingerprints(said: tuple[str, ...], served: Mapping[str, str]) -> tuple[str, ...]:
    """Of tags or fingerprints; of everything that the candidate serves if none is said."""
    unknown = [one for one in said if one not in served and one not in served.values()]
    if unknown:
        raise _refused(f"the candidate does not serve {unknown[0]!r}")
    return tuple(sorted({served.get(one, one) for one in said or served}))


def _whole(cls: type[Any], given: dict[str, Any], what: str) -> dict[str, object]:
    """A dataclass's fields in our words, from camel case, with its defaults."""
    names = {_camel_case(field.name): field for field in fields(cls)}
    unknown = sorted(set(given) - set(names))
    absent = sorted(said for said, field in names.items() if field.default is MISSING and said not in given)
    if unknown or absent:
        raise _refused(f"{what}: unknown words {unknown}, absent words {absent}")
    return {field.name: given.get(said, field.default) for said, field in names.items()}


def _camel(data: Mapping[str, object], leave: Collection[str] = ()) -> dict[str, object]:
    return {_camel_case(name): value for name, value in data.items() if name not in leave}


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _default(cls: type[Any], name: str) -> Any:
    return cls.__dataclass_fields__[name].default


def _record(data: object, names: set[str], what: str) -> Record:
    return Record(data, names, Code.ROLLOUT_PLAN, what)


def _map(data: object, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _refused(f"{what} is no map")
    return dict(data)


def _refused(why: str) -> RolloutError:
    return RolloutError(Code.ROLLOUT_PLAN, why, "correct the documents; docs/rollout.md shows each")
