"""Worlds with an OpenGL context are lent to one at a time."""

from volano.evaluate.simulators.pool import Pool


def test_nobody_shares_and_what_is_given_back_is_used_again() -> None:
    pool: Pool[object] = Pool()
    first, second = pool.borrow("red", object), pool.borrow("red", object)
    assert first is not second
    pool.give_back("red", first)
    assert pool.borrow("blue", object) not in (first, second)
    assert pool.borrow("red", object) is first
    assert pool.borrow("red", object) not in (first, second)
