from etl.insight.limits import Detection, Steps
from etl.model.events import KINDS, SEVERITIES
from etl.results.formats import KIND_NAMES
from etl.stages.generate.faults import kinds


def test_every_kind_has_steps_a_synthetic_fault_and_a_name_when_it_is_listed():
    # A temperature has no shares, so its drift has steps of its own. Any fault may be unusual.
    steps = {name for name, field in Detection.model_fields.items() if field.annotation is Steps}
    # People set the limits of alarms.
    found = set(KINDS) - {"limit"}
    assert found == steps - {"sensor_drift_kelvin"} == {*kinds(), "unusual"}
    assert set(KINDS) == set(KIND_NAMES)


def test_severities_ascend_when_sizes_grow():
    steps = Steps(mild=1.0, moderate=2.0, severe=3.0)
    assert tuple(steps.severity(size) for size in (1.0, 2.0, 3.0)) == SEVERITIES
