#!/usr/bin/env bash
# `make demo`: synthetic readings through all stages twice. The second run's time range overlaps the first one's by half,
# so half of its readings are duplicates and only the others are loaded.
set -euo pipefail

services=.cache/demo/services
export ETL_WORKSPACE_URL=.cache/demo/workspace
export ETL_GENERATE_MACHINES=10 ETL_GENERATE_INTERVAL=1 ETL_GENERATE_DURATION=600
rm -rf .cache/demo

echo "== Kafka and Cassandra"
trap 'python -m images.local down --dir "$services"' EXIT
settings=$(python -m images.local up --dir "$services")
eval "$settings"

echo "== etl schema"
etl schema

echo "== First run: 06:00 to 06:10"
ETL_GENERATE_START=2026-01-05T06:00:00Z etl run

echo "== Second run: 06:05 to 06:15"
ETL_GENERATE_START=2026-01-05T06:05:00Z etl run

echo "== etl status"
etl status --runs 2

echo "== A few rows of sensor_data"
python docs/examples/newest_rows.py fan-0001
