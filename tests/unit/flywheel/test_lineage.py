"""What came from what, to any depth, by the records alone; and the records as they are gathered."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.data.bundles import ROVER, Draft
from tests.unit.data.quarantined import send_paused
from tests.unit.flywheel.season import PLAN, SCOUTS
from tests.unit.flywheel.stock import Stock, make
from volano.data.history import History
from volano.errors import DataError, PolicyError
from volano.flywheel.lineage import Records, Release, Run, Running, of_contents, of_versions, running
from volano.flywheel.lineage_records import gather, read_runs
from volano.flywheel.trace import EpisodeTrace, VersionTrace, trace
from volano.ledger.ledger import open_ledger
from volano.ledger.records import Robot
from volano.registry.manifest import Lineage, Manifest
from volano.storage.folder import FolderStore

V1, V2 = "1" * 64, "2" * 64


def run(
    name: str, version: str, *, parent: str = "", parent_policy: str = "", policy: str = "", mixed: bool = False
) -> Run:
    return Run(
        folder=name,
        recipe="nano",
        versions=(V1, version) if mixed else (version,),
        parent=parent,
        parent_policy=parent_policy,
        policy=policy,
        policy_folder=f"{name}/policy",
    )


def release(digest: str, *versions: str, parent: str = "") -> Release:
    lineage = Lineage(dataset_versions=versions, config_digest="c" * 64, code_revision="r", parent=parent)
    return Release(digest=digest, status="released", lineage=lineage)


def reached(*runs: Run, releases: tuple[Release, ...] = (), on: tuple[str, ...] = ()) -> list[str]:
    """Names of what came from the second version."""
    found = of_versions(
        Records(
            history=History.of(()),
            runs=runs,
            releases=releases,
            running=tuple(Running(robot=f"runs {policy}", policy=policy, how="in place") for policy in on),
        ),
        {V2},
    )
    names = [one.folder for one in found.runs] + [one.digest for one in found.policies]
    return names + [one.robot for one in found.robots]


def test_a_policy_is_reached_through_its_run_its_manifest_or_its_ancestor() -> None:
    assert reached(run("a", V2), run("b", V1)) == ["a"]
    assert reached(run("a", V2, mixed=True), run("b", V1, mixed=True)) == ["a"]
    assert reached(releases=(release("p", V1, V2), release("q", V1))) == ["p"]
    assert reached(releases=(release("q", V1, parent="p"), release("p", V2), release("r", V1, parent="q"))) == [
        *("q", "p", "r")
    ]
    assert reached(run("a", V2, policy="p"), releases=(release("p"),), on=("p", "q")) == ["a", "p", "runs p"]


def test_a_run_is_reached_through_what_it_goes_on_from() -> None:
    """By the policy's digest, or by its folder while nothing is released."""
    later = run("b", V1, parent="a/policy")
    last = run("c", V1, parent="b/policy")
    assert reached(last, later, run("a", V2)) == ["c", "b", "a"]
    assert reached(run("b", V1, parent_policy="p"), run("a", V2, policy="p")) == ["b", "a"]
    assert reached(run("b", V1, parent="x/policy")) == []


def test_what_is_not_known_reaches_nothing() -> None:
    """Runs without a policy and policies without a parent have nothing in common."""
    assert reached(run("a", V2), run("b", V1), releases=(release("p", V1),), on=("",)) == ["a"]


def test_robots_run_what_is_in_place_and_what_is_under_way() -> None:
    scout = Robot(id="s", embodiment="scout", fingerprint=SCOUTS, site="lab", enrolled_at=1.0, revoked=False)
    gone, other = replace(scout, id="gone", revoked=True), replace(scout, id="o", fingerprint="f" * 64)
    assert running((scout, gone, other), {SCOUTS: "p"}, PLAN) == (
        Running(robot="s", policy="p", how="in place"),
        Running(robot="s", policy=PLAN.candidate, how="candidate of rollout-1"),
    )
    assert running((scout,), {}, None) == ()


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return make(tmp_path_factory.mktemp("stock"))


def records(stock: Stock) -> Records:
    with open_ledger(stock.ledger) as ledger:
        return gather(stock.store, ledger, stock.runs)


