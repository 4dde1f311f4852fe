"""A model is trained: its data comes together and is checked, and the model is checked before it is released.

    dagorama run samples/training.py

It runs the same on a laptop and, started by `dagorama apply samples/training.py`, on a cluster.
"""

# pyright: reportUnusedExpression=false
# Edges are written as expressions.

import json
from pathlib import Path

from dagorama.workflows.operators import DAG, BashOperator, PythonOperator

#: What people have said, and whether they were content.
SAID = [
    ("good food and a good view", True),
    ("a bad room with a bad view", False),
    ("lovely people", True),
    ("awful noise", False),
    ("good people and lovely food", True),
    ("bad food in an awful room", False),
]


def fetch_embedding() -> dict[str, float]:
    """Stand for the download of a table that gives words a meaning, here of one dimension."""
    return {"good": 1.0, "lovely": 1.5, "bad": -1.0, "awful": -1.5}


def build_dataset(share: float) -> dict[str, list[tuple[str, bool]]]:
    at = round(len(SAID) * share)
    return {"train": SAID[:at], "test": SAID[at:]}


def check_quality(dataset: dict[str, list[tuple[str, bool]]]) -> int:
    """Raise an error for data that nothing can be learned from."""
    content = sum(is_content for _, is_content in dataset["train"])
    if not 0 < content < len(dataset["train"]):
        raise ValueError(f"{content} of {len(dataset['train'])} are content: there must be some of both")
    return len(dataset["train"])


def train(embedding: dict[str, float], dataset: dict[str, list[tuple[str, bool]]]) -> dict[str, float]:
    """Learn how much each word says, by the perceptron's rule (Rosenblatt, 1958)."""
    weights = dict.fromkeys(embedding, -0.5)
    for _ in range(10):
        for text, is_content in dataset["train"]:
            known = [word for word in text.split() if word in embedding]
            guess = sum(weights[word] * embedding[word] for word in known) > 0
            for word in known:
                weights[word] += (is_content - guess) * embedding[word]
    return {word: weights[word] * embedding[word] for word in weights}


def check_model(model: dict[str, float], dataset: dict[str, list[tuple[str, bool]]]) -> float:
    """Return the share that the model gets right; raise an error for a model that is not to be released."""
    right = sum(
        (sum(model.get(word, 0.0) for word in text.split()) > 0) == is_content for text, is_content in dataset["test"]
    )
    if right < 0.8 * len(dataset["test"]):
        raise ValueError(f"only {right} of {len(dataset['test'])} are right")
    return right / len(dataset["test"])


def release(model: dict[str, float], accuracy: float) -> str:
    Path("model.json").write_text(json.dumps(model))
    return f"released with {accuracy:.0%} right"


with DAG("training", description="Trains a model of what people say.", default_args={"retries": 1}) as dag:
    embedding = PythonOperator("fetch-embedding", fetch_embedding)
    dataset = PythonOperator("build-dataset", build_dataset, op_kwargs={"share": 2 / 3})
    quality = PythonOperator("check-quality", check_quality, [dataset])
    trained = PythonOperator("train", train, [embedding, dataset])
    checked = PythonOperator("check-model", check_model, [trained, dataset])
    released = PythonOperator("release", release, [trained, checked])
    shown = BashOperator("show", "python3 -m json.tool model.json && rm model.json")

    [embedding, dataset] >> quality >> trained >> checked >> released >> shown
