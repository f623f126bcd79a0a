"""Conversion of units by name: exact where it can be, refused where a name could mean something else."""

import pytest

from etl.mapping.units import conversion


@pytest.mark.parametrize(
    ("given", "declared", "scale", "offset"),
    [
        ("V", "V", 1.0, 0.0),
        ("furlong-volt", "furlong-volt", 1.0, 0.0),
        ("kV", "V", 1000.0, 0.0),
        ("mA", "A", 0.001, 0.0),
        ("amps", "A", 1.0, 0.0),
        ("°F", "°C", 5 / 9, -160 / 9),
        ("F", "°C", 5 / 9, -160 / 9),
        ("K", "°C", 1.0, -273.15),
        ("Kelvin", "°C", 1.0, -273.15),
        ("Cel", "°C", 1.0, 0.0),
        ("ºC", "K", 1.0, 273.15),
        ("Fahrenheit", "℃", 5 / 9, -160 / 9),
        ("Ampere", "A", 1.0, 0.0),
        ("VAC", "kV", 0.001, 0.0),
        ("PSI", "psi", 1.0, 0.0),
        ("% rF", "%", 1.0, 0.0),
        ("U/min", "Hz", 1 / 60, 0.0),
        ("min-1", "rpm", 1.0, 0.0),
        ("%", "1", 0.01, 0.0),
        ("1", "%", 100.0, 0.0),
        ("in/s", "mm/s", 25.4, 0.0),
        ("m3/h", "m³/s", 1 / 3600, 0.0),
        ("kgf/cm2", "bar", 0.980665, 0.0),
        ("VAr", "var", 1.0, 0.0),
        ("Nm", "N*m", 1.0, 0.0),
        # A revolution is a count, not an angle of 6.28.
        ("rpm", "Hz", 1 / 60, 0.0),
        ("Hz", "rpm", 60.0, 0.0),
    ],
)
def test_conversion_is_exact_when_units_fit(given, declared, scale, offset):
    found = conversion(given, declared)
    assert found == (pytest.approx(scale, rel=1e-15), pytest.approx(offset, rel=1e-15))


@pytest.mark.parametrize(
    ("given", "declared"),
    [
        ("A", "V"),
        ("m", "V"),
        ("foo", "V"),
        ("V", "foo"),
        ("", "V"),
        ("rad/s", "Hz"),
        ("rad/s", "rpm"),
        ("deg", "1"),
        ("dB", "1"),
        ("bar(g)", "bar"),
        ("V/0", "V"),
        ("V V", "V"),
        ("__import__('os')", "V"),
        # Each would be calculated for ever.
        ("9**9**9**9", "1"),
        ("1e999999999 V", "V"),
        ("V" * 100_000, "V"),
        ("V**9999999", "V"),
    ],
)
def test_conversion_is_refused_when_units_do_not_fit(given, declared):
    with pytest.raises(ValueError, match="is not known, or does not fit"):
        conversion(given, declared)