def test_the_newest_episodes_reach_the_robots_through_an_heir(stock: Stock) -> None:
    """The policy in place was trained on clean episodes, from weights that saw the others."""
    found = of_contents(records(stock), {stock.contents[4]})
    assert found.versions == (stock.second,)
    assert [Path(one.folder).name for one in found.runs] == ["bad", "heir"]
    assert {one.digest for one in found.policies} == {stock.bad, stock.heir}
    assert [one.robot for one in found.robots] == ["arm-06", "arm-07"]
    assert of_contents(records(stock), {"0" * 64}).versions == ()
    assert len(of_contents(records(stock), {stock.contents[0]}).policies) == 3


def test_an_upload_and_its_content_are_one_trace(stock: Stock) -> None:
    found = trace(stock.store, records(stock), "arm-07/attempt-4")
    assert isinstance(found, EpisodeTrace)
    assert found == trace(stock.store, records(stock), stock.contents[4])
    assert (found.robot, found.attempt, found.stands) == ("arm-07", "attempt-4", "accepted")
    assert [(one.version, one.weight, one.reason) for one in found.versions] == [(stock.second, 1.0, "more")]
    assert {one.digest for one in found.downstream.policies} == {stock.bad, stock.heir}


def test_a_version_is_traced_to_its_robots_and_parents(stock: Stock) -> None:
    found = trace(stock.store, records(stock), stock.second)
    assert isinstance(found, VersionTrace)
    assert (found.parents, found.children) == ((stock.first,), ())
    assert found.robots == {"arm-06": 3, "arm-07": 2}
    assert [Path(one.folder).name for one in found.downstream.runs] == ["bad", "heir"]
    first = trace(stock.store, records(stock), stock.first)
    assert isinstance(first, VersionTrace)
    assert first.children == (stock.second,)
    assert trace(stock.store, records(stock), stock.second[:12]) == found
    for beginning in ("0" * 12, next(iter({stock.first[:1], stock.second[:1]} - {"0"})) + "0" * 60):
        with pytest.raises(DataError, match="0 versions begin with"):
            trace(stock.store, records(stock), beginning)


def test_what_was_not_accepted_is_traced_by_its_upload(stock: Stock, tmp_path: Path) -> None:
    send_paused(stock.store, tmp_path / "paused", Draft(robot="arm-08", attempt="late", frames=4))
    found = trace(stock.store, records(stock), "arm-08/late")
    assert isinstance(found, EpisodeTrace)
    assert (found.stands, found.versions, found.counts_as) == ("in flight", (), "")
    for name in (found.content_id, "arm-08/never", "no such\x1b"):
        with pytest.raises(DataError, match="E-DATA-072"):
            trace(stock.store, records(stock), name)


def test_policies_are_known_by_the_store_where_there_is_no_ledger(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    lineage = Lineage(dataset_versions=(V1,), config_digest="c" * 64, code_revision="r")
    manifest = Manifest(files={}, embodiments={"rover": ROVER.fingerprint}, lineage=lineage)
    store.put_new(f"policies/{manifest.digest}/manifest.json", manifest.to_bytes())
    store.put_new(f"policies/{'e' * 64}/config.json", b"{}")  # its publisher was killed
    [found] = gather(store, None, tmp_path / "nowhere").releases
    assert (found.digest, found.status, found.lineage) == (manifest.digest, "", lineage)
    store.put_new(f"policies/{'d' * 64}/manifest.json", manifest.to_bytes())
    with pytest.raises(PolicyError, match="E-POLICY-002"):
        gather(store, None, tmp_path / "nowhere")


def test_runs_are_found_at_any_depth_and_broken_ones_left_out(stock: Stock, tmp_path: Path) -> None:
    (tmp_path / "arms" / "one").mkdir(parents=True)
    (tmp_path / "arms" / "one" / "run.json").write_bytes((stock.runs / "clean" / "run.json").read_bytes())
    for number, text in enumerate(("{", "[]", '{"request": {}}', '{"request": null}')):
        (tmp_path / f"broken-{number}").mkdir()
        (tmp_path / f"broken-{number}" / "run.json").write_text(text)
    assert [Path(one.folder).name for one in read_runs(tmp_path)] == ["one"]
    assert list(read_runs(tmp_path / "nowhere")) == []
