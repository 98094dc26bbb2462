"""Splits: stratified over all labels at once, patients kept whole, the same for the same seed.

Each patient (or image, where patients are unknown) is a group with a vector of counts: images, positives of each class,
unknown labels, images without a finding. Groups are dealt out so that every split holds its share of every count.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from osler.config import SplitConfig
from osler.data.labels import plain
from osler.data.messages import count, some
from osler.data.samples import SPLITS, Samples
from osler.errors import DataError, nearest

__all__ = ["named_splits", "split_hash", "split_name", "split_notes", "split_samples", "stratified_subset"]

Counts = NDArray[np.float64]

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def split_name(name: str) -> str | None:
    """The split that a folder or a cell names, or None.

    >>> split_name("Valid"), split_name("TRAINING"), split_name("normal")
    ('val', 'train', None)
    """
    return SPLIT_NAMES.get(plain(name))


def split_hash(ids: NDArray[np.str_]) -> str:
    """16 hex digits that differ when the set of ids does; their order does not matter.

    >>> split_hash(np.array(["a", "b"])) == split_hash(np.array(["b", "a"])) != split_hash(np.array(["ab"]))
    True
    """
    text = "\n".join(np.sort(ids).tolist())
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:16]


def split_samples(samples: Samples, config: SplitConfig) -> NDArray[np.str_]:
    """Which split each sample belongs to.

    What the source assigns is kept. Samples that it leaves open are dealt out to the splits that it does not name, in
    proportion of their ratios, an open image of an assigned patient going with the patient. Where nothing is open, splits
    that the source does not name and whose ratio is above 0 are cut from train. With `config.folds` it is cross-validation:
    `_split_by_folds`. `split_notes` says what was done.

    Args:
        samples: N samples.
        config: ratio or folds, seed, and whether patients are kept whole.

    Returns:
        (N,) of "train", "val", "test".

    Raises:
        DataError: fewer patients than splits; open samples though every split is assigned; no samples to train on.
    """
    split = np.full(len(samples), "", dtype="<U5") if samples.split is None else samples.split.astype("<U5")
    shares = dict(zip(SPLITS, config.ratio, strict=True))
    missing = [name for name in SPLITS if shares[name] > 0 and not (split == name).any()]
    groups = _groups(samples, config.by_patient)
    split = _with_their_patients(split, groups)
    if config.folds is not None:
        return _split_by_folds(samples, split, groups, config, config.folds)
    is_open = split == ""
    if is_open.any():
        if not missing:
            raise DataError(
                f"no split is given for {count(int(is_open.sum()), 'sample')} ({some(samples.ids[is_open])}), while train, "
                "val and test are all assigned: assign them too, or leave them out"
            )
        into = missing
    elif missing:
        if "train" in missing:
            raise DataError(f"the source assigns no sample to train, only to {some(np.unique(split))}: assign some")
        into, is_open = ["train", *missing], split == "train"
    else:
        return split
    rows = np.flatnonzero(is_open)
    names, members = np.unique(groups[rows], return_inverse=True)
    _enough_groups(len(names), f"{count(len(into), 'split')} ({some(into)})", len(into), samples, config)
    share = np.array([shares[name] for name in into])
    dealt = _deal(_group_counts(samples, rows, members), share / share.sum(), config.seed)
    split[rows] = np.array(into)[dealt][members]
    return split


def _split_by_folds(
    samples: Samples, split: NDArray[np.str_], groups: NDArray[np.intp], config: SplitConfig, folds: int
) -> NDArray[np.str_]:
    """One division of cross-validation: fold `config.fold` is test and the next is val, or it is val where test is settled.

    The next fold rather than samples drawn from the rest: over all folds each sample is then val once and test once, and val is
    as even as test.
    """
    pool = np.flatnonzero(split != "test")
    settled = _test_is_settled(split, config)
    if folds == 2 and not settled:
        raise DataError(
            "data.split.folds: 2 leaves nothing to train on where one fold is test and one is val: use 3 or more, or set the "
            "ratio of test in data.split.ratio to 0"
        )
    names, members = np.unique(groups[pool], return_inverse=True)
    _enough_groups(len(names), count(folds, "fold"), folds, samples, config)
    # Which of the pooled samples the source calls train or val has no part in this.
    counts = _group_counts(replace(samples, split=None), pool, members)
    fold = _deal(counts, np.full(folds, 1 / folds), (config.seed, config.repeat))[members]
    result = np.full(len(samples), "test", dtype="<U5")
    result[pool] = "train"
    if settled:
        result[pool[fold == config.fold]] = "val"
    else:
        result[pool[fold == config.fold]] = "test"
        result[pool[fold == (config.fold + 1) % folds]] = "val"
    return result


def _test_is_settled(split: NDArray[np.str_], config: SplitConfig) -> bool:
    """Whether a fold need not be test: there is one already, or none is wanted."""
    return bool((split == "test").any()) or config.ratio[2] == 0


def named_splits(samples: Samples, config: SplitConfig) -> Samples:
    """The samples with the splits that the configuration names patients for; unchanged where it names none.

    Raises:
        DataError: a name is no patient (no sample, where patients are unknown), or the source assigns it to another split.
    """
    if not config.val and not config.test:
        return samples
    known = samples.ids if samples.patients is None else samples.patients
    word = "sample" if samples.patients is None else "patient"
    split = np.full(len(samples), "", dtype="<U5") if samples.split is None else samples.split.astype("<U5")
    faults = []
    for target, names in (("val", config.val), ("test", config.test)):
        for name in names:
            rows = known == name
            others = sorted({*split[rows].tolist()} - {"", target})
            if not rows.any():
                guess = nearest(name, np.unique(known).tolist())
                faults.append(
                    f"data.split.{target}: no {word} is called {name!r}" + (f" (did you mean {guess!r}?)" if guess else "")
                )
            elif others:
                faults.append(f"data.split.{target}: the source assigns {name!r} to {some(others)}")
            split[rows] = target
    if faults:
        raise DataError(f"{'; '.join(faults)}. The {word}s are {some(np.unique(known), 8)}.")
    return replace(samples, split=split)


def split_notes(samples: Samples, split: NDArray[np.str_], config: SplitConfig) -> tuple[str, ...]:
    """What a reader should know of a division, a sentence each: what was kept and drawn, shared patients, absent classes.

    Args:
        samples: as the source gave them.
        split: (N,) as `split_samples` returned it.
        config: by which it was made.
    """
    notes = [_origin(samples, split, config)]
    if samples.patients is None:
        notes.append("Patients are unknown: each image counts as a patient of its own.")
    else:
        patients, members = np.unique(samples.patients, return_inverse=True)
        seen = np.stack([np.bincount(members[split == name], minlength=len(patients)) > 0 for name in SPLITS])
        shared = patients[seen.sum(axis=0) > 1]
        if len(shared):
            notes.append(
                f"Images of {count(len(shared), 'patient')} are in several splits ({some(shared)}): figures on val and test are "
                "likely too good."
            )
    for name in SPLITS:
        targets = samples.targets[split == name]
        # Of masks, one class may be in every image: its pixels have negatives all the same.
        for kind, value in (("positive", 1), ("negative", 0))[: 1 if samples.masks is not None else 2]:
            absent = [label for label, column in zip(samples.classes, targets.T, strict=True) if not (column == value).any()]
            if len(targets) and absent:
                notes.append(f"{name} has no {kind} sample of {some(absent, 20)}: it cannot be scored there.")
    return tuple(notes)


def _origin(samples: Samples, split: NDArray[np.str_], config: SplitConfig) -> str:
    sizes = ", ".join(f"{name} {(split == name).sum():,}" for name in SPLITS if (split == name).any())
    given = np.full(len(split), "") if samples.split is None else samples.split
    kept = [name for name in SPLITS if (given == name).any()]
    drawn = [name for name in SPLITS if (split == name).any() and name not in kept]
    how = "stratified by label" + (", patients kept whole" if samples.patients is not None else "")
    if config.folds is not None:
        repeat = f", repeat {config.repeat}" if config.repeat else ""
        settled = _test_is_settled(given, config)
        role = "val" if settled else f"test, fold {(config.fold + 1) % config.folds} is val"
        stays = "; test stays as it is given" if "test" in kept else ""
        return f"Fold {config.fold} of {config.folds} (counted from 0{repeat}) is {role}{stays}; drawn {how} ({sizes})."
    if not drawn:
        return f"The splits are those of the source ({sizes})."
    if not kept:
        return f"The splits were drawn, {how} ({sizes})."
    cut = "cut from train" if (given == "train").sum() > (split == "train").sum() else "drawn from what the source leaves open"
    return f"{some(kept)} are those of the source; {some(drawn)} was {cut}, {how} ({sizes})."


def stratified_subset(samples: Samples, amount: int | float, seed: int) -> NDArray[np.intp]:
    """Rows of a part of the samples with the same shares of every label, patients kept whole.

    Args:
        samples: N samples; those of each assigned split give the same share.
        amount: a whole number is the most samples wanted, a fraction above 0 and up to 1.0 the share of the samples.
        seed: of the choice.

    Returns:
        Rows, ascending. Never more than asked for, unless the smallest patient has more images than that: one patient at
        least is taken.
    """
    wanted = amount if isinstance(amount, int) else round(amount * len(samples))
    if wanted >= len(samples):
        return np.arange(len(samples))
    groups = _groups(samples, by_patient=True)
    _, members = np.unique(groups, return_inverse=True)
    counts = _group_counts(samples, np.arange(len(samples)), members)
    both = [column == value for column in samples.targets.T for value in (0, 1)]
    needs = np.stack([np.bincount(members, weights=column) for column in both], axis=1).astype(np.float64)
    chosen = _choose(counts, needs, max(wanted, 1), seed)
    return np.flatnonzero(chosen[members])


# --- groups -----------------------------------------------------------------------------------------------------------------


def _groups(samples: Samples, by_patient: bool) -> NDArray[np.intp]:
    """(N,) number of the patient, or of the sample where patients are unknown."""
    if samples.patients is None or not by_patient:
        return np.arange(len(samples))
    return np.unique(samples.patients, return_inverse=True)[1].astype(np.intp)


def _with_their_patients(split: NDArray[np.str_], groups: NDArray[np.intp]) -> NDArray[np.str_]:
    """Gives open samples the split that their patient has already, the first of SPLITS where there are several."""
    if not ((split == "") & (split != "").any()).any():
        return split
    result = split.copy()
    for name in SPLITS:
        has = np.zeros(groups.max() + 1, dtype=bool)
        has[groups[split == name]] = True
        result[(result == "") & has[groups]] = name
    return result


def _group_counts(samples: Samples, rows: NDArray[np.intp], members: NDArray[np.intp]) -> Counts:
    """(G, L): images, positives of each class, unknown labels of each class that has some, images without a finding, patients."""
    targets = samples.targets[rows]
    unknown = np.isnan(targets)
    columns = [np.ones(len(rows)), *(targets == 1).T, *unknown.T[unknown.any(axis=0)]]
    if samples.split is not None:
        columns += [samples.split[rows] == name for name in np.unique(samples.split[rows])[1:]]
    if samples.task in ("multilabel", "segmentation"):
        columns.append((targets == 0).all(axis=1))
    sums = [np.bincount(members, weights=column) for column in columns]
    return np.stack([*sums, np.ones(len(sums[0]))], axis=1)


def _enough_groups(groups: int, into: str, parts: int, samples: Samples, config: SplitConfig) -> None:
    if groups >= parts:
        return
    by_patient = samples.patients is not None and config.by_patient
    what = "patient" if by_patient else "sample"
    fewer = "set a ratio of 0 for a split in data.split.ratio" if config.folds is None else "lower data.split.folds"
    advice = f"Add {what}s, or {fewer}"
    if by_patient:
        advice = f"Add {what}s, {fewer}, or, knowing that figures will then be too good, data.split.by_patient: false"
    raise DataError(f"{count(groups, what)} cannot be divided into {into}. {advice}.")


# --- dealing out ------------------------------------------------------------------------------------------------------------


def _deal(counts: Counts, shares: NDArray[np.float64], seed: int | tuple[int, int]) -> NDArray[np.intp]:
    """(G,) part of each group, so that part s holds about `shares[s]` of every count, and a group at least.

    Groups with much of something rare come first. Each goes where it brings the parts nearest to their shares of what was
    dealt so far, in the sense of chi-square; to aim at the shares so far, not at the end, keeps the first and largest groups
    from all going to the largest part. Iterative stratification (Sechidis et al. 2011) is the idea; groups are not in it.
    """
    used = counts[:, counts.sum(axis=0) > 0]
    totals = used.sum(axis=0)
    scaled, weights = used / totals, _weights(totals)[None, :] / shares[:, None]
    excess = np.zeros_like(weights)
    parts = np.empty(len(counts), dtype=np.intp)
    for group in _rarest_first(scaled, seed):
        vector = scaled[group]
        excess -= shares[:, None] * vector
        best = int((weights * (2 * excess + vector) * vector).sum(axis=1).argmin())
        parts[group] = best
        excess[best] += vector
    for part in range(len(shares)):
        if not (parts == part).any():
            donors = np.flatnonzero(parts == np.bincount(parts).argmax())
            parts[donors[counts[donors, 0].argmin()]] = part
    return parts


def _weights(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """(L,) weight of each count's relative error. With the root, rare labels end exact to an image, the size to a few."""
    weights: NDArray[np.float64] = np.sqrt(totals / totals.max())
    return weights


