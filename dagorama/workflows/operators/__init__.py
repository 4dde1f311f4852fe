"""DAGs of operators: `with DAG(...)`, and `>>` for what comes after what.

    from dagorama.workflows.operators import DAG, BashOperator, PythonOperator

    with DAG("train") as dag:
        parse = BashOperator("parse", "python parse.py")
        train = PythonOperator("train", train_model, op_args=[3])
        parse >> train

`dagorama run FILE.py` runs the DAG of a file, and `dag.submit()` starts it at a broker.
"""

from __future__ import annotations

from dagorama.workflows.operators.base import Operator
from dagorama.workflows.operators.dag import DAG
from dagorama.workflows.operators.http import HttpResponse
from dagorama.workflows.operators.kinds import BashOperator, HttpOperator, PythonOperator
from dagorama.workflows.operators.sensors import FileSensor, HttpSensor
from dagorama.workflows.problems import WorkflowError

__all__ = [
    "DAG",
    "BashOperator",
    "FileSensor",
    "HttpOperator",
    "HttpResponse",
    "HttpSensor",
    "Operator",
    "PythonOperator",
    "WorkflowError",
]
