"""The page of a rollout's measured figures, made from the files that the benchmarks wrote; nobody types a figure.

`python -m benchmarks.rollout_document FILE... --output docs/rollout-figures.md`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

TITLES = {
    "rollout_errors": "How often the judge errs, and how soon it is right",
    "rollout_cases": "Whole rollouts where other tools were wrong",
    "rollout": "What deciding costs",
}


def table(report: dict[str, Any]) -> list[str]:
    """A report's section."""
    name = report["benchmark"]
    rough = ", a rough run" if report["quick"] else ""
    lines = [f"## {TITLES[name]}", "", f"`python -m benchmarks.{name} --json FILE`{rough}. {report['machine']}.", ""]
    lines += ["| what | found | 95 % interval | n | bar | | beside |", "| --- | --- | --- | --- | --- | --- | --- |"]
    return [*lines, *(row(one) for one in report["results"]), ""]


def row(one: dict[str, Any]) -> str:
    """One line: a ratio where there is a reference, else the value."""
    reference, unit, found = one.get("reference"), one["unit"], one["ratio"]
    beside = ""
    if reference is not None:
        beside = f"{one['reference_name']}: {number(reference)}; ours {number(one['ours'])} {unit}"
    kind = "" if reference is None or found == one.get("ours") else "times "
    bar = one.get("must")
    met = "" if bar is None else "met" if found <= bar else "**missed**"
    told = one.get("verdicts") or one.get("ends")
    if told:
        beside = ", ".join(f"{kind} {times}" for kind, times in sorted(told.items()))
    low, high = number(one["low"]), number(one["high"])
    limit = "" if bar is None else f"at most {number(bar)}"
    cells = (one["metric"], f"{kind}{number(found)} {unit}", f"{low} to {high}", one["n"], limit, met, beside)
    return f"| {' | '.join(map(str, cells))} |"


def number(value: float) -> str:
    """With as many digits as say something."""
    return "never" if value >= 1e9 else f"{value:.4g}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in arguments.files]
    head = [
        "# Figures of rollouts",
        "",
        "Made by `python -m benchmarks.rollout_document` from the files of the benchmarks below; seeds are fixed.",
        "Lower is better everywhere.",
        "",
    ]
    arguments.output.write_text("\n".join([*head, *(line for one in reports for line in table(one))]))


if __name__ == "__main__":
    main()
