"""What a check found wrong with an upload: a stable code and a short piece of evidence."""

from dataclasses import dataclass
from typing import Self

from volano.errors import Code

_MAX_EVIDENCE = 300


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason not to believe an upload. `None` in place of a finding means that nothing was found."""

    code: Code
    evidence: str

    @classmethod
    def of(cls, code: Code, evidence: str) -> Self:
        """A finding whose evidence is short and printable, whatever bytes it quotes."""
        printable = "".join(character if character.isprintable() else "?" for character in evidence)
        return cls(code=code, evidence=printable[:_MAX_EVIDENCE])
