#!/usr/bin/env bash
# `make demo`: sends a week of readings of a small synthetic plant with faults through all stages in two runs, and those
# of a machine without an electric meter in a third, then analyses them. In a terminal it serves the page until Ctrl-C,
# otherwise it writes a report. The time range of the second run overlaps the first one, so half of its readings are
# duplicates, and load writes only the others.
set -euo pipefail

services=.cache/demo/services
export ETL_WORKSPACE_URL=.cache/demo/workspace
export ETL_SCHEMA_CATALOGUE_FILE=docs/examples/plant.yaml ETL_GENERATE_CATALOGUE_FILE=docs/examples/plant.yaml
export ETL_GENERATE_FAULT_RATE=1.5 ETL_GENERATE_SEED=2164
rm -rf .cache/demo

echo "== Kafka and Cassandra"
trap 'python -m images local down --dir "$services"' EXIT
settings=$(python -m images local up --dir "$services")
eval "$settings"

echo "== etl schema"
etl schema

echo "== First run: Monday to Saturday"
ETL_GENERATE_START=2026-01-05T00:00:00Z ETL_GENERATE_DURATION=518400 etl run

echo "== Second run: Saturday noon to Sunday noon"
ETL_GENERATE_START=2026-01-10T12:00:00Z ETL_GENERATE_DURATION=86400 etl run

echo "== A machine without an electric meter: a week of recorded readings"
ETL_SCHEMA_CATALOGUE_FILE=docs/examples/pump_loop_catalogue.yaml etl schema
python docs/examples/pump_loop.py >.cache/demo/pump_loop.csv
ETL_GENERATE_SOURCE=recorded ETL_GENERATE_RECORDED_URL=.cache/demo/pump_loop.csv \
    ETL_GENERATE_MAPPING_FILE=docs/examples/pump_loop.yaml etl run

echo "== etl status"
etl status --runs 3

echo "== A few rows of sensor_data"
python docs/examples/newest_rows.py fan-0001

echo "== etl analyze"
etl analyze

echo "== Results of the analysis"
if [[ -t 1 ]]; then
    etl page
else
    etl report --from 2026-01-05 --to 2026-01-11 --output .cache/demo/report.html
fi
