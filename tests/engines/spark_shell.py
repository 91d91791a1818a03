"""Spark in a process of its own: takes a statement per line of standard input, as JSON; prints its rows or its error likewise."""

import json
import sys

from pyspark.sql import SparkSession

SETTINGS = {"spark.driver.memory": "1g", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1"}


def answer(spark: SparkSession, statement: str) -> object:
    try:
        return [list(row) for row in spark.sql(statement).collect()]
    except Exception as error:  # noqa: BLE001 - the test prints it
        return {"error": str(error).splitlines()[0]}


if __name__ == "__main__":
    builder = SparkSession.builder.master("local[1]")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    for line in sys.stdin:
        print(json.dumps(answer(session, json.loads(line))), flush=True)
