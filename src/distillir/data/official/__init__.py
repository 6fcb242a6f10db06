"""The data sets of the papers in their owners' release formats, as files that a recipe names.

`DATA_SETS` names them; `prepare` writes one. Corpora go through row by row, so their size is bounded by the disk alone.
"""

from collections.abc import Mapping

from distillir.data.official import (
    beir,
    blended,
    canard,
    cast,
    convai2,
    dpr,
    ikat,
    msmarco,
    mtrag,
    orquac,
    qrecc,
    topiocqa,
)
from distillir.data.official.dataset import Count, DataSet, Part, Source
from distillir.data.official.preparing import Prepared, prepare
from distillir.errors import ConfigError

DATA_SETS: Mapping[str, DataSet] = {
    one.name: one
    for one in (
        topiocqa.SET,
        qrecc.SET,
        orquac.SET,
        canard.SET,
        *cast.SETS,
        *ikat.SETS,
        mtrag.SET,
        msmarco.SET,
        beir.SET,
        dpr.NQ,
        dpr.TRIVIAQA,
        blended.SET,
        convai2.SET,
    )
}
"""Name → data set."""


def data_set(name: str) -> DataSet:
    """The data set of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DATA_SETS:
        raise ConfigError(f"no data set {name!r}", f"use one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


__all__ = ["DATA_SETS", "Count", "DataSet", "Part", "Prepared", "Source", "data_set", "prepare"]
