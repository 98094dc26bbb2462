"""Every config section, and `load_config`: YAML, dotted overrides, all faults reported at once.

A default is written once, on its field. `null` means off; `auto` means derived from the data, and is written resolved into
the run. Sections are frozen and forbid unknown keys. Names that choose from a table (architectures, losses) are checked
against literal types; a contract test holds those equal to the tables.
"""

from osler.config.data import (
    FINDINGS,
    AugmentationConfig,
    ClaheConfig,
    DataConfig,
    MasksConfig,
    PatchConfig,
    PercentileRange,
    PhantomConfig,
    PreparationConfig,
    SplitConfig,
    TrialConfig,
)
from osler.config.loading import config_to_yaml, load_config, merge, parse_overrides, read_yaml, training_flags
from osler.config.model import ARCHITECTURES, OVERLAP_LOSSES, SEGMENTERS, LossConfig, LossName, LossStage, ModelConfig, PartName
from osler.config.training import (
    MONITORS,
    DoctorConfig,
    EvaluationConfig,
    PhaseConfig,
    PredictionConfig,
    RunConfig,
    SensitivityTarget,
    TrainingConfig,
)
from osler.config.whole import Config

__all__ = [
    "ARCHITECTURES",
    "FINDINGS",
    "MONITORS",
    "OVERLAP_LOSSES",
    "SEGMENTERS",
    "AugmentationConfig",
    "ClaheConfig",
    "Config",
    "DataConfig",
    "DoctorConfig",
    "EvaluationConfig",
    "LossConfig",
    "LossName",
    "LossStage",
    "MasksConfig",
    "ModelConfig",
    "PartName",
    "PatchConfig",
    "PercentileRange",
    "PhantomConfig",
    "PhaseConfig",
    "PredictionConfig",
    "PreparationConfig",
    "RunConfig",
    "SensitivityTarget",
    "SplitConfig",
    "TrainingConfig",
    "TrialConfig",
    "config_to_yaml",
    "load_config",
    "merge",
    "parse_overrides",
    "read_yaml",
    "training_flags",
]
