"""Faults: every way of going wrong that the doctor knows, by id; each stands in its family's file."""

from __future__ import annotations

from osler.doctor.faults.classes import CLASSES
from osler.doctor.faults.contradiction import CONTRADICTION
from osler.doctor.faults.fault import Fault
from osler.doctor.faults.fitting import FITTING
from osler.doctor.faults.generalisation import GENERALISATION
from osler.doctor.faults.gradients import GRADIENTS
from osler.doctor.faults.imbalance import IMBALANCE
from osler.doctor.faults.learning import LEARNING
from osler.doctor.faults.loading import LOADING
from osler.doctor.faults.mask_data import MASK_DATA
from osler.doctor.faults.mask_weights import MASK_WEIGHTS
from osler.doctor.faults.masks import MASKS
from osler.doctor.faults.measures import MEASURES
from osler.doctor.faults.numerics import NUMERICS
from osler.doctor.faults.overlap import OVERLAP
from osler.doctor.faults.predictions import PREDICTIONS
from osler.doctor.faults.rates import RATES
from osler.doctor.faults.samples import SAMPLES
from osler.doctor.faults.sampling import SAMPLING
from osler.doctor.faults.schedule import SCHEDULE
from osler.doctor.faults.stability import STABILITY
from osler.doctor.faults.terms import TERMS
from osler.doctor.faults.validation import VALIDATION
from osler.doctor.faults.weights import WEIGHTS

__all__ = ["FAULTS"]

FAULTS: dict[str, Fault] = {
    **LEARNING,
    **PREDICTIONS,
    **CLASSES,
    **MEASURES,
    **WEIGHTS,
    **IMBALANCE,
    **TERMS,
    **RATES,
    **SCHEDULE,
    **STABILITY,
    **NUMERICS,
    **GRADIENTS,
    **FITTING,
    **CONTRADICTION,
    **GENERALISATION,
    **VALIDATION,
    **SAMPLES,
    **LOADING,
    **SAMPLING,
    **MASKS,
    **OVERLAP,
    **MASK_DATA,
    **MASK_WEIGHTS,
}