def _rarest_first(scaled: Counts, seed: int | tuple[int, int]) -> NDArray[np.intp]:
    """Groups by the largest share of any count that they hold, to a factor of 2, and at random within that."""
    shuffled = np.random.default_rng(seed).permutation(len(scaled))
    rank = np.floor(np.log2(scaled[shuffled].max(axis=1)))
    return shuffled[np.argsort(-rank, kind="stable")]


def _choose(counts: Counts, needs: Counts, wanted: int, seed: int) -> NDArray[np.bool_]:
    """(G,) groups of at most `wanted` images that hold the same share of every count, and something of all that `needs` counts.

    Args:
        counts: (G, L), images first.
        needs: (G, M) counts of what a part without it could not be trained or scored on.
        wanted: images.
        seed: of the choice.
    """
    totals = counts.sum(axis=0)
    share = wanted / totals[0]
    chosen: NDArray[np.bool_] = _deal(counts, np.array([share, 1 - share]), seed) == 0
    weights = _weights(totals) / np.maximum(totals, 1) ** 2

    def cheapest(groups: NDArray[np.intp], sign: int) -> int:
        """The group whose adding (+1) or leaving out (−1) brings the counts nearest to their shares."""
        off = counts[chosen].sum(axis=0) - share * totals
        return int(groups[((off + sign * counts[groups]) ** 2 @ weights).argmin()])

    for column in np.flatnonzero(needs.sum(axis=0) > 0):
        if not needs[chosen, column].any():
            chosen[cheapest(np.flatnonzero(needs[:, column]), +1)] = True
    while counts[chosen, 0].sum() > wanted and chosen.sum() > 1:
        groups = np.flatnonzero(chosen)
        last = ((needs[groups] > 0) & (needs[groups] == needs[groups].sum(axis=0))).any(axis=1)
        chosen[cheapest(groups if last.all() else groups[~last], -1)] = False
    while len(groups := np.flatnonzero(~chosen & (counts[:, 0] <= wanted - counts[chosen, 0].sum()))):
        chosen[cheapest(groups, +1)] = True
    return chosen
