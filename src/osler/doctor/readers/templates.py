"""Templates of printed lines: a line without its numbers, and the plan of which of them mean what.

Numbers are read with the words before them. A plan is made when a template is first met, and serves every line like it;
where the same template follows itself, as in the steps of an epoch, its lines are matched as a whole, three times as fast.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from osler.doctor.readers.vocabulary import REGIONS, SHARES, Meaning, find_meaning, split_of, split_words

__all__ = ["NUMBER", "NUMBER_WITH_COMMA", "Figure", "Plan", "Planner"]

WORD_NUMBERS = r"nan|-?inf(?:inity)?"
# No number begins within a word ("f1", "mAP50-95", "Acc@1") or a version; nan and inf are words of their own.
NUMBER_TEXT = r"(?<![\w.@])(?<![A-Za-z\d]-)([-+]?(?:\d+{point}\d+|\d+|{point}\d+)(?:[eE][-+]?\d+)?|(?:{words})(?![\w]))"
NUMBER = re.compile(NUMBER_TEXT.format(point=r"\.", words=WORD_NUMBERS), re.IGNORECASE)
NUMBER_WITH_COMMA = re.compile(NUMBER_TEXT.format(point=r"[.,]", words=WORD_NUMBERS), re.IGNORECASE)
# What a number is where the text around it is known.
SIMPLE_NUMBER = r"[-+]?(?:\d+\.\d+|\d+|\.\d+)(?:[eE][-+]?\d+)?"
EPOCH_WORD = re.compile(
    r"(?i)(?<![a-z/])(?:epoch|epoche|epoca|época|époque|epok|epoka|эпоха|ep|轮次|エポック|에포크|에폭|第)"
    r"(?:\s*(?:no|num|number|nr|completed?|finished|done|ended|end|summary|results?))?[\s.:#=\-\[(|'\"]*$"
)
# "第 5/50 轮" counts epochs, "第 2 折" folds.
COUNTS_EPOCHS = re.compile(r"(?i)\s*(?:/|轮|个?\s*epoch|代|次|回|エポック)")
# "Best epoch: 7", "stopped at epoch 12", "for 50 epochs": epochs that are spoken of.
SPOKEN_OF = re.compile(r"(?i)best|restor|early|stop|resum|from the end|save|load|every|since|previous|until|checkpoint")
# "New best model found at epoch 7 with val_acc=0.54": a record, told again.
BEST_EPOCH = re.compile(r"(?i)(?<![a-z])best\b.{0,40}\bepoch\W{0,3}\d")
UNIT = re.compile(r"\s?(?:%|m?s\b|sec|min\b|it\b|img|hours?\b|h\b)")
BARE_SPLIT = re.compile(r"(?:^|[\s|,;(\[])(\w+)\s*[=:]\s*$")
BRACKETED = re.compile(r"^\s*[\[(]\s*$")
OF_TOTAL = re.compile(r"(?i)^\s*(?:/|of|von|sur|de|из|\]?\s*\[?/)\s*$")
PROGRESS = re.compile(r"[\]|]\s{0,3}-?\s{0,3}(?:ETA|\d+s)|\[[=>.\s]{4,120}\]|━|█|\d%\|| it/s|s/it|ms/step|s/step|s/epoch")
# Signs behind which another figure, and other words, begin.
CUT = re.compile(r"[|;,\t]|\s-+\s|\s{3,}|[\])}>]\s|\.\s")
VALUE_FOLLOWS = re.compile(r"(?:[\s:=~≈>*'\"]|->|→|\(|\[|is|of|at)*$", re.IGNORECASE)
COUNTED = re.compile(r"(?i)(?:batch|step|iter|iteration|it|sample|image|case)\W*$")
# A number behind one of these says which part of the epoch a line is about.
PART_OF_EPOCH = re.compile(
    r"(?i)(?<![a-z])(?:(?:mini)?batch|step|iter|iters|iteration|it)(?:\s*(?:no|num|idx|number))?\s*[:=#\[(]?\s*$"
)
RUNNING_MEAN = re.compile(r"\s*\(\s*(?:avg:?\s*|mean:?\s*)?", re.IGNORECASE)
GLUED_PREFIX = re.compile(r"(?i)(?:train|val|valid|test|eval)\w*[_/.]")
MOST_TEMPLATES = 50_000
MOST_WORDS = 8
LONGEST_WORDS = 24
LONGEST_HEADING = 80
MOST_WORDS_OF_HEADING = 4


@dataclass(frozen=True)
class Figure:
    """One number of a template.

    Attributes:
        index: its place in the line.
        label: the column it belongs to.
        percent: a percent sign follows it.
        of: index of the number it is divided by ("9012/10000"), or None.
        running: it is a running mean.
    """

    index: int
    label: str
    percent: bool = False
    of: int | None = None
    running: bool = False


@dataclass(frozen=True)
class Plan:
    """What to take from the lines of one template.

    Attributes:
        epoch: index of the number that is the epoch, or None.
        total: index of the planned epochs, or None.
        figures: the numbers that are figures.
        context: the split that following lines are about, or None where this line does not change it.
        literal: indices of numbers that belong to names ("Dice class 1: 0.8"): with other numbers there, the plan differs.
        running: the line is a progress bar, whose figures are running means.
        step: index of the number of the batch or step that the line is about; None where it is about the whole epoch.
        words: what stands before the number of the epoch; a log may count two kinds of epochs.
    """

    epoch: int | None = None
    total: int | None = None
    figures: tuple[Figure, ...] = ()
    context: str | None = None
    literal: tuple[int, ...] = ()
    running: bool = False
    step: int | None = None
    words: str = ""

    @property
    def indices(self) -> tuple[int | None, ...]:
        """Every index that the plan reads."""
        return (
            self.epoch,
            self.total,
            self.step,
            *(figure.index for figure in self.figures),
            *(figure.of for figure in self.figures),
        )


NOTHING_TO_TAKE = Plan()


class Planner:
    """Plans by template; one for each log."""

    def __init__(self, number: re.Pattern[str]) -> None:
        self._number = number
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._last: tuple[str, ...] = ()
        self._shortcut: tuple[str, re.Pattern[str], Plan] | None = None

    def read(self, line: str, context: str) -> tuple[Plan, Sequence[str]]:
        """The plan of a line, and the texts to which its indices refer.

        Args:
            line: without its end.
            context: the split that the lines before have announced, or "".
        """
        shortcut = self._shortcut
        if shortcut is not None and shortcut[0] == context and (found := shortcut[1].fullmatch(line)):
            return shortcut[2], found.groups()
        parts = self._number.split(line)
        if len(parts) == 1 and len(line) > LONGEST_HEADING:
            return NOTHING_TO_TAKE, parts
        key = (context, *parts[0::2])
        plan = self._plans.get(key)
        if plan is not None and key == self._last and not plan.literal and plan.figures:
            self._shortcut = self._whole(parts, plan, context)
        self._last = key
        if plan is not None and plan.literal:
            key = (*key, *(parts[index] for index in plan.literal))
            plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MOST_TEMPLATES:  # file names in every line, say: new ones are passed over
                return NOTHING_TO_TAKE, parts
            plan = self._plans[key] = _plan(line, parts, context)
            if plan.literal:
                self._plans[(*key, *(parts[index] for index in plan.literal))] = plan
        return plan, parts

    def _whole(self, parts: Sequence[str], plan: Plan, context: str) -> tuple[str, re.Pattern[str], Plan]:
        """A pattern of the whole line that captures the numbers that are taken, and the plan with their new places."""
        taken = sorted({index for index in plan.indices if index is not None})
        place = {index: group for group, index in enumerate(taken)}
        pieces = [
            re.escape(part) if index % 2 == 0 else f"({SIMPLE_NUMBER})" if index in place else f"(?:{SIMPLE_NUMBER})"
            for index, part in enumerate(parts)
        ]
        figures = tuple(
            replace(figure, index=place[figure.index], of=None if figure.of is None else place[figure.of])
            for figure in plan.figures
        )
        epoch = None if plan.epoch is None else place[plan.epoch]
        total = None if plan.total is None else place[plan.total]
        step = None if plan.step is None else place[plan.step]
        return context, re.compile("".join(pieces)), replace(plan, epoch=epoch, total=total, step=step, figures=figures)


def _plan(line: str, parts: Sequence[str], context: str) -> Plan:
    """How to read the lines of this template; `parts` are texts and numbers in turn, beginning and ending with a text."""
    if len(parts) == 1:
        return Plan(context=_heading(line))
    epoch, total = _epoch_of(parts)
    if epoch is None and BEST_EPOCH.search(line):
        return Plan(context=None)
    figures: list[Figure] = []
    literal: list[int] = []
    local, changed, carried = _line_split(parts, epoch) or context, None, ""
    for index in range(1, len(parts), 2):
        before, after = carried + parts[index - 1], parts[index + 1]
        carried = ""
        if index in (epoch, total):
            continue
        if re.match(r"\s*[:=]\s", after + " ") and not COUNTED.search(before):
            # A number with a colon behind it belongs to the name: "Dice class 1: 0.8".
            carried = f"{before}{parts[index]}"
            literal.append(index)
            continue
        if figures and RUNNING_MEAN.fullmatch(before) and figures[-1].index == index - 2:
            # "Loss 0.61 (0.70)": a batch's value and the running mean, which stands for the epoch.
            last = figures.pop()
            if not find_meaning(last.label).name.startswith("seconds"):  # such are of a batch
                figures.append(Figure(index, f"{last.label} avg", last.percent, running=True))
            continue
        found = _figure_before(before, local, _overlap(figures))
        if found is None:
            continue
        label, split, lasting = found
        local = split or local
        changed = split if lasting else changed
        figures.append(_with_unit(index, label, parts))
    figures += _bare_losses(parts, figures)
    step = next((index for index in range(1, len(parts), 2) if _counts_part(parts[index - 1][-40:])), None)
    words = parts[epoch - 1][-LONGEST_WORDS:] if epoch is not None else ""
    return Plan(epoch, total, _distinct(figures), changed, tuple(literal), PROGRESS.search(line) is not None, step, words)


def _bare_losses(parts: Sequence[str], figures: Sequence[Figure]) -> list[Figure]:
    """The losses of "Epoch 1 | train=0.31 val=0.42 | auc=0.8": a line that names both splits, a number each, and no loss."""
    if any(find_meaning(figure.label).name == "loss" for figure in figures):
        return []
    found: dict[str, Figure] = {}
    for index in range(1, len(parts), 2):
        label = BARE_SPLIT.search(parts[index - 1])
        split = split_of(label[1]) if label and len(split_words(label[1])) == 1 else None
        if split and "." in parts[index] and not UNIT.match(parts[index + 1]):
            found.setdefault(split, Figure(index, f"{split} loss"))
    return list(found.values()) if {"train", "val"} <= set(found) else []


def _counts_part(text: str) -> bool:
    """Whether the number behind a text is that of a batch or step, of which more than its record is told."""
    found = PART_OF_EPOCH.search(text)
    return found is not None and not SPOKEN_OF.search(text[: found.start()])


def _line_split(parts: Sequence[str], epoch: int | None) -> str:
    """The split that a line begins with: "Validation: 100%|", "Training Results - Epoch: 3"; "" where it names none."""
    for text in (parts[0], parts[epoch - 1] if epoch is not None else ""):
        words = split_words(text)
        named = [split for word, _, _ in words if (split := split_of(word))]
        if len(words) <= MOST_WORDS_OF_HEADING and named and find_meaning(text).kind != "figure":
            return named[0]
    return ""


def _with_unit(index: int, label: str, parts: Sequence[str]) -> Figure:
    """A figure with the percent sign, or the whole, that follows it: "Accuracy: 9012/10000 (90%)"."""
    after = parts[index + 1]
    if find_meaning(label).name in SHARES and after.strip() == "/" and index + 2 < len(parts):
        if index + 4 < len(parts) and parts[index + 3].strip() == "(" and parts[index + 5].lstrip()[:1] == "%":
            return Figure(index + 4, label, percent=True)
        return Figure(index, label, of=index + 2)
    return Figure(index, label, after.lstrip()[:1] in ("%", "％"))


def _heading(line: str) -> str | None:
    """The split that a line without numbers announces: "Validation", "--- train ---"."""
    words = split_words(line)
    if not 0 < len(words) <= MOST_WORDS_OF_HEADING:
        return None
    splits = [split for word, _, _ in words if (split := split_of(word))]
    return splits[0] if splits and find_meaning(line).kind != "figure" else None


def _epoch_of(parts: Sequence[str]) -> tuple[int | None, int | None]:
    """Which numbers are the epoch and the planned epochs."""
    for index in range(1, len(parts), 2):
        text = parts[index - 1]
        named = EPOCH_WORD.search(text[-60:])
        first = index == 1 and BRACKETED.match(text) and len(parts) > 3 and OF_TOTAL.match(parts[2])
        if not (named or first) or not parts[index].isdigit() or len(parts[index]) > 9:
            continue
        if named and SPOKEN_OF.search(text[-60:][: named.start()][-30:]):
            continue
        if named and "第" in named[0] and not COUNTS_EPOCHS.match(parts[index + 1]):
            continue
        of_total = len(parts) > index + 2 and OF_TOTAL.match(parts[index + 1]) and parts[index + 2].isdigit()
        return index, index + 2 if of_total else None
    return None, None


def _overlap(figures: Sequence[Figure]) -> str:
    """The score that regions behind it are measured by, "dice" or "iou"; "" where the line has named none."""
    names = (find_meaning(figure.label).name for figure in reversed(figures))
    return next((name for name in names if name in ("dice", "iou")), "")


def _figure_before(text: str, context: str, overlap: str) -> tuple[str, str, bool] | None:
    """The column of a number, by the words before it; with the split these words name, and whether it lasts for more lines.

    "Train loss" and "val:" speak of the figures that follow on the line too; the prefix of "val_loss" speaks of its own.
    A region that stands alone is a part of the line's `overlap` score.
    """
    if text[-1:] in ("/", "\\", "_"):  # within a path or a name
        return None
    ends = VALUE_FOLLOWS.search(text[-200:])
    stem = text[-200:][: ends.start()] if ends else text[-200:]
    pieces = CUT.split(stem)
    label = pieces[-1].strip(" \t'\"{[(<*#>-:=%")
    # The words before the last cut may still name the split: "Validation | loss: 0.3", "train: [loss 0.4".
    earlier = next((split for piece in reversed(pieces[:-1]) if (split := split_of(piece))), None)
    head, colon, tail = label.rpartition(":")
    if colon and (named := split_of(head)):
        earlier, label = named, tail.strip()
    if not label or len(split_words(label)) > MOST_WORDS:
        return None
    meaning = find_meaning(label)
    if overlap and " ".join(word for word, _, _ in split_words(label)) in REGIONS:
        return f"{context} {overlap} {label}".strip(), "", False
    if not _is_read(meaning):
        return None
    if meaning.split == "":
        split = earlier or context
        return f"{split} {label}".strip(), earlier or "", False
    return label, "" if GLUED_PREFIX.search(label) else meaning.split or "", False


def _is_read(meaning: Meaning) -> bool:
    return meaning.kind == "figure" and meaning.variant not in ("record", "spread")


def _distinct(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Each column once a line; the first number counts."""
    seen: dict[str, Figure] = {}
    for figure in figures:
        seen.setdefault(figure.label, figure)
    return tuple(seen.values())
