"""Exit with 0 if a component has reported to Airflow's database within the last two minutes, else with 1.

Usage: check_job.py TYPE, such as DagProcessorJob or TriggererJob
"""

import os
import sys

import sqlalchemy

QUERY = """
SELECT count(*) FROM job
WHERE job_type = :type AND state = 'running' AND latest_heartbeat > now() - interval '120 seconds'
"""

with sqlalchemy.create_engine(os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]).connect() as connection:
    sys.exit(0 if connection.scalar(sqlalchemy.text(QUERY), {"type": sys.argv[1]}) else 1)
