"""How often, how many: decisions over a clock that is given."""

import pytest

from serving.limits import Buckets, Limits, Sockets, site_of


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = Buckets(2.0, 4.0)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [True] * 4 + [False]
    assert (buckets.is_empty("a", 0.4), buckets.is_empty("a", 0.5)) == (True, False)
    assert [buckets.take("a", 1.0) for _ in range(3)] == [True, True, False]
    assert [buckets.take("a", 100.0) for _ in range(5)] == [True] * 4 + [False]


def test_names_do_not_share_a_bucket_and_are_not_kept_without_end() -> None:
    buckets = Buckets(1.0, 1.0)
    assert all(buckets.take(f"name {number}", 0.0) for number in range(10_000))
    assert not buckets.take("name 9999", 0.0)
    assert len(buckets._levels) == 4096


def test_sockets_are_bounded_by_address_and_in_all() -> None:
    sockets = Sockets(Limits(sockets_per_address=2, sockets=3))
    assert [sockets.enter("a") for _ in range(3)] == [True, True, False]
    assert [sockets.enter("b") for _ in range(2)] == [True, False]
    sockets.leave("a")
    assert sockets.enter("c")
    assert not sockets.enter("a")


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_what_counts_as_one_address(host: str, site: str) -> None:
    assert site_of(host) == site
