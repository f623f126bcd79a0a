"""Wait, without a time limit, until a Job has succeeded.

Usage: wait_for_job.py NAMESPACE JOB
"""

import sys
import time

from kubernetes import client, config

PAUSE_SECONDS = 2
PROGRESS_SECONDS = 20

namespace, job = sys.argv[1:]
config.load_incluster_config()
jobs = client.BatchV1Api()
waited = 0
while not jobs.read_namespaced_job(job, namespace).status.succeeded:
    if waited % PROGRESS_SECONDS == 0:
        print(f"waiting for job {job}: {waited} s", flush=True)
    time.sleep(PAUSE_SECONDS)
    waited += PAUSE_SECONDS
print(f"job {job} has succeeded", flush=True)
