"""The words of training logs: what a column, tag or label is called, and what it means here.

`VOCABULARY` is the one table. A label is cut into words ("val_aucROC" → val, auc, roc); the longest phrases found in the
table give its split, its figure and its variant; words that say nothing are dropped; what remains names a class or a part
of the loss: "val_dice_class_2" is `val.dice[2]`, "train/box_loss" is `train.loss[box]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["REGIONS", "SHARES", "SIGNED_SHARES", "VOCABULARY", "Kind", "Meaning", "find_meaning", "split_of", "split_words"]

Kind = Literal["figure", "epoch", "step", "split", "group", "phase", "known", "unknown"]

# Kind of word → meaning → phrases, in lower case, words separated by a space.
VOCABULARY: dict[str, dict[str, tuple[str, ...]]] = {
    "split": {
        "train": (
            "train", "training", "trn", "tr", "fit", "trainset", "trainings", "apprentissage", "entraînement", "entrainement",
            "d entraînement", "d entrainement", "entrenamiento", "addestramento", "treino", "treinamento", "trening", "eğitim",
            "обучение", "обучении", "обучения", "на обучении", "тренировка", "训练", "训练集", "訓練", "学習", "훈련", "학습",
        ),
        "val": (
            "val", "valid", "validation", "validate", "validating", "eval", "evaluation", "evaluate", "dev", "vali", "valset",
            "sel", "selection", "tune", "tuning",
            "validierung", "validierungs", "validación", "validacion", "validazione", "validação", "validacao", "walidacja",
            "doğrulama", "валидация", "валидации", "на валидации", "验证", "验证集", "驗證", "検証", "검증",
        ),
        "test": ("test", "testing", "tst", "holdout", "heldout", "testset", "测试", "测试集", "測試", "テスト", "테스트",
                 "teste"),
    },
    "figure": {
        "loss": ("loss", "losses", "total loss", "loss total", "cost", "objective", "criterion", "verlust", "perte", "pérdida",
                 "perdida", "perdita", "perda", "kayıp", "kaybı", "потери", "потеря", "损失", "损失值", "損失", "손실",
                 "loss value", "lossvalue", "mean loss", "overall loss"),
        "auc": ("auc", "aucs", "aurocs", "auroc", "roc auc", "auc roc", "rocauc", "aucroc", "roc", "area under curve", "au roc",
                "c index"),
        "ap": ("ap", "average precision", "pr auc", "auc pr", "prauc", "aucpr", "auprc", "aupr", "prc", "mean average precision",
               "precision recall auc", "au prc", "pr"),
        "accuracy": ("acc", "accs", "accuracy", "accuracies", "accuray", "accuracy score", "top1", "top 1", "acc 1", "acc1",
                     "top 1 acc",
                     "top 1 accuracy", "acc top 1", "prec 1", "top1 acc", "acc top1", "top1 accuracy", "accuracy top1",
                     "genauigkeit", "exactitude", "exactitud", "accuratezza", "acurácia", "acuracia", "dokładność", "doğruluk",
                     "doğruluğu", "akurasi", "точность", "准确率", "准确度", "準確率", "正确率", "正解率", "精度", "정확도",
                     "pixel accuracy", "pixel acc"),
        "balanced_accuracy": ("balanced accuracy", "balanced acc", "bal acc", "bacc", "balanced accuracy score", "bal accuracy",
                              "uar"),
        "top5_accuracy": ("top5", "top 5", "acc 5", "acc5", "top 5 acc", "top 5 accuracy", "prec 5", "top5 acc", "acc top5",
                          "top k accuracy", "top k categorical accuracy", "accuracy top5"),
        "subset_accuracy": ("subset accuracy", "exact match", "exact match ratio", "subset acc"),
        "hamming": ("hamming", "hamming loss", "hamming distance"),
        "error": ("error", "err", "error rate", "err rate", "top1 error", "top1 err", "misclassification", "top 1 error"),
        "precision": ("precision", "precisions", "prec", "ppv", "positive predictive value", "precision score", "精确率",
                      "查准率", "適合率"),
        "recall": ("recall", "recalls", "rec", "sensitivity", "sens", "sensibility", "tpr", "true positive rate", "recall score",
                   "se",
                   "sen", "hit rate", "召回率", "查全率", "再現率", "灵敏度"),
        "specificity": ("specificity", "spec", "tnr", "true negative rate", "sp", "特异度", "特异性"),
        "npv": ("npv", "negative predictive value"),
        "f1": ("f1", "f1s", "f1 score", "f1 scores", "f 1", "f score", "fscore", "f1score", "f measure", "fmeasure", "f 1 score",
               "f1 measure"),
        "mcc": ("mcc", "matthews", "matthews corrcoef", "matthews correlation", "matthews correlation coefficient"),
        "kappa": ("kappa", "qwk", "cohen kappa", "cohens kappa", "quadratic weighted kappa", "quadratic kappa", "quad kappa",
                  "cohen kappa score"),
        "brier": ("brier", "brier score"),
        "ece": ("ece", "calibration error", "expected calibration error"),
        "dice": ("dice", "dices", "dice scores", "dsc", "dice coef", "dice coefficient", "dice score", "dice similarity",
                 "pseudo dice", "dicecoef",
                 "dice similarity coefficient", "dice metric", "mean dice", "mdice", "dice avg", "global dice", "dice index",
                 "foreground dice", "global foreground dice"),
        "iou": ("iou", "ious", "io us", "jaccard", "jaccard index", "jaccard coef", "miou", "mean iou", "iou coef", "iou score",
                "jacc", "jac",
                "intersection over union", "iou coefficient", "io u", "jaccard score", "iou metric", "mean io u", "mean iu",
                "m io u", "交并比"),
        "hd95": ("hd95", "hd 95", "hausdorff 95", "hausdorff95", "hausdorff distance 95", "95 hd"),
        "hd": ("hd", "hausdorff", "hausdorff distance"),
        "assd": ("assd", "asd", "surface distance", "average surface distance"),
        "map50": ("map50", "map 50", "m ap50", "map 0 5", "ap50", "m ap 0 5", "m ap 50"),
        "map50_95": ("map50 95", "map 50 95", "m ap50 95", "map 0 5 0 95", "map", "m ap 0 5 0 95", "m ap", "m ap 50 95"),
        "positive_rate": ("positive rate", "pred positive rate", "predicted positive rate", "pred positive", "predicted positive",
                          "predicted positives share", "pred pos", "pred pos rate", "positive prediction rate",
                          "positive fraction", "predicted positive fraction", "pred positive fraction", "pos rate"),
        "probability.mean": ("mean prob", "mean probability", "pred mean", "predicted mean", "mean prediction", "mean pred",
                             "avg prob", "avg probability", "prob mean", "probability mean", "mean prediction probability",
                             "prediction mean", "average probability", "mean predicted probability", "mean output"),
        "probability.sd": ("prob std", "pred std", "std prob", "probability std", "prediction std", "prob sd", "predicted std"),
        "logit.mean": ("mean logit", "logit mean", "logits mean"),
        "logit.sd": ("logit std", "logits std", "std logit", "logit sd"),
        "prevalence": ("target mean", "label mean", "mean target", "prevalence", "mean label", "positive share", "labels mean"),
        "foreground.predicted": ("pred foreground", "predicted foreground", "foreground predicted", "pred fg", "fg pred",
                                 "predicted foreground share", "foreground ratio pred", "pred fg ratio"),
        "foreground.true": ("true foreground", "gt foreground", "target foreground", "foreground true", "fg true", "gt fg"),
        "tp": ("tp", "true positives"),
        "fp": ("fp", "false positives"),
        "tn": ("tn", "true negatives"),
        "fn": ("fn", "false negatives"),
        "mae": ("mae", "mean absolute error"),
        "mse": ("mse", "mean squared error"),
        "rmse": ("rmse", "root mean squared error"),
        "r2": ("r2", "r squared", "r 2", "r2 score"),
        "floor": ("floor", "loss floor"),
        "skill": ("skill", "loss skill"),
    },
    # Figures of the optimiser and the machine: they have no split.
    "optimum": {
        "learning_rate": ("lr", "lrs", "learning rate", "learning rates", "learningrate", "lrate", "current lr", "base lr",
                          "current learning rate",
                          "lernrate", "taux d apprentissage", "tasa de aprendizaje", "taxa de aprendizado", "öğrenme oranı",
                          "скорость обучения", "学习率", "学習率", "학습률", "eta lr"),
        "gradient_norm.mean": ("grad norm", "gradient norm", "gradnorm", "gnorm", "grad 2 norm total", "total grad norm",
                               "grad norm total", "norm grad", "total norm", "grad l2", "l2 grads", "grad 2 0 norm total"),
        "gradient_norm.max": ("grad norm max", "max grad norm", "gradient norm max", "max gradient norm"),
        "gradient_norm.median": ("grad norm median", "median grad norm", "gradient norm median"),
        "gradient_norm.clipped_share": ("clipped", "clipped share", "clip share", "clip fraction", "clipped fraction"),
        "update_ratio.median": ("update ratio", "update to weight ratio", "update weight ratio", "relative update"),
        "skipped_steps": ("skipped steps", "amp skipped", "scaler skipped", "skipped"),
        "loss_scale": ("loss scale", "scale", "grad scale", "amp scale"),
        "seconds.epoch": ("time", "epoch time", "seconds", "duration", "elapsed", "runtime", "epoch seconds", "epoch duration",
                          "time sec", "epoch time sec", "time s", "epoch time s", "elapsed time", "total time", "sec",
                          "time elapsed", "zeit", "train runtime"),
        "seconds.data": ("data time", "data loading time", "time data", "data loading", "load time"),
    },
    "epoch": {"epoch": ("epoch", "epochs", "ep", "epoche", "époque", "epoque", "época", "epoca", "эпоха", "轮次", "epoch number",
                        "epoch num", "epoch idx", "epoch id", "epoch no", "current epoch", "n epoch", "epoch index", "epok",
                        "epoka", "轮数", "エポック", "에포크", "에폭")},
    "step": {"step": ("step", "steps", "global step", "iter", "iteration", "iterations", "batch idx", "itr", "update", "updates",
                      "schritt", "global iter", "trainer global step", "current iter", "n iter", "total steps")},
    "split column": {"split": ("split", "mode", "stage", "subset", "set", "dataset split", "data split", "partition", "part",
                               "phase type")},
    "group": {"group": ("fold", "run", "run id", "run name", "experiment", "exp", "trial", "seed", "model", "model name", "arch",
                        "architecture", "method", "k fold", "cv fold", "fold id", "config", "config name", "variant", "repeat",
                        "backbone", "network", "version")},
    "phase": {"phase": ("phase", "training phase", "train phase", "phase name", "phase idx", "stage name", "stage idx")},
    # Understood, but nothing that the doctor reads.
    "known": {"known": ("eta", "patience", "samples per second", "steps per second", "it s", "fps", "timestamp", "date",
                        "wall time", "walltime", "memory", "gpu mem", "mem", "max memory", "gpu memory", "best", "wait",
                        "counter", "threshold", "best threshold", "thr", "momentum", "weight decay", "batch size", "flos",
                        "total flos", "num", "count", "support", "instances", "size", "layers", "params", "speed", "ram", "cpu",
                        "throughput", "gpu", "temperature", "psnr", "ssim", "fid", "perplexity", "ppl", "wer", "bleu", "index",
                        "unnamed", "id",
                        "unnamed 0", "batch", "total flos", "images per sec", "improved", "is best", "ms step", "s step",
                        "s it", "us step", "ms", "batch time")},
    # Say how a figure was averaged; the plain figure and the macro one stand for each other.
    "variant": {
        "plain": ("epoch", "end", "value", "score", "metric", "metrics", "scalar", "final", "per", "for", "of", "on",
                  "the", "in", "at"),
        "macro": ("macro", "mean", "avg", "average", "averaged", "overall", "global", "total", "moyenne", "mittel", "m"),
        "weighted": ("weighted",),
        "micro": ("micro", "pooled"),
        "smoothed": ("ema", "smooth", "smoothed", "running", "moving"),
        "step": ("step", "batch", "iter", "iteration", "iterations", "trainstep", "minibatch", "vs iterations"),
        "spread": ("std", "sd", "stdev", "se", "stderr", "low", "high", "lower", "upper", "ci", "min", "max", "var", "variance",
                   "median"),
        "record": ("best", "previous", "prev", "last", "improved", "did not improve", "from", "saving", "saved", "target",
                   "baseline", "improvement", "no improvement", "early", "stopping", "reducing", "lowest", "highest", "so far",
                   "ever", "new"),
    },
    "noise": {"": ("coef", "coefficient", "index", "binary", "categorical", "sparse", "multiclass", "multilabel", "sklearn",
                   "torch", "tensor", "rate", "percent", "pct", "percentage", "b", "fn", "function", "keras", "tf", "is", "and",
                   "after", "set", "data", "split", "phase", "result", "results", "info", "stats", "logs", "log", "scalars",
                   "performance", "model", "net", "network", "current", "history", "hist", "histories", "list", "values", "curve",
                   "curves", "по", "на", "轮", "de", "du", "di", "da", "del", "della")},
}  # fmt: skip

# Losses by name: a label that holds one of these and no other figure is a loss, or a part of one.
LOSS_NAMES = frozenset(
    [
        "bce",
        "ce",
        "crossentropy",
        "xent",
        "nll",
        "focal",
        "tversky",
        "logloss",
        "binary_crossentropy",
        "categorical_crossentropy",
        "hinge",
        "kl",
        "kld",
    ]
)
LOSS_PHRASES = (("cross", "entropy"), ("binary", "crossentropy"), ("categorical", "crossentropy"), ("log", "loss"))

# Figures within 0..1, and within −1..1: where larger numbers stand, they are percentages.
SHARES = frozenset(
    [
        "auc",
        "ap",
        "accuracy",
        "balanced_accuracy",
        "top5_accuracy",
        "subset_accuracy",
        "hamming",
        "error",
        "precision",
        "recall",
        "specificity",
        "npv",
        "f1",
        "brier",
        "ece",
        "dice",
        "iou",
        "map50",
        "map50_95",
        "positive_rate",
        "probability.mean",
        "prevalence",
        "foreground.predicted",
        "foreground.true",
    ]
)
SIGNED_SHARES = frozenset({"mcc", "kappa"})
# Names of what is segmented, which a line may give bare behind its mean: "mean dice: 0.71 tc: 0.66 wt: 0.80 et: 0.65".
REGIONS = frozenset([
    "wt", "whole tumor", "tc", "tumor core", "et", "enhancing tumor", "ncr", "ed", "edema", "net", "lv", "rv", "myo", "la",
    "liver", "tumor", "tumour", "spleen", "pancreas", "kidney", "cyst", "lesion", "prostate", "pz", "tz", "lung", "heart",
    "left lung", "right lung", "optic disc", "optic cup", "disc", "cup",
])  # fmt: skip
# Words that are glued to others without a sign between: "valloss", "trainacc".
GLUED = re.compile(
    r"(train|val|valid|test|tr|v|t)(loss|acc|accuracy|auc|auroc|dice|iou|f1|precision|recall|miou|kappa|error|err)"
)
GLUED_SPLITS = {"tr": "train", "t": "train", "v": "val"}
# The same in languages that join such words: "Trainingsverlust", "验证准确率".
JOINED = re.compile(
    r"(trainings?|validierungs?|test|训练集?|训练|验证集?|测试集?|訓練|学習|検証|驗證|測試|テスト)"
    r"(verlust|genauigkeit|损失值?|損失|准确率|准确度|準確率|正确率|正解率|精度|召回率|精确率)"
)

# Longer figures first ("pr auc" before "auc"), variants and noise last.
KINDS = ("figure", "optimum", "epoch", "step", "group", "phase", "split column", "known", "split", "variant", "noise")
Phrase = tuple[str, ...]
# A word of a label, in lower case, with where it begins and ends.
Word = tuple[str, int, int]
PHRASES: dict[Phrase, dict[str, str]] = {}
for _kind in KINDS:
    for _meaning, _phrases in VOCABULARY[_kind].items():
        for _phrase in _phrases:
            PHRASES.setdefault(tuple(_phrase.split()), {})[_kind] = _meaning
# Columns that say what a row is rather than hold a figure; the first that fits counts.
COLUMN_KINDS: dict[str, Kind] = {"epoch": "epoch", "step": "step", "phase": "phase", "split column": "split", "group": "group"}
LONGEST_PHRASE = max(map(len, PHRASES))
LONGEST_LABEL = 160
MOST_WORDS = 16


@dataclass(frozen=True)
class Meaning:
    """What a label means.

    Attributes:
        kind: "figure" has a name; the others say what a column is for; "known" is understood and of no use, "unknown" not.
        name: canonical name of the figure, without split: "loss", "auc", "learning_rate".
        split: train, val, test; "" where the label does not say; None where the figure has none.
        part: class or part of the loss, as the log writes it; None for the whole.
        variant: plain, macro, weighted, micro, smoothed, step, spread, record.
        percent: the label says per cent.
    """

    kind: Kind
    name: str = ""
    split: str | None = ""
    part: str | None = None
    variant: str = "plain"
    percent: bool = False


# A word with letters beyond Latin-1 is taken whole, for its capitals cannot be told by a range.
WORD = re.compile(r"[^\W\d_]*[\u0100-\u024f][^\W\d_]*|[A-ZÀ-Þ]+(?![a-zß-ÿ])\d*|[A-ZÀ-Þ]?[a-zß-ÿ]+\d*|\d+|[^\W\d_]+")


def split_words(label: str) -> list[Word]:
    """The words of a label in lower case with their places; capitals within a word begin another.

    >>> [word for word, _, _ in split_words("valLoss/AUC_Hernia mAP50-95(B)")]
    ['val', 'loss', 'auc', 'hernia', 'm', 'ap50', '95', 'b']
    """
    found = WORD.finditer(label[:LONGEST_LABEL])
    return [(match[0].lower(), match.start(), match.end()) for match in found][:MOST_WORDS]


@lru_cache(maxsize=65536)
def find_meaning(label: str) -> Meaning:
    """What a label means.

    >>> find_meaning("val_binary_accuracy").name, find_meaning("Val. Acc (%)").percent
    ('accuracy', True)
    >>> find_meaning("auc/Pleural_Thickening").part, find_meaning("train/box_loss").part
    ('Pleural_Thickening', 'box')
    """
    percent = "%" in label or bool(re.search(r"(?i)(?<![a-z])(pct|percent|percentage|prozent)(?![a-z])", label))
    words = _unglued(split_words(label))
    if not words:
        return Meaning("unknown")
    whole = PHRASES.get(tuple(word for word, _, _ in words), {})
    for kind, meaning in (
        ("epoch", "epoch"),
        ("step", "step"),
        ("phase", "phase"),
        ("split column", "split"),
        ("group", "group"),
    ):
        if kind in whole:
            return Meaning(meaning)  # type: ignore[arg-type]
    if "optimum" in whole:
        return Meaning("figure", whole["optimum"], None)
    if "known" in whole:
        return Meaning("known")
    return _meaning_of(label, words, percent)


def _unglued(words: list[Word]) -> list[Word]:
    """Words such as "valloss" cut in two."""
    cut: list[Word] = []
    for word, start, end in words:
        found = None if (word,) in PHRASES else GLUED.fullmatch(word) or JOINED.fullmatch(word)
        if found:
            middle = start + len(found[1])
            cut += [(GLUED_SPLITS.get(found[1], found[1]), start, middle), (found[2], middle, end)]
        else:
            cut.append((word, start, end))
    return cut


def _meaning_of(label: str, words: list[Word], percent: bool) -> Meaning:
    """Finds the phrases in the words, longest first, and gives each its role."""
    split, variant, optimum, place = "", "plain", "", 0
    names: list[tuple[str, Word, Word]] = []
    left: list[Word] = []
    while place < len(words):
        length, roles = _longest(words, place)
        if "figure" in roles and not ("variant" in roles and names):
            names.append((roles["figure"], words[place], words[place + length - 1]))
        elif "optimum" in roles:
            optimum = roles["optimum"]
        elif "split" in roles:
            split = split or roles["split"]
        elif "variant" in roles:
            variant = roles["variant"] if variant == "plain" else variant
        elif "noise" not in roles and "epoch" not in roles:
            left += words[place : place + length]
        place += length
    if optimum.startswith("seconds") and not names and split in ("val", "test"):
        return Meaning("known")  # how long validation took
    if optimum and not names:
        return Meaning("figure", optimum, None, _part(label, left), variant)
    return _figure(label, names, left, split, variant, percent)


def _longest(words: list[Word], place: int) -> tuple[int, dict[str, str]]:
    for length in range(min(LONGEST_PHRASE, len(words) - place), 0, -1):
        roles = PHRASES.get(tuple(word for word, _, _ in words[place : place + length]))
        # "known" words alone mean nothing inside a longer label: "gpu" may be the name of anything.
        if roles and (set(roles) - {"known", "group", "step", "phase", "split column"}):
            return length, roles
    return 1, {}


def _figure(
    label: str,
    names: list[tuple[str, Word, Word]],
    left: list[Word],
    split: str,
    variant: str,
    percent: bool,
) -> Meaning:
    """The figure that a label's words amount to; with "loss" among them, the other words name its part."""
    figures = [name for name, _, _ in names]
    if "loss" in figures:
        others = [span for name, first, last in names if name != "loss" for span in (first, last)]
        return Meaning("figure", "loss", split, _part(label, sorted({*left, *others}, key=lambda word: word[1])), variant, False)
    if not names:
        text = [word for word, _, _ in left]
        if set(text) & LOSS_NAMES or any(phrase == tuple(text[i : i + 2]) for phrase in LOSS_PHRASES for i in range(len(text))):
            return Meaning("figure", "loss", split, _part(label, left), variant, False)
        return Meaning("unknown", split=split)
    return Meaning("figure", figures[0], split, _part(label, left), variant, percent)


def _part(label: str, words: list[Word]) -> str | None:
    """What the words left over name: a class, or a part of the loss, as the label writes it."""
    kept = [word for word in words if word[0] not in ("class", "cls", "label", "classes", "c", "organ")] or words
    return label[kept[0][1] : kept[-1][2]] if kept else None


def split_of(text: str) -> str | None:
    """The split that a word names, or None.

    >>> split_of("Validation"), split_of("train"), split_of("Hernia")
    ('val', 'train', None)
    """
    words = [word for word, _, _ in split_words(text)]
    found = [meaning for word in words if (meaning := PHRASES.get((word,), {}).get("split"))]
    return found[0] if found and len(words) <= 3 else None
