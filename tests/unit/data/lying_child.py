"""A sandbox's child that somebody took over: it answers what the bundle's task asks for."""

import json

from volano.data.check_child import answer, begin, write


def main() -> None:
    """Say that it started, then what it was told to say."""
    _, bundles = begin()
    answer({"started": True})
    for bundle in bundles:
        write(json.loads(bundle["manifest"]["task"]))


if __name__ == "__main__":
    main()
