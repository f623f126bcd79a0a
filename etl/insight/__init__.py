"""Analysis of new loads: indicators, faults and forecasts."""
