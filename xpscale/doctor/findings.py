"""What an examination finds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

from xpscale.errors import PermanentError, TryAgainError, XpscaleError

__all__ = ["Diagnosis", "Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    subject
        The machine, the scheduler, a worker or a place.
    level
        ``warning``: the work can be done, but badly, or not all of it; ``problem``: it cannot.
    text
        What was found, in one line.
    remedy
        What to do about it; empty if all is well.
    exit_code
        Of a problem, as in `xpscale.errors`.
    """

    subject: str
    level: Literal["ok", "warning", "problem"]
    text: str
    remedy: str = ""
    exit_code: int = 0


@dataclass
class Diagnosis:
    """All findings, in the order in which things were looked at.

    Parameters
    ----------
    findings
        So far.
    """

    findings: list[Finding] = field(default_factory=list)

    def ok(self, subject: str, text: str) -> None:
        """Note that something is well.

        Parameters
        ----------
        subject, text
            As of `Finding`.
        """
        self.findings.append(Finding(subject, "ok", text))

    def warn(self, subject: str, text: str, remedy: str) -> None:
        """Note something that should be better.

        Parameters
        ----------
        subject, text, remedy
            As of `Finding`.
        """
        self.findings.append(Finding(subject, "warning", text, remedy))

    def problem(self, subject: str, error: XpscaleError) -> None:
        """Note something that must be changed.

        Parameters
        ----------
        subject
            As of `Finding`.
        error
            What it is.
        """
        self.findings.append(
            Finding(subject, "problem", error.message, error.remedy, error.exit_code)
        )

    @contextlib.contextmanager
    def noting(self, subject: str) -> Iterator[None]:
        """Note an error as a problem, and go on."""
        try:
            yield
        except XpscaleError as error:
            self.problem(subject, error)

    @property
    def exit_code(self) -> int:
        """0 without problems; else that of the first that does not pass by itself, else of any."""
        codes = [finding.exit_code for finding in self.findings if finding.level == "problem"]
        lasting = [code for code in codes if code != TryAgainError.exit_code]
        return next(iter(lasting or codes), 0)

    def require_no_problems(self) -> None:
        """Fail with `exit_code` if there are problems.

        Raises
        ------
        XpscaleError
            Of the kind of the worst.
        """
        found = [finding for finding in self.findings if finding.level == "problem"]
        if found:
            error = PermanentError(
                f"{len(found)} problem{'s' * (len(found) > 1)}",
                "Do what stands under each, then look again",
            )
            error.exit_code = self.exit_code
            raise error

    def to_json(self) -> str:
        """All of it as one JSON object."""
        findings = [asdict(finding) for finding in self.findings]
        return json.dumps({"exit_code": self.exit_code, "findings": findings}, indent=1)

    def __str__(self) -> str:
        lines, subject = [], ""
        for finding in self.findings:
            if finding.subject != subject:
                subject = finding.subject
                lines.append(subject)
            lines.append(f"  {finding.level:8} {finding.text}")
            if finding.remedy:
                lines.append(f"           {finding.remedy}.")
        return "\n".join(lines)
