"""A Spark job: a topic of JSON readings into `sensor_data`, several times in one Java machine.

It runs in the environment of `tests.bench.spark`, where nothing but PySpark is installed. For each keyspace it prints
`begin` before the first record is read, then `end` and the seconds since, when the last row is stored.
"""

import sys
import tempfile
import time

from pyspark.sql import DataFrame, SparkSession  # type: ignore[import-not-found]
from pyspark.sql import functions as f


def copy(spark: SparkSession, servers: str, topic: str, keyspace: str, names: list[str]) -> None:
    """Read what is available of the topic, parse, check the timestamp, and write it."""
    began: list[float] = []

    def write(batch: DataFrame, _: int) -> None:
        if not began:
            print("begin", flush=True)
            began.append(time.monotonic())
        target = batch.write.format("org.apache.spark.sql.cassandra").mode("append")
        target.options(table="sensor_data", keyspace=keyspace).save()

    fields = ", ".join(["timestamp TIMESTAMP", *(f"{name} DOUBLE" for name in names)])
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", servers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
    )
    rows = (
        records.select(
            f.col("key").cast("string").alias("equipment_id"),
            f.from_json(f.decode("value", "utf-8"), fields).alias("r"),
        )
        .select("equipment_id", "r.*")
        .where(f.col("timestamp").isNotNull())
        .withColumn("day", f.to_date("timestamp"))
        .withColumn("quality", f.lit(""))
    )
    with tempfile.TemporaryDirectory() as checkpoint:
        query = (
            rows.writeStream.foreachBatch(write)
            .trigger(availableNow=True)
            .option("checkpointLocation", checkpoint)
            .start()
        )
        query.awaitTermination()
        print("end", time.monotonic() - began[0], flush=True)


def main() -> None:
    """Take servers, topic, measurements and keyspaces from the command line."""
    servers, topic, names, *keyspaces = sys.argv[1:]
    spark = SparkSession.builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    for keyspace in keyspaces:
        copy(spark, servers, topic, keyspace, names.split(","))
    spark.stop()


if __name__ == "__main__":
    main()
