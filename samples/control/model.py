"""The model of demo.cfg: `POST {"data": {"a": 1, "b": 2}}` answers `{"result": 3}`."""


def predict(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b
