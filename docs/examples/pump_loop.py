"""Write a week of readings of a pump loop without an electric meter, of which a filter clogs on Saturday.

For `make demo`: a CSV file with a line a minute. Pressure, vibration and temperature follow the speed of the pump.
"""

from datetime import UTC, datetime, timedelta

import numpy as np

START = datetime(2026, 1, 5, tzinfo=UTC)
ROWS = 6 * 24 * 60 + 12 * 60
CLOGS = 5 * 24 * 60 + 14 * 60

chance = np.random.default_rng(11)
minute = np.arange(ROWS)
speed = 1 + 0.1 * np.sin(minute / 45) + chance.normal(0, 0.02, ROWS)
clogged = np.clip((minute - CLOGS) / 240, 0, 1)
pressure = 4 * speed**2 * (1 - 0.3 * clogged) + chance.normal(0, 0.05, ROWS)
vibration = 0.8 * speed + chance.normal(0, 0.02, ROWS)
temperature = 35 + 10 * speed + 2 * clogged + chance.normal(0, 0.2, ROWS)

print("time,machine,pressure,vibration,temperature")
for row in range(ROWS):
    time = START + timedelta(minutes=row)
    print(f"{time:%Y-%m-%dT%H:%M:%SZ},loop-0001,{pressure[row]:.3f},{vibration[row]:.3f},{temperature[row]:.2f}")
