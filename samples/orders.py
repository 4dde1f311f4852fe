"""Orders that are picked from the shelves and shipped: what `backend.py` starts."""

import time

from dagorama import DAGDefinition, dagorama


class Order(DAGDefinition):
    @dagorama
    def entrypoint(self, customer: str, items: list[str]) -> str:
        return self.ship(customer, [self.pick(item) for item in items])

    @dagorama(label="{item}")
    def pick(self, item: str) -> str:
        time.sleep(0.1)  # on the way to the shelf
        return item

    @dagorama(label="to {customer}")
    def ship(self, customer: str, items: list[str]) -> str:
        return f"{' and '.join(items)} shipped to {customer}"
