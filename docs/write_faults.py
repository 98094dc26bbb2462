"""Writes the faults' sections of docs/doctor.md from their entries: python docs/write_faults.py"""

from __future__ import annotations

from pathlib import Path

from osler.doctor.faults import FAULTS
from osler.doctor.report.vocabulary import faults_markdown

PAGE = Path(__file__).parent / "doctor.md"
START, END = "<!-- faults: written by write_faults.py -->\n\n", "\n<!-- end of faults -->"


def main() -> None:
    """Replaces what stands between the two marks."""
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{head}{START}{faults_markdown(FAULTS)}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
