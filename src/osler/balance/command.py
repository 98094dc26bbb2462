"""`osler balance`: draws the batches of a run before it begins, counts what is in them, and says what comes of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from osler.balance.draws import take_draws
from osler.balance.masks import MaskBalance, mask_balance, mask_odds
from osler.balance.odds import Odds, odds_in_force
from osler.balance.page import balance_page
from osler.balance.proof import Proof, prove
from osler.balance.text import balance_text
from osler.balance.verdict import Statement, judge
from osler.config import Config
from osler.data.load import Data, load_data
from osler.data.unaugmented import masks_alone, plain_batches
from osler.errors import ConfigError
from osler.files import make_out_folder, strict_json, write_bytes, write_json, write_text
from osler.train.resolve import resolve

__all__ = ["Balance", "balance_config", "balance_data"]

SCHEMA = "osler.balance/1"


@dataclass(frozen=True)
class Balance:
    """What a configuration draws, and what its loss makes of that.

    Attributes:
        config: as given; of a segmentation, resolved.
        source: the data that it names.
        proof: what its first batches hold.
        odds: of each class, in force.
        verdict: what is to be said, the gravest first.
        masks: pixels of a segmentation; else None.
    """

    config: Config
    source: Data
    proof: Proof
    odds: Odds
    verdict: tuple[Statement, ...]
    masks: MaskBalance | None = None

    def text(self) -> str:
        """The verdict and the figures, for a terminal."""
        return balance_text(self.config, self.proof, self.odds, self.verdict, self.masks)

    def data(self) -> dict[str, Any]:
        """The same as strict JSON, schema `osler.balance/1`; what is undefined is null."""
        settings = self.config.data
        masks = None
        if self.masks is not None:
            masks = {name: value for name, value in vars(self.masks).items() if name != "counts"}
        found = {
            "schema": SCHEMA,
            "sampler": settings.sampler,
            "sampler_reduce": settings.sampler_reduce,
            "sampler_beta": settings.sampler_beta,
            "no_finding_weight": settings.no_finding_weight,
            "task": self.source.source.task,
            "verdict": [asdict(statement) for statement in self.verdict],
            "proof": asdict(self.proof),
            "odds": {
                **{name: value for name, value in vars(self.odds).items() if name != "classes"},
                "classes": [
                    {**asdict(one), "drawn": one.drawn, "in_force": one.in_force, "share": one.share} for one in self.odds.classes
                ],
            },
            "masks": masks,
            "notes": list(self.source.notes),
        }
        plain: dict[str, Any] = strict_json(found)
        return plain

    def json_text(self) -> str:
        """The same as a text of JSON."""
        return json.dumps(self.data(), indent=2, allow_nan=False, ensure_ascii=False)

    def write(self, folder: Path) -> Path:
        """Writes balance.html, balance.json, balance.png (four panels) and drawn.png; where the page is."""
        make_out_folder(folder)
        page, pictures = balance_page(self.config, self.source, self.proof, self.odds, self.verdict, self.masks)
        for name, content in pictures.items():
            write_bytes(folder / name, content)
        write_json(folder / "balance.json", self.data())
        write_text(folder / "balance.html", page.html())
        return (folder / "balance.html").absolute()


def balance_config(config: Config, batches: int = 500) -> Balance:
    """Counts what the first batches of a run would hold; no image is decoded.

    Raises:
        ConfigError: fewer than one batch was asked for, or loss and task do not fit.
        DataError: the data cannot be read.
    """
    return balance_data(config, load_data(config.data), batches)


def balance_data(config: Config, data: Data, batches: int = 500) -> Balance:
    """The same for data that are loaded already."""
    if batches < 1:
        raise ConfigError(f"--batches: {batches} is too few; give 1 or more, 500 by default")
    if data.source.task == "segmentation":
        config = resolve(config, data)
        loader = masks_alone(config, data)
        masks = mask_balance(config, data, loader)
        odds = mask_odds(config.loss, masks)
    else:
        # A table of labels is enough: nothing of the images themselves is asked for.
        loader, masks, odds = plain_batches(config, data), None, odds_in_force(config, data)
    proof = prove(data, take_draws(loader, config, data, batches))
    return Balance(config, data, proof, odds, tuple(judge(config, proof, odds)), masks)
