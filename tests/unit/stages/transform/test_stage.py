"""What transform refuses before it does anything."""

from types import SimpleNamespace
from typing import Any

import pytest

from etl.errors import SettingsError
from etl.model.measurements import Measurement, Measurements
from etl.settings import CassandraSettings, TransformSettings
from etl.stages.transform import transform


def test_transform_names_the_measurement_when_parts_may_lack_a_required_one() -> None:
    declared = (Measurement("mode", "text"), Measurement("voltage", "double", required=True))
    work: Any = SimpleNamespace(measurements=Measurements(declared))
    with pytest.raises(SettingsError, match=r"^ETL_TRANSFORM_PARTIAL=merge: .*voltage.*remove `required`"):
        transform(work, TransformSettings(partial="merge"), CassandraSettings())
