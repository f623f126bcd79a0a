"""Write the connection to Kafka to the file from which Airflow's LocalFilesystemBackend reads connections.

Usage: write_connections.py SECRETS_FOLDER FILE, with librdkafka's settings as JSON in KAFKA_CONFIG
"""

import json
import os
import sys
from pathlib import Path

SETTINGS = {
    "etl_kafka_password": "sasl.password",
    "etl_kafka_oauth_client_id": "sasl.oauthbearer.client.id",
    "etl_kafka_oauth_client_secret": "sasl.oauthbearer.client.secret",
    "etl_kafka_key_password": "ssl.key.password",
}

folder, file = map(Path, sys.argv[1:])
secrets = {SETTINGS[path.name]: path.read_text().rstrip("\n") for path in folder.iterdir() if path.name in SETTINGS}
extra = json.loads(os.environ["KAFKA_CONFIG"]) | secrets
file.write_text(json.dumps({"sensor_etl_kafka": {"conn_type": "kafka", "extra": extra}}))
