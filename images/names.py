"""Names of the images that this project builds, and of its cluster."""

STAGES = ("generate", "produce", "consume", "transform", "load")
# Images that hold the package; each has the extra of its own name.
PACKAGE = (*STAGES, "analyze", "page")
# Of these, the images over the layer with pandas.
PANDAS = ("generate", "consume", "transform")
JAVA = ("kafka", "cassandra")
PYTHON = (*PACKAGE, "airflow")
# In the order of their builds, two at a time: layers that others share come first, long builds early.
NAMES = (
    "generate",
    "kafka",
    "airflow",
    "cassandra",
    "analyze",
    "page",
    "produce",
    "consume",
    "transform",
    "load",
    "postgres",
)
TITLES = {
    "generate": "sensor-etl stage 1: generate readings",
    "produce": "sensor-etl stage 2: write readings to Kafka",
    "consume": "sensor-etl stage 3: read new records from Kafka",
    "transform": "sensor-etl stage 4: check readings, find new ones",
    "load": "sensor-etl stage 5: write rows to Cassandra; etl schema and etl grant",
    "analyze": "sensor-etl analysis: indicators, faults and forecasts of machines",
    "page": "sensor-etl page: machines, events and the pipeline in the browser",
    "airflow": "Airflow with the DAGs sensor_etl and equipment_insight",
    "kafka": "One Kafka broker",
    "cassandra": "One Cassandra node",
    "postgres": "Airflow's database",
}
CLUSTER = "sensor-etl"
